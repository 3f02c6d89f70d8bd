"""`@gpupool.gpu`: functions of every kind on slots of a real pool, and as plain ones without."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from datetime import timedelta
from functools import partial

import pytest
from pool_process import PATIENCE_S, PoolProcess
from program import Program

import gpupool
from gpupool import functions
from gpupool.child import Child, ChildTraceback, Work
from gpupool.keeper import VISIBLE
from gpupool.messages import Outcome
from gpupool.node import Node


@pytest.fixture(autouse=True)
def this_node(
    daemon: PoolProcess, user: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[functions.SharedPool]:
    """The pool of the environment is a test's own."""
    shared = functions.SharedPool()
    monkeypatch.setattr(functions, "shared_pool", shared)
    monkeypatch.setenv("GPUPOOL_ENDPOINT", daemon.endpoint)
    monkeypatch.setenv("GPUPOOL_TOKEN", daemon.token(user))
    monkeypatch.setenv("GPUPOOL_NODE_HTTP", daemon.node_http)
    monkeypatch.delenv(VISIBLE, raising=False)
    yield shared
    if shared._pool:
        shared._pool.close()


Where = tuple[int, str | None]


def where() -> Where:
    """The process, and what it sees."""
    return os.getpid(), os.environ.get(VISIBLE)


# ---- What a function may be ----------------------------------------------------------------------


def test_a_function_runs_in_a_process_on_a_slot_and_is_charged(pool: gpupool.Pool) -> None:
    @gpupool.gpu
    def add(left: int, *, right: int = 2) -> tuple[int, Where]:
        """Adds."""
        return left + right, where()

    total, (pid, device) = add(1, right=3)
    assert (total, device) == (4, "cpu-1") and pid != os.getpid()
    assert VISIBLE not in os.environ
    (receipt,) = pool.receipts()
    assert (receipt.outcome, receipt.declared_ms) == (Outcome.succeeded, 60_000)
    assert 0 <= receipt.charged_ms < 60_000 and pool.jobs() == []
    assert (add.__name__, add.__doc__) == ("add", "Adds.")
    assert str(inspect.signature(add)).startswith("(left: 'int', *, right: 'int' = 2)")
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # it is reaped


def test_a_generator_gives_its_values_as_they_come(pool: gpupool.Pool) -> None:
    @gpupool.gpu(duration=30)
    def count(to: int) -> Iterator[object]:
        yield where()
        yield from range(to)

    assert inspect.isgeneratorfunction(count)
    first, *rest = count(3)
    assert isinstance(first, tuple) and first[1] == "cpu-1" and rest == [0, 1, 2]

    @gpupool.gpu(duration=30)
    def returns() -> Generator[int, None, str]:
        yield 1
        return "the end"

    steps = returns()
    assert next(steps) == 1
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value == "the end"
    assert [one.outcome for one in pool.receipts()] == [Outcome.succeeded] * 2


def test_coroutines_and_async_generators_are_awaited(pool: gpupool.Pool) -> None:
    @gpupool.gpu(duration=timedelta(seconds=20))
    async def double(number: int) -> int:
        await asyncio.to_thread(os.getpid)
        assert os.environ[VISIBLE] == "cpu-1"
        return 2 * number

    @gpupool.gpu(duration=20)
    async def count(to: int) -> AsyncIterator[int]:
        for number in range(to):
            await asyncio.to_thread(os.getpid)
            yield number

    async def main() -> None:
        assert list(await asyncio.gather(double(1), double(2))) == [2, 4]
        assert [number async for number in count(3)] == [0, 1, 2]

    assert inspect.iscoroutinefunction(double) and inspect.isasyncgenfunction(count)
    asyncio.run(main())
    receipts = pool.receipts()
    assert [(one.outcome, one.declared_ms) for one in receipts] == [(Outcome.succeeded, 20_000)] * 3


def test_a_duration_may_depend_on_the_arguments_and_a_size_costs_its_factor(
    pool: gpupool.Pool,
) -> None:
    def longer(steps: int, label: str = "") -> timedelta:
        return timedelta(seconds=2 * steps)

    @gpupool.gpu(duration=longer, size="xlarge")
    def draw(steps: int, label: str = "") -> str:
        return label

    assert draw(10, label="a") == "a" and draw(steps=5) == ""
    receipts = pool.receipts()
    assert [(one.declared_ms, one.held_ms) for one in receipts] == [
        (10_000, 20_000),
        (20_000, 40_000),
    ]


def test_calls_at_once_have_slots_of_their_own(pool: gpupool.Pool) -> None:
    both = [os.pipe() for _ in range(2)]

    @gpupool.gpu(duration=30)
    def meet(own: int) -> bytes:
        os.write(both[1 - own][1], b"here")
        return os.read(both[own][0], 4)

    heard: list[bytes] = []
    threads = [threading.Thread(target=lambda i=i: heard.append(meet(i))) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    for pipe in both:
        for end in pipe:
            os.close(end)
    assert heard == [b"here"] * 2
    assert [one.outcome for one in pool.receipts()] == [Outcome.succeeded] * 2


def test_a_function_that_calls_another_keeps_its_slot(pool: gpupool.Pool) -> None:
    @gpupool.gpu
    def inner() -> Where:
        return where()

    @gpupool.gpu(duration=30)
    def outer() -> tuple[Where, Where]:
        return where(), inner()

    first, second = outer()
    assert first == second and len(pool.receipts()) == 1


def test_a_pool_can_be_named_and_an_app(
    pool: gpupool.Pool, daemon: PoolProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GPUPOOL_ENDPOINT", "GPUPOOL_NODE_HTTP"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("GPUPOOL_APP", "no-such-app")

    @gpupool.gpu(pool=pool, app="gpu", node_http=daemon.node_http, duration=10)
    def named() -> str | None:
        return where()[1]

    @gpupool.gpu(pool=pool, node_http=daemon.node_http)
    def other() -> None:
        pass

    @gpupool.gpu(pool=pool)
    def nowhere() -> None:
        pass

    assert named() == "cpu-1"
    with pytest.raises(gpupool.UnknownApp):
        other()
    with pytest.raises(ValueError, match="GPUPOOL_NODE_HTTP"):
        nowhere()


# ---- What goes wrong -----------------------------------------------------------------------------


class TwoWords(Exception):
    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} {other}")


def test_what_a_function_raises_is_raised_with_its_traceback_and_the_run_failed(
    pool: gpupool.Pool,
) -> None:
    @gpupool.gpu
    def fails(error: BaseException) -> None:
        raise error

    with pytest.raises(ZeroDivisionError, match="mine") as raised:
        fails(ZeroDivisionError("mine"))
    assert isinstance(raised.value.__cause__, ChildTraceback)
    assert "in fails" in str(raised.value.__cause__)
    # What cannot be read again, or would end the caller, comes as its text.
    with pytest.raises(RuntimeError, match="TwoWords: a b"):
        fails(TwoWords("a", "b"))
    with pytest.raises(RuntimeError, match="ended with SystemExit: 3"):
        fails(SystemExit(3))
    receipts = pool.receipts()
    assert [one.outcome for one in receipts] == [Outcome.failed] * 3
    assert all(one.charged_ms < 60_000 for one in receipts)


def test_what_cannot_be_pickled_is_said(pool: gpupool.Pool) -> None:
    @gpupool.gpu
    def lock() -> object:
        return threading.Lock()

    with pytest.raises(TypeError, match="cannot pickle"):
        lock()
    assert [one.outcome for one in pool.receipts()] == [Outcome.failed]


def test_a_function_past_its_duration_is_ended_and_its_caller_goes_on(pool: gpupool.Pool) -> None:
    @gpupool.gpu(duration=1)
    def endless() -> None:
        signal.pause()

    @gpupool.gpu(duration=1)
    def counts() -> Iterator[int]:
        yield 1
        signal.pause()

    @gpupool.gpu(duration=1)
    async def waits() -> None:
        await asyncio.Event().wait()

    with pytest.raises(gpupool.JobExpired) as expired:
        endless()
    assert expired.value.receipt.charged_ms == 1_000
    heard = []
    with pytest.raises(gpupool.JobExpired):
        for number in counts():
            heard.append(number)
    assert heard == [1]
    with pytest.raises(gpupool.JobExpired):
        asyncio.run(waits())
    assert [one.charged_ms for one in pool.receipts()] == [1_000] * 3


def test_a_function_whose_process_dies_is_a_failed_job(pool: gpupool.Pool) -> None:
    @gpupool.gpu
    def dies() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @gpupool.gpu
    async def dies_async() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    why = "its process ended before it gave the lease back"
    with pytest.raises(gpupool.JobFailed, match=why):
        dies()
    with pytest.raises(gpupool.JobFailed, match=why):
        asyncio.run(dies_async())


def test_a_generator_that_is_closed_early_pays_what_it_used(pool: gpupool.Pool) -> None:
    @gpupool.gpu(duration=60)
    def forever() -> Iterator[int]:
        yield os.getpid()
        while True:
            yield 0

    @gpupool.gpu(duration=60)
    async def forever_async() -> AsyncIterator[int]:
        yield os.getpid()
        while True:
            yield 0

    async def main() -> int:
        numbers = forever_async()
        pid = await numbers.__anext__()
        await numbers.aclose()  # type: ignore[attr-defined]
        return pid

    numbers = forever()
    pids = [next(numbers)]
    numbers.close()  # type: ignore[attr-defined]
    pids.append(asyncio.run(main()))
    for pid in pids:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    receipts = pool.receipts()
    assert [one.outcome for one in receipts] == [Outcome.succeeded] * 2
    assert all(one.charged_ms < 60_000 for one in receipts) and pool.jobs() == []


def test_a_refusal_has_the_numbers(
    daemon: PoolProcess, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUPOOL_TOKEN", daemon.token(user, "--tier", "small"))

    @gpupool.gpu(duration=60)
    def never() -> None:
        raise AssertionError("it has no slot")

    with pytest.raises(gpupool.QuotaExceeded) as refused:
        never()
    assert (refused.value.want, refused.value.have) == (60_000, 50_000)


def test_a_node_that_does_not_let_its_process_in_is_an_error(
    pool: gpupool.Pool, daemon: PoolProcess
) -> None:
    @gpupool.gpu(node_http=daemon.node_http + "0")
    def never() -> None:
        raise AssertionError("it has no slot")

    @gpupool.gpu(node_http=daemon.node_http + "0")
    async def never_async() -> None:
        raise AssertionError("it has no slot")

    with pytest.raises(gpupool.NotConnected, match="does not know this lease"):
        never()
    with pytest.raises(gpupool.NotConnected, match="does not know this lease"):
        asyncio.run(never_async())
    receipts = pool.receipts()
    assert [(one.outcome, one.charged_ms) for one in receipts] == [(Outcome.cancelled, 0)] * 2


def test_a_process_that_never_comes_to_its_slot_is_given_up(
    pool: gpupool.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a fork may, beside the threads of a program: with a lock that nobody will ever open."""
    monkeypatch.setattr(functions, "LET_IN_S_MAX", 0.1)
    monkeypatch.setattr("gpupool.child._settle_in", lambda parent: signal.pause())
    children: list[Child] = []

    class Kept(Child):
        def __init__(self, node: Node, grant: gpupool.Grant, work: Work) -> None:
            super().__init__(node, grant, work)
            children.append(self)

    monkeypatch.setattr(functions, "Child", Kept)

    @gpupool.gpu
    def never() -> None:
        raise AssertionError("it has no slot")

    @gpupool.gpu
    async def never_async() -> None:
        raise AssertionError("it has no slot")

    with pytest.raises(gpupool.TimedOut, match="did not come to its slot"):
        never()
    with pytest.raises(gpupool.TimedOut, match="did not come to its slot"):
        asyncio.run(never_async())
    receipts = pool.receipts()
    assert [(one.outcome, one.charged_ms) for one in receipts] == [(Outcome.cancelled, 0)] * 2
    assert len(children) == 2
    for child in children:
        with pytest.raises(ChildProcessError):
            os.waitpid(child.pid, os.WNOHANG)


def test_what_a_function_prints_is_written_once_and_whole(
    program: Callable[[str], Program], pool: gpupool.Pool
) -> None:
    own = program("""
@gpupool.gpu(duration=20)
def prints(word):
    print(word * 1000)
    if word == "fails ":
        raise ValueError
print("before")
prints("well ")
try:
    prints("fails ")
except ValueError:
    print("after")
""")
    code, out, error = own.end()
    assert (code, error) == (0, "")
    assert out == f"before\n{'well ' * 1000}\n{'fails ' * 1000}\nafter\n"


def test_ctrl_c_ends_the_call_and_its_process(
    program: Callable[[str], Program], pool: gpupool.Pool
) -> None:
    own = program("""
import os
@gpupool.gpu(duration=60)
def endless():
    print("here", os.getpid(), flush=True)
    signal.pause()
endless()
""")
    child = int(own.until_it_says("here").split()[1])
    own.interrupt()
    code, _, error = own.end()
    assert code == -signal.SIGINT and "KeyboardInterrupt" in error
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    (receipt,) = pool.receipts()
    # Given back as failed, or cancelled by the program that went: whichever the pool heard first.
    assert receipt.outcome in (Outcome.failed, Outcome.cancelled)
    assert receipt.charged_ms < 60_000


def test_a_process_does_not_outlive_the_program_of_its_call(
    program: Callable[[str], Program], pool: gpupool.Pool
) -> None:
    own = program("""
@gpupool.gpu(duration=60)
def endless():
    print("here", flush=True)
    signal.pause()
endless()
""")
    own.until_it_says("here")
    (job,) = pool.jobs()
    own.process.kill()
    receipt = pool.watch(job.job).receipt(PATIENCE_S)
    assert receipt.outcome is Outcome.failed and receipt.charged_ms < 60_000


# ---- Without a pool ------------------------------------------------------------------------------


def test_where_no_pool_is_configured_a_call_is_a_plain_one_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("GPUPOOL_ENDPOINT")

    @gpupool.gpu
    def plain() -> int:
        return os.getpid()

    @gpupool.gpu(duration=30)
    def count() -> Iterator[int]:
        yield os.getpid()

    @gpupool.gpu(duration=lambda: 1 / 0)
    async def later() -> int:
        return os.getpid()

    @gpupool.gpu()
    async def stream() -> AsyncIterator[int]:
        yield os.getpid()

    async def main() -> list[int]:
        return [await later(), *[pid async for pid in stream()]]

    with caplog.at_level(logging.WARNING, "gpupool"):
        assert [plain(), plain(), *count(), *asyncio.run(main())] == [os.getpid()] * 5
    (said,) = caplog.records
    assert "no pool is configured (GPUPOOL_ENDPOINT)" in said.getMessage()


def test_a_pool_that_is_configured_and_not_there_is_an_error(
    nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUPOOL_ENDPOINT", nobody)
    monkeypatch.setattr(functions, "Pool", partial(gpupool.Pool, connect_timeout_s=0.3))

    @gpupool.gpu
    def never() -> None:
        raise AssertionError("it has no slot")

    with pytest.raises(gpupool.NotConnected, match="no pool answers at"):
        never()


def test_a_pool_that_was_lost_for_good_is_looked_for_again(
    this_node: functions.SharedPool, pool: gpupool.Pool
) -> None:
    @gpupool.gpu(duration=10)
    def one() -> int:
        return 1

    assert one() == 1
    first = this_node.get()
    assert first and first is this_node.get()
    first.close()
    assert one() == 1 and this_node.get() is not first
