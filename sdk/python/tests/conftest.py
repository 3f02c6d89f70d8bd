"""What the tests share: one real pool for all that do not hurt it, fresh ones for the others."""

from __future__ import annotations

import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest
from pool_process import PoolProcess
from program import Program

import gpupool

TEST_S_MAX = 40  # above every wait inside a test


@pytest.fixture(autouse=True)
def no_test_waits_for_ever() -> Iterator[None]:
    def give_up(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"the test took more than {TEST_S_MAX} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(TEST_S_MAX)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def nobody() -> Iterator[str]:
    """An endpoint where nobody listens, nor can begin to."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"tcp://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("ENDPOINT", "TOKEN", "SERVER_KEY", "NODE_HTTP", "APP")
    for name in (f"GPUPOOL_{one}" for one in names):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def new_pool() -> Iterator[Callable[..., PoolProcess]]:
    """Makes pools, which end with the test."""
    pools: list[PoolProcess] = []
    # Not pytest's own folders: their paths are too long for a socket.
    with tempfile.TemporaryDirectory(prefix="gpupool-") as folder:

        def make(**options: bool) -> PoolProcess:
            own = Path(folder) / str(len(pools))
            own.mkdir()
            pools.append(PoolProcess(own, **options))
            return pools[-1].start()

        try:
            yield make
        finally:
            for pool in pools:
                pool.kill()


@pytest.fixture(scope="session")
def daemon() -> Iterator[PoolProcess]:
    with tempfile.TemporaryDirectory(prefix="gpupool-") as folder:
        pool = PoolProcess(Path(folder))
        try:
            yield pool.start()
        finally:
            pool.stop()


@pytest.fixture
def user(request: pytest.FixtureRequest) -> str:
    """An account of the test's own, with its whole quota."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name)[:60]


@pytest.fixture
def pool(daemon: PoolProcess, user: str) -> Iterator[gpupool.Pool]:
    with gpupool.Pool(daemon.endpoint, token=daemon.token(user)) as pool:
        yield pool


@pytest.fixture
def program(daemon: PoolProcess, user: str) -> Iterator[Callable[[str], Program]]:
    programs: list[Program] = []

    def run(text: str) -> Program:
        programs.append(Program(text, daemon.endpoint, daemon.token(user), daemon.node_http))
        return programs[-1]

    yield run
    for one in programs:
        one.process.kill()
        one.process.communicate()
