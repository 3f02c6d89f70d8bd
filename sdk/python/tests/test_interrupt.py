"""Ctrl-C: what becomes of the job, and of the program. Each program is a process of its own."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from fake_pool import Answers, FakePool, usual
from pool_process import PATIENCE_S, PoolProcess

import gpupool
from gpupool.messages import JobState, Outcome
from gpupool.questions import ClientCancel, ClientSubmit, FromClient, JobEvent

BEGIN = """
import asyncio, gpupool, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where these tests run unattended
long = {"prompt": "a red heart", "steps": 10_000, "seed": 7}
def show(event):
    if isinstance(event, gpupool.JobEvent):
        print(event.job, event.state.name, flush=True)
"""


class Program:
    def __init__(self, text: str, endpoint: str, token: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", BEGIN + text],
            env={**os.environ, "GPUPOOL_ENDPOINT": endpoint, "GPUPOOL_TOKEN": token},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._said = b""

    def until_it_says(self, word: str) -> str:
        """The line with the word."""
        assert self.process.stdout
        give_up = time.monotonic() + PATIENCE_S
        while True:
            for line in self._said.decode().splitlines(keepends=True):
                if word in line and line.endswith("\n"):
                    return line
            left = give_up - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise AssertionError(f"it did not say {word}: {self._said.decode()}")
            more = os.read(self.process.stdout.fileno(), 4096)
            if not more:
                raise AssertionError(f"it ended: {self.process.communicate()}")
            self._said += more

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str, str]:
        out, error = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, (self._said + out).decode(), error.decode()


@pytest.fixture
def program(daemon: PoolProcess, user: str) -> Iterator[Callable[[str], Program]]:
    programs: list[Program] = []

    def run(text: str) -> Program:
        programs.append(Program(text, daemon.endpoint, daemon.token(user)))
        return programs[-1]

    yield run
    for one in programs:
        one.process.kill()
        one.process.communicate()


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
