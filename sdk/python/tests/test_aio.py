"""The asyncio variant and a real daemon."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from fake_pool import Answers, FakePool, usual
from pool_process import PATIENCE_S, PoolProcess

import gpupool
from gpupool.messages import JobState, Outcome
from gpupool.questions import FromClient

PNG = b"\x89PNG\r\n\x1a\n"
LONG = {"prompt": "a red heart", "steps": 10_000, "seed": 7}
Made = TypeVar("Made")


@pytest.fixture
def with_pool(
    daemon: PoolProcess, user: str
) -> Callable[[Callable[[gpupool.AsyncPool], Awaitable[Made]]], Made]:
    """Runs a coroutine with a pool of its own, for a bounded time."""

    def run(work: Callable[[gpupool.AsyncPool], Awaitable[Made]]) -> Made:
        async def main() -> Made:
            async with gpupool.AsyncPool(daemon.endpoint, token=daemon.token(user)) as pool:
                return await asyncio.wait_for(work(pool), PATIENCE_S)

        return asyncio.run(main())

    return run


Run = Callable[[Callable[[gpupool.AsyncPool], Awaitable[object]]], None]


def test_a_picture_is_made_while_the_loop_does_other_things(with_pool: Run, tmp_path: Path) -> None:
    async def work(pool: gpupool.AsyncPool) -> None:
        steps: list[int] = []

        def show(event: gpupool.Event) -> None:
            if isinstance(event, gpupool.JobEvent):
                steps.append(event.step)

        pictures = await asyncio.gather(
            pool.generate("a star", steps=3, seed=1, duration_s=10, progress=show),
            *(pool.generate("a star", steps=3, seed=1, duration_s=10) for _ in range(3)),
        )
        assert len({picture.content for picture in pictures}) == 1
        assert pictures[0].content.startswith(PNG) and max(steps) == 3
        assert (await pool.quota()).balance.used_ms == sum(p.receipt.charged_ms for p in pictures)

    with_pool(work)


def test_events_results_and_questions_are_awaited(with_pool: Run, tmp_path: Path) -> None:
    async def work(pool: gpupool.AsyncPool) -> None:
        job = await pool.submit("emoji", {"prompt": "a star", "steps": 4, "seed": 1})
        assert job.hold and job.hold.declared_ms == 60_000
        events = [event async for event in job.events() if isinstance(event, gpupool.JobEvent)]
        assert events[-1].of_steps == 4
        await job.save(tmp_path / "star.png")
        assert (tmp_path / "star.png").read_bytes() == await job.result()
        assert "steps" in (await job.log()).content.decode()
        receipt = await job.receipt()
        assert await pool.receipts() == [receipt]
        assert (await (await pool.watch(job.number)).wait()).receipt == receipt
        assert (await pool.quote("emoji", duration_s=5)).cost_ms == 5_000
        assert await pool.explain(job.number) and await pool.usage()
        assert await pool.jobs() == [] and isinstance(await pool.changes(), list)
        with pytest.raises(gpupool.Forbidden):
            await pool.operate("nodes")
        with pytest.raises(gpupool.Forbidden):
            await pool.overview()
        with pytest.raises(gpupool.UnknownApp):
            await pool.submit("no-such-app")

    with_pool(work)


def test_an_operator_sees_the_whole_pool(daemon: PoolProcess) -> None:
    async def main() -> gpupool.Overview:
        token = daemon.token("root", "--role", "operator")
        async with gpupool.AsyncPool(daemon.endpoint, token=token) as pool:
            return await pool.overview()

    seen = asyncio.run(main())
    assert seen.at.utc and [slot for node in seen.nodes for slot in node.slots]


def test_a_task_that_is_cancelled_cancels_the_job_it_runs(with_pool: Run) -> None:
    async def work(pool: gpupool.AsyncPool) -> None:
        running: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def show(event: gpupool.Event) -> None:
            if isinstance(event, gpupool.JobEvent) and event.state is JobState.running:
                if not running.done():
                    running.set_result(event.job)

        task = asyncio.create_task(pool.run("emoji", LONG, duration_s=60, progress=show))
        number = await running
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        receipt = await (await pool.watch(number)).receipt()
        assert receipt.outcome is Outcome.cancelled and receipt.charged_ms < receipt.held_ms

    with_pool(work)


def test_a_wait_that_is_cancelled_leaves_the_job_as_it_is(with_pool: Run) -> None:
    async def work(pool: gpupool.AsyncPool) -> None:
        job = await pool.submit("emoji", LONG, duration_s=60)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(job.wait(), 0.01)
        assert not job.is_done
        while (preview := await job.preview()) is None:
            await asyncio.sleep(0.1)
        assert preview.startswith(PNG)
        done = await job.cancel()
        assert done.receipt.outcome is Outcome.cancelled
        assert await job.wait() == done
        with pytest.raises(gpupool.JobCancelled):
            await job.result()

    with_pool(work)


def test_a_pool_that_was_not_there_can_be_tried_again() -> None:
    silent = True

    def answer(message: FromClient) -> Answers:
        return [] if silent else usual(message)

    async def main() -> None:
        nonlocal silent
        pool = gpupool.AsyncPool(fake.endpoint, connect_timeout_s=0.3)
        with pytest.raises(gpupool.NotConnected):
            await pool.connect()
        silent = False
        for _ in range(20):  # of a busy machine any one may be late
            try:
                await pool.connect()
                break
            except gpupool.NotConnected:
                pass
        assert pool.welcome.pool == "fake"
        with pytest.raises(RuntimeError):
            await pool.connect()
        await pool.close()

    with FakePool(answer) as fake:
        asyncio.run(main())


def test_a_pool_that_is_not_there_is_an_error_and_leaves_no_thread(nobody: str) -> None:
    async def main(endpoint: str) -> None:
        pool = gpupool.AsyncPool(endpoint, connect_timeout_s=0.3)
        with pytest.raises(gpupool.NotConnected):
            await pool.quota()
        with pytest.raises(gpupool.NotConnected, match="no pool answers at"):
            await pool.connect()
        await pool.close()

    before = threading.active_count()
    asyncio.run(main(nobody))
    names = [thread.name for thread in threading.enumerate()]
    assert "gpupool" not in names and threading.active_count() <= before + 1
