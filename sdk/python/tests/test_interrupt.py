"""Ctrl-C: what becomes of the job, and of the program. Each program is a process of its own."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable

from fake_pool import Answers, FakePool, usual
from pool_process import PATIENCE_S
from program import Program

import gpupool
from gpupool.messages import JobState, Outcome
from gpupool.questions import ClientCancel, ClientSubmit, FromClient, JobEvent


def test_ctrl_c_in_run_cancels_the_job_and_says_what_was_charged(
    program: Callable[[str], Program], pool: gpupool.Pool
) -> None:
    own = program('with gpupool.Pool() as pool: pool.run("emoji", long, progress=show)')
    number = int(own.until_it_says("running").split()[0])
    own.interrupt()
    code, _, error = own.end()
    assert code == -signal.SIGINT
    assert "KeyboardInterrupt" in error
    receipt = pool.watch(number).receipt(PATIENCE_S)
    assert receipt.outcome is Outcome.cancelled
    if sys.version_info >= (3, 11):
        assert f"job {number} cancelled: charged" in error


def test_ctrl_c_while_a_job_is_queued_cancels_it_uncharged(
    program: Callable[[str], Program], pool: gpupool.Pool
) -> None:
    before = pool.submit("emoji", {"prompt": "x", "steps": 10_000, "seed": 1}, duration_s=60)
    own = program('with gpupool.Pool() as pool: pool.generate("a star", progress=show)')
    number = int(own.until_it_says("queued").split()[0])
    own.interrupt()
    assert own.end()[0] == -signal.SIGINT
    receipt = pool.watch(number).receipt(PATIENCE_S)
    before.cancel()
    assert (receipt.outcome, receipt.charged_ms) == (Outcome.cancelled, 0)


def test_a_second_ctrl_c_leaves_a_job_whose_cancel_nobody_answers() -> None:
    cancelled = threading.Event()

    def answer(message: FromClient) -> Answers:
        if isinstance(message, ClientSubmit):
            return [JobEvent(job=7, request=message.request, state=JobState.running)]
        if isinstance(message, ClientCancel):
            cancelled.set()
            return []
        return usual(message)

    text = """
with gpupool.Pool(answer_timeout_s=3600) as pool: pool.run("any", progress=show)
"""
    with FakePool(answer) as fake:
        own = Program(text, fake.endpoint, "")
        try:
            own.until_it_says("running")
            own.interrupt()
            assert cancelled.wait(PATIENCE_S)
            own.interrupt()
            assert own.end()[0] == -signal.SIGINT
        finally:
            own.process.kill()


def test_ctrl_c_in_a_wait_leaves_the_job_to_its_handle(
    program: Callable[[str], Program], pool: gpupool.Pool
) -> None:
    own = program(
        """
with gpupool.Pool() as pool:
    job = pool.submit("emoji", long, detached=True)
    try:
        job.wait(progress=show)
    except KeyboardInterrupt:
        print("still", job.state.name, flush=True)
"""
    )
    number = int(own.until_it_says("running").split()[0])
    own.interrupt()
    code, out, _ = own.end()
    assert code == 0 and "still running" in out
    job = pool.watch(number)
    assert job.state is JobState.running
    assert job.cancel().receipt.outcome is Outcome.cancelled


def test_ctrl_c_under_asyncio_cancels_the_job(
    program: Callable[[str], Program], pool: gpupool.Pool
) -> None:
    own = program(
        """
async def main():
    async with gpupool.AsyncPool() as pool:
        await pool.run("emoji", long, progress=show)
asyncio.run(main())
"""
    )
    number = int(own.until_it_says("running").split()[0])
    own.interrupt()
    assert own.end()[0] == -signal.SIGINT
    assert pool.watch(number).receipt(PATIENCE_S).outcome is Outcome.cancelled
