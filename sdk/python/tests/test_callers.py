"""What callers do in the wrong place, or leave in the middle: no job is lost sight of, no thread
waits for itself."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterator

import pytest
from fake_pool import HEARTBEAT_MS, Answers, FakePool, usual

import gpupool
from gpupool.conversation import Conversation
from gpupool.engine import COMMANDS_MAX, Engine, Options
from gpupool.messages import JobState, Outcome, Receipt
from gpupool.pending import Times
from gpupool.questions import (
    ClientCancel,
    ClientQuota,
    ClientSubmit,
    FromClient,
    Hello,
    JobDone,
    JobEvent,
    QuotaAnswer,
    SessionWelcome,
)
from gpupool.track import EVENTS_KEPT, Track


class OneJob:
    """A pool whose jobs run until they are cancelled. `submitted` is called in its thread, before
    anybody hears of the job."""

    def __init__(self, submitted: Callable[[], object] = lambda: None) -> None:
        self.submits = 0
        self.cancels = 0
        self._submitted = submitted

    def __call__(self, message: FromClient) -> Answers:
        if isinstance(message, ClientSubmit):
            self.submits += 1
            self._submitted()
            return [JobEvent(job=7, request=message.request, state=JobState.running)]
        if isinstance(message, ClientCancel):
            self.cancels += 1
            return [JobDone(receipt=Receipt(job=7, outcome=Outcome.cancelled))]
        if isinstance(message, ClientQuota):
            return [QuotaAnswer(query=message.query)]
        return usual(message)


def connect(fake: FakePool, announced: Callable[[str], None] | None = None) -> gpupool.Pool:
    return gpupool.Pool(
        fake.endpoint, connect_timeout_s=20, answer_timeout_s=20, announced=announced
    )


def breaks(event: gpupool.Event) -> None:
    raise ZeroDivisionError("the caller's own")


def test_a_job_whose_progress_nobody_can_show_is_cancelled() -> None:
    own = OneJob()

    async def main(endpoint: str) -> None:
        async with gpupool.AsyncPool(endpoint, connect_timeout_s=20) as pool:
            with pytest.raises(ZeroDivisionError):
                await pool.run("any", progress=breaks)

    with FakePool(own) as fake:
        with connect(fake) as pool, pytest.raises(ZeroDivisionError):
            pool.run("any", progress=breaks)
        assert (own.submits, own.cancels) == (1, 1)
        asyncio.run(main(fake.endpoint))
    assert (own.submits, own.cancels) == (2, 2)


def test_a_job_is_not_submitted_for_a_bar_that_cannot_be_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)  # type: ignore[misc]
    own = OneJob()

    async def main(endpoint: str) -> None:
        async with gpupool.AsyncPool(endpoint, connect_timeout_s=20) as pool:
            with pytest.raises(ModuleNotFoundError, match=r"gpupool\[progress\]"):
                await pool.run("any", progress=True)

    with FakePool(own) as fake:
        with connect(fake) as pool, pytest.raises(ModuleNotFoundError, match="a bar needs tqdm"):
            pool.run("any", progress=True)
        asyncio.run(main(fake.endpoint))
    assert own.submits == 0


@pytest.fixture
def ctrl_c() -> Iterator[Callable[[], None]]:
    """Does what Ctrl-C does, from any thread."""
    main = threading.get_ident()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: signal.pthread_kill(main, signal.SIGINT)
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("detached", "cancels"), [(False, 1), (True, 0)])
def test_ctrl_c_in_submit_cancels_the_job_unless_it_is_detached(
    ctrl_c: Callable[[], None], detached: bool, cancels: int
) -> None:
    own = OneJob(ctrl_c)
    with FakePool(own) as fake, connect(fake) as pool:
        with pytest.raises(KeyboardInterrupt):
            pool.submit("any", detached=detached)
    assert (own.submits, own.cancels) == (1, cancels)


@pytest.mark.parametrize(("detached", "cancels"), [(False, 1), (True, 0)])
def test_a_task_that_is_cancelled_in_submit_cancels_the_job_unless_it_is_detached(
    detached: bool, cancels: int
) -> None:
    tasks: list[Callable[[], object]] = []
    own = OneJob(lambda: tasks[0]())

    async def main(endpoint: str) -> None:
        loop = asyncio.get_running_loop()
        async with gpupool.AsyncPool(endpoint, connect_timeout_s=20) as pool:
            task = asyncio.create_task(pool.submit("any", detached=detached))
            tasks.append(lambda: loop.call_soon_threadsafe(task.cancel))
            with pytest.raises(asyncio.CancelledError):
                await task

    with FakePool(own) as fake:
        asyncio.run(main(fake.endpoint))
    assert (own.submits, own.cancels) == (1, cancels)


def test_ctrl_c_waits_a_bounded_time_for_a_pool_that_never_names_the_job(
    ctrl_c: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpupool.job.NAME_S_MAX", 0.1)

    def answer(message: FromClient) -> Answers:
        if isinstance(message, ClientSubmit):
            ctrl_c()
            return []
        return usual(message)

    with FakePool(answer) as fake, connect(fake) as pool:
        with pytest.raises(KeyboardInterrupt) as interrupt:
            pool.submit("any")
    if sys.version_info >= (3, 11):
        (note,) = interrupt.value.__notes__
        assert note.endswith("may still be queued or running")


def test_a_wait_that_shows_progress_ends_with_its_time_too() -> None:
    with FakePool(OneJob()) as fake, connect(fake) as pool:
        job = pool.submit("any")
        with pytest.raises(gpupool.TimedOut) as late:
            job.wait(0.05, progress=lambda event: None)
    assert late.value.want == 50


def test_who_reads_slowly_misses_only_what_is_beyond_the_bound() -> None:
    track = Track(uuid.UUID(int=1), 7)
    place, read = 0, []
    for first, last in ((0, 700), (700, 1_400), (1_400, 3_000)):
        for step in range(first, last):
            track.tell(JobEvent(job=7, step=step))
        events, place, is_over = track.since(place)
        assert not is_over
        read.append([event.step for event in events if isinstance(event, JobEvent)])
    kept = list(range(3_000 - EVENTS_KEPT, 3_000))
    assert read == [list(range(700)), list(range(700, 1_400)), kept]


def test_nobody_is_told_of_events_that_nobody_wants_any_more() -> None:
    async def main(endpoint: str) -> None:
        async with gpupool.AsyncPool(endpoint, connect_timeout_s=20) as pool:
            job = await pool.submit("any")
            events = job.events()
            async for _ in events:
                assert len(job._track._listeners) == 1
                break
            await events.aclose()  # type: ignore[attr-defined]
            assert job._track._listeners == []

    with FakePool(OneJob()) as fake:
        asyncio.run(main(fake.endpoint))


# ---- In the pool's own thread --------------------------------------------------------------------


def announces(message: FromClient) -> Answers:
    if isinstance(message, Hello):
        return [SessionWelcome(heartbeat_ms=HEARTBEAT_MS, announcement="maintenance at noon")]
    if isinstance(message, ClientQuota):
        return [QuotaAnswer(query=message.query)]
    return usual(message)


def test_what_fails_in_hearing_an_announcement_is_logged_and_the_pool_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def announced(text: str) -> None:
        raise ZeroDivisionError(text)

    with caplog.at_level(logging.ERROR, "gpupool"):
        with FakePool(announces) as fake, connect(fake, announced) as pool:
            assert pool.quota()
    assert "ZeroDivisionError: maintenance at noon" in caplog.text


def test_who_hears_an_announcement_may_not_wait_for_the_pool_but_may_close_it() -> None:
    heard: list[object] = []
    may_ask = threading.Event()
    pools: list[gpupool.Pool] = []

    def announced(text: str) -> None:
        assert may_ask.wait(20)
        try:
            pools[0].quota()
        except RuntimeError as error:
            heard.append(str(error))
        pools[0].close()
        heard.append("closed")

    def answer(message: FromClient) -> Answers:
        if isinstance(message, ClientQuota):
            return [QuotaAnswer(query=message.query), *announces(Hello())]
        return usual(message)

    with FakePool(answer) as fake, connect(fake, announced) as pool:
        pools.append(pool)
        pool.quota()
        may_ask.set()
        pool._engine._loop.thread.join(20)
    why = "what hears announcements may close the pool, but not wait for it"
    assert heard == [why, "closed"]


def test_what_waits_for_the_thread_is_bounded() -> None:
    entered, leave = threading.Event(), threading.Event()

    def announced(text: str) -> None:
        entered.set()
        leave.wait(20)

    with FakePool(announces) as fake:
        times = Times(connect_ms=20_000, answer_ms=20_000)
        engine = Engine(Options(endpoint=fake.endpoint, times=times, announced=announced))
        try:
            assert entered.wait(20)
            for _ in range(COMMANDS_MAX):
                engine.ask(ClientQuota(), QuotaAnswer)
            with pytest.raises(gpupool.Overloaded) as error:
                engine.ask(ClientQuota(), QuotaAnswer)
        finally:
            leave.set()
            engine.close()
    assert (error.value.want, error.value.have) == (COMMANDS_MAX + 1, COMMANDS_MAX)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_the_thread_leaves_nobody_waiting() -> None:
    def bug(conversation: Conversation, now: int) -> None:
        raise ZeroDivisionError("our own")

    with FakePool(OneJob()) as fake, connect(fake) as pool:
        job = pool.submit("any")
        pool._engine._loop.take(bug)
        with pytest.raises(gpupool.NotConnected, match="the client failed: ZeroDivisionError"):
            job.wait()
        with pytest.raises(gpupool.NotConnected, match="closed"):
            pool.quota()
