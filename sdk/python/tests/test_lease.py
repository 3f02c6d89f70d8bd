"""Leases of a real pool: a slot for a `with` block, and what becomes of it when things go wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import pytest
from pool_process import PATIENCE_S, PoolProcess
from program import Program

import gpupool
from gpupool.keeper import VISIBLE
from gpupool.messages import JobState, Outcome


@pytest.fixture(autouse=True)
def this_node(daemon: PoolProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUPOOL_NODE_HTTP", daemon.node_http)
    monkeypatch.delenv(VISIBLE, raising=False)


def test_a_slot_is_lent_for_the_block_and_what_was_used_is_charged(pool: gpupool.Pool) -> None:
    with pool.lease("gpu", duration_s=30) as lease:
        assert os.environ[VISIBLE] == lease.device == "cpu-1"
        assert lease.node == "node-1" and lease.declared_ms == 30_000
        assert 0 < lease.remaining_s() <= 30 and lease.deadline.utc
        assert [job.job for job in pool.jobs()] == [lease.job.number]
        assert lease.receipt is None
    assert VISIBLE not in os.environ
    receipt, balance = lease.receipt, lease.balance
    assert receipt and balance
    assert (receipt.outcome, receipt.held_ms) == (Outcome.succeeded, 30_000)
    assert receipt.charged_ms < 30_000
    assert receipt.charged_ms + receipt.given_back_ms == 30_000
    assert balance.used_ms == receipt.charged_ms and balance.held_ms == 0
    assert pool.receipts() == [receipt]


def test_a_program_goes_on_after_its_leases_whoever_gets_the_slots_next(
    pool: gpupool.Pool, daemon: PoolProcess
) -> None:
    with gpupool.Pool(daemon.endpoint, token=daemon.token("another")) as other:
        for one in (pool, other, pool, other, pool, other):
            with one.lease("gpu", duration_s=20) as lease:
                pass
            assert lease.receipt and lease.receipt.outcome is Outcome.succeeded


def test_what_an_exception_leaves_is_a_failed_run_and_the_program_goes_on(
    pool: gpupool.Pool,
) -> None:
    with pytest.raises(ZeroDivisionError) as error:
        with pool.lease("gpu", duration_s=20) as lease:
            raise ZeroDivisionError
    assert lease.receipt and lease.receipt.outcome is Outcome.failed
    assert lease.receipt.charged_ms < 20_000
    if sys.version_info >= (3, 11):
        assert f"job {lease.job.number} failed" in error.value.__notes__[0]
    with pool.lease("gpu", duration_s=20):
        pass


def test_two_leases_at_once_have_slots_of_their_own_and_a_third_waits(pool: gpupool.Pool) -> None:
    waited: list[gpupool.Event] = []
    with ExitStack() as held, pool.lease("gpu", duration_s=30) as first:
        second = held.enter_context(pool.lease("gpu", duration_s=30))
        assert first.slot != second.slot
        with pytest.raises(gpupool.PromiseTooLate):
            with pool.lease("gpu", duration_s=30, max_wait_s=1):
                pass

        def give_way(event: gpupool.Event) -> None:
            waited.append(event)
            held.close()

        with pool.lease("gpu", duration_s=30, progress=give_way) as third:
            assert third.slot == second.slot
    states = [one.state for one in waited if isinstance(one, gpupool.JobEvent)]
    assert states[0] is JobState.queued and third.receipt


def test_an_xlarge_lease_has_both_slots_and_is_charged_twice(pool: gpupool.Pool) -> None:
    with pool.lease("gpu", duration_s=30, size="xlarge") as lease:
        with pytest.raises(gpupool.PromiseTooLate):
            with pool.lease("gpu", duration_s=5, max_wait_s=1):
                pass
    assert lease.receipt
    assert (lease.receipt.factor, lease.receipt.held_ms) == (2, 60_000)


def test_a_lease_that_the_quota_does_not_pay_is_refused_with_the_numbers(
    daemon: PoolProcess, user: str
) -> None:
    token = daemon.token(user, "--tier", "small")
    with gpupool.Pool(daemon.endpoint, token=token) as pool:
        with pytest.raises(gpupool.QuotaExceeded) as refused:
            with pool.lease("gpu", duration_s=60):
                pass
        assert pool.jobs() == []
    assert (refused.value.want, refused.value.have) == (60_000, 50_000)
    assert refused.value.longest_ms() == 50_000 and refused.value.hint


@pytest.mark.parametrize(
    ("app", "kind"),
    [
        ("emoji", gpupool.BadRequest),
        ("nothing", gpupool.BadRequest),
        ("no-such-app", gpupool.UnknownApp),
    ],
)
def test_an_app_that_is_not_external_lends_nothing(
    pool: gpupool.Pool, app: str, kind: type[gpupool.PoolError]
) -> None:
    with pytest.raises(kind) as refused:
        with pool.lease(app, duration_s=5):
            pass
    assert pool.jobs() == []
    if kind is gpupool.BadRequest:
        assert f"the app {app} lends no slots to its callers" in str(refused.value)


def test_what_else_is_wrong_with_a_request_is_said_as_the_pool_says_it(pool: gpupool.Pool) -> None:
    with pytest.raises(gpupool.BadRequest, match="huge"):
        with pool.lease("gpu", size="huge"):
            pass
    with pytest.raises(gpupool.IllegalDuration) as refused:
        with pool.lease("gpu", duration_s=181):
            pass
    assert (refused.value.want, refused.value.have) == (181_000, 180_000)


def test_a_node_that_is_not_the_pools_lets_nobody_in_and_nothing_is_charged(
    pool: gpupool.Pool, daemon: PoolProcess, nobody: str
) -> None:
    wrong = [nobody.replace("tcp", "http"), daemon.node_http[:-1] + "0", daemon.node_http[:20]]
    for url in wrong:
        with pytest.raises(gpupool.NotConnected, match="GPUPOOL_NODE_HTTP"):
            with pool.lease("gpu", duration_s=20, node_http=url):
                pass
    receipts = pool.receipts()
    assert [(one.outcome, one.charged_ms) for one in receipts] == [(Outcome.cancelled, 0)] * 3


def test_a_child_that_is_forked_in_the_block_does_not_give_the_lease_back(
    pool: gpupool.Pool,
) -> None:
    with pool.lease("gpu", duration_s=30) as lease:
        child = os.fork()
        if child == 0:
            lease.__exit__(None, None, None)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert os.environ[VISIBLE] == lease.device and not lease.job.is_done
    assert lease.receipt and lease.receipt.outcome is Outcome.succeeded


# ---- The end of a lease, and of its program ------------------------------------------------------

LEASE = """
import os
pool = gpupool.Pool()
def tell(lease):
    print("granted", lease.job.number, flush=True)
    signal.pause()
"""


def test_a_program_that_is_in_the_block_at_the_deadline_is_ended(
    program: Callable[[str], Program], pool: gpupool.Pool
) -> None:
    own = program(LEASE + 'with pool.lease("gpu", duration_s=1) as lease: tell(lease)')
    number = int(own.until_it_says("granted").split()[1])
    code, _, error = own.end()
    assert code == -signal.SIGKILL
    assert f"the pool took back the slot of job {number}, at its deadline" in error
    receipt = pool.watch(number).receipt(PATIENCE_S)
    assert (receipt.outcome, receipt.charged_ms) == (Outcome.expired, 1_000)


def test_a_program_whose_lease_is_cancelled_is_ended(
    program: Callable[[str], Program], pool: gpupool.Pool
) -> None:
    own = program(LEASE + 'with pool.lease("gpu", duration_s=60) as lease: tell(lease)')
    number = int(own.until_it_says("granted").split()[1])
    receipt = pool.watch(number).cancel().receipt
    assert own.end()[0] == -signal.SIGKILL
    assert receipt.outcome is Outcome.cancelled and receipt.charged_ms < 60_000


def test_ctrl_c_in_the_block_gives_the_lease_back(
    program: Callable[[str], Program], pool: gpupool.Pool
) -> None:
    own = program(LEASE + 'with pool.lease("gpu", duration_s=60) as lease: tell(lease)')
    number = int(own.until_it_says("granted").split()[1])
    own.interrupt()
    code, _, error = own.end()
    assert code == -signal.SIGINT and "KeyboardInterrupt" in error
    receipt = pool.watch(number).receipt(PATIENCE_S)
    assert receipt.outcome is Outcome.failed and receipt.charged_ms < 60_000
    if sys.version_info >= (3, 11):
        assert f"job {number} failed: declared 60.0 s" in error


def test_ctrl_c_while_it_waits_cancels_the_lease_uncharged(
    program: Callable[[str], Program], pool: gpupool.Pool
) -> None:
    with pool.lease("gpu", duration_s=30, size="xlarge"):
        own = program(LEASE + 'with pool.lease("gpu", progress=show) as lease: tell(lease)')
        number = int(own.until_it_says("queued").split()[0])
        own.interrupt()
        assert own.end()[0] == -signal.SIGINT
        receipt = pool.watch(number).receipt(PATIENCE_S)
    assert (receipt.outcome, receipt.charged_ms) == (Outcome.cancelled, 0)


def test_a_program_that_is_killed_in_the_block_ends_its_lease(
    program: Callable[[str], Program], pool: gpupool.Pool
) -> None:
    own = program(LEASE + 'with pool.lease("gpu", duration_s=60) as lease: tell(lease)')
    number = int(own.until_it_says("granted").split()[1])
    own.process.kill()
    receipt = pool.watch(number).receipt(PATIENCE_S)
    assert receipt.outcome is Outcome.failed and receipt.charged_ms < 60_000


def test_a_program_in_the_block_ends_with_its_node_and_is_charged_nothing(
    new_pool: Callable[..., PoolProcess],
) -> None:
    own = new_pool(file=True)
    text = LEASE + 'with pool.lease("gpu", duration_s=60) as lease: tell(lease)'
    lent = Program(text, own.endpoint, own.token("ada"), own.node_http)
    try:
        number = int(lent.until_it_says("granted").split()[1])
        own.kill()
        own.start()
        assert lent.end()[0] == -signal.SIGKILL
    finally:
        lent.process.kill()
    with gpupool.Pool(own.endpoint, token=own.token("ada")) as pool:
        receipt = pool.watch(number).receipt(PATIENCE_S)
    assert (receipt.outcome, receipt.charged_ms) == (Outcome.failed, 0)


def test_a_lease_outlives_the_connection_to_its_pool(
    new_pool: Callable[..., PoolProcess],
) -> None:
    """The node takes it back; that the client was not there for a while is no matter."""
    own = new_pool(file=True)
    with gpupool.Pool(own.endpoint, token=own.token("ada")) as pool:
        with pool.lease("gpu", duration_s=60, node_http=own.node_http) as lease:
            pool._engine._loop.take(lambda talk, now: talk.lost(now, "a test says so"))
        assert lease.receipt and lease.receipt.outcome is Outcome.succeeded


# ---- asyncio -------------------------------------------------------------------------------------


@pytest.fixture
def with_pool(
    daemon: PoolProcess, user: str
) -> Callable[[Callable[[gpupool.AsyncPool], Awaitable[None]]], None]:
    def run(work: Callable[[gpupool.AsyncPool], Awaitable[None]]) -> None:
        async def main() -> None:
            async with gpupool.AsyncPool(daemon.endpoint, token=daemon.token(user)) as pool:
                await asyncio.wait_for(work(pool), PATIENCE_S)

        asyncio.run(main())

    return run


Run = Callable[[Callable[[gpupool.AsyncPool], Awaitable[object]]], None]


def test_tasks_have_leases_of_their_own(with_pool: Run) -> None:
    async def work(pool: gpupool.AsyncPool) -> None:
        both = asyncio.Barrier(2) if sys.version_info >= (3, 11) else None

        async def one() -> gpupool.AsyncLease:
            async with pool.lease("gpu", duration_s=30) as lease:
                assert lease.device == "cpu-1" and lease.remaining_s() > 0
                if both:
                    await both.wait()
            return lease

        first, second = await asyncio.gather(one(), one())
        if both:
            assert first.slot != second.slot
        for lease in (first, second):
            assert lease.receipt and lease.receipt.outcome is Outcome.succeeded
        with pytest.raises(gpupool.BadRequest):
            async with pool.lease("nothing"):
                pass
        with pytest.raises(gpupool.NotConnected, match="does not know this lease"):
            async with pool.lease("gpu", node_http=os.environ["GPUPOOL_NODE_HTTP"] + "0"):
                pass
        assert await pool.jobs() == []

    with_pool(work)


def test_a_task_that_is_cancelled_in_the_block_gives_its_lease_back(with_pool: Run) -> None:
    async def work(pool: gpupool.AsyncPool) -> None:
        leases: asyncio.Queue[gpupool.AsyncLease] = asyncio.Queue()

        async def hold() -> None:
            async with pool.lease("gpu", duration_s=60) as lease:
                leases.put_nowait(lease)
                await asyncio.Event().wait()

        task = asyncio.create_task(hold())
        lease = await leases.get()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        receipt = await lease.job.receipt()
        assert receipt.outcome is Outcome.failed and receipt.charged_ms < 60_000

    with_pool(work)


def test_a_task_that_is_cancelled_while_it_waits_cancels_its_lease(with_pool: Run) -> None:
    async def work(pool: gpupool.AsyncPool) -> None:
        waits = asyncio.Event()

        async def hold() -> None:
            def show(event: gpupool.Event) -> None:
                waits.set()

            async with pool.lease("gpu", duration_s=30, progress=show):
                pass

        async with pool.lease("gpu", duration_s=30, size="xlarge") as lease:
            task = asyncio.create_task(hold())
            await waits.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            (only,) = await pool.jobs()
            assert only.job == lease.job.number

    with_pool(work)
