"""The programs in docs/python.md and the README do what is said there."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pool_process import PATIENCE_S, SOURCE, PoolProcess

import gpupool
from gpupool import functions

PAGE = (SOURCE / "docs" / "python.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda text: str(text).partition("\n")[0])
def test_a_program_of_the_page_runs(
    program: str,
    daemon: PoolProcess,
    user: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GPUPOOL_ENDPOINT", daemon.endpoint)
    monkeypatch.setenv("GPUPOOL_TOKEN", daemon.token(user, "--tier", "small"))
    monkeypatch.setenv("GPUPOOL_NODE_HTTP", daemon.node_http)
    shared = functions.SharedPool()
    monkeypatch.setattr(functions, "shared_pool", shared)
    monkeypatch.chdir(tmp_path)
    code = compile(program, "docs/python.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    with gpupool.Pool() as pool:
        names = {"gpupool": gpupool, "asyncio": asyncio, "pool": pool}
        if code.co_flags & inspect.CO_COROUTINE:

            async def main() -> None:
                await eval(code, names)

            asyncio.run(main())
        else:
            exec(code, names)
        ran = [receipt.outcome for receipt in pool.receipts()]
    if shared._pool:
        shared._pool.close()
    assert ran and set(ran) == {gpupool.Outcome.succeeded}
    assert os.listdir(tmp_path) == re.findall(r'save\("(.*?)"\)', program)
    # What it catches is what happens: this tier has less than a program declares.
    assert ("quota_exceeded: 60.0 s requested" in capsys.readouterr().out) == ("try:" in program)


def test_the_program_of_the_readme_runs(daemon: PoolProcess, user: str, tmp_path: Path) -> None:
    (program,) = re.findall(r"python -c '(.*)'", (SOURCE / "README.md").read_text())
    settings = {"GPUPOOL_ENDPOINT": daemon.endpoint, "GPUPOOL_TOKEN": daemon.token(user)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, **settings},
        capture_output=True,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (tmp_path / "heart.png").read_bytes().startswith(b"\x89PNG")


def test_every_error_class_is_on_the_page() -> None:
    kinds = [kind for kind in vars(gpupool).values() if isinstance(kind, type)]
    missing = [
        kind.__name__
        for kind in kinds
        if issubclass(kind, gpupool.PoolError) and f"`{kind.__name__}`" not in PAGE
    ]
    assert len(PROGRAMS) == 6
    assert missing == []
