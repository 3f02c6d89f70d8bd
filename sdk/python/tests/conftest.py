"""What the tests share: one real pool for all that do not hurt it, fresh ones for the others."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pool_process import PoolProcess

import gpupool


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GPUPOOL_ENDPOINT", "GPUPOOL_TOKEN", "GPUPOOL_SERVER_KEY"):
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
