"""What a lease makes of a node that answers well, badly, or not at all. No daemon, no clock."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from fake_node import FakeNode
from fake_pool import Answers, FakePool, usual
from pool_process import PREFIX

import gpupool
from gpupool import keeper, node
from gpupool.keeper import VISIBLE, VisibleDevices
from gpupool.messages import Balance, Grant, JobState, Outcome, Receipt
from gpupool.node import node_of
from gpupool.questions import ClientCancel, ClientSubmit, FromClient, JobDone, JobEvent

GRANT = Grant(slot=3, device="cpu-1", token="secret-token")
CHARGED = Receipt(job=7, held_ms=60_000, charged_ms=2_000, given_back_ms=58_000)


class Lender:
    """A pool that grants at once. `end`: how the job ends, told with the grant; None: not yet."""

    def __init__(self, end: Outcome | None = Outcome.succeeded, grant: Grant = GRANT) -> None:
        self.submits: list[ClientSubmit] = []
        self.cancels = 0
        self._end = end
        self._grant = grant

    def __call__(self, message: FromClient) -> Answers:
        if isinstance(message, ClientSubmit):
            self.submits.append(message)
            event = JobEvent(
                job=7,
                request=message.request,
                state=JobState.starting if self._grant.token or self._end else JobState.running,
                node="node-1",
                grant=self._grant,
            )
            return [event] if self._end is None else [event, self._done(self._end)]
        if isinstance(message, ClientCancel):
            self.cancels += 1
            return [self._done(Outcome.cancelled)]
        return usual(message)

    def _done(self, outcome: Outcome) -> JobDone:
        return JobDone(dataclasses.replace(CHARGED, outcome=outcome), Balance(left_ms=9_000))


def connect(fake: FakePool, answer_timeout_s: float = 20) -> gpupool.Pool:
    return gpupool.Pool(fake.endpoint, connect_timeout_s=20, answer_timeout_s=answer_timeout_s)


@pytest.fixture(autouse=True)
def a_killed_program_is_told(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Not this one: the jobs for whose end it would have been killed."""
    jobs: list[int] = []
    monkeypatch.setattr(keeper, "end_this_process", jobs.append)
    return jobs


# ---- A node that answers -------------------------------------------------------------------------


def test_a_lease_lets_a_process_in_shows_its_device_and_is_given_back(
    monkeypatch: pytest.MonkeyPatch, a_killed_program_is_told: list[int]
) -> None:
    monkeypatch.setenv(VISIBLE, "7")
    own = Lender()
    with FakeNode() as near, FakePool(own) as fake, connect(fake) as pool:
        with pool.lease("demo", duration_s=60, node_http=near.url) as lease:
            assert os.environ[VISIBLE] == "cpu-1" == lease.device
            assert (lease.slot, lease.node, lease.job.number) == (3, "node-1", 7)
            ((path, query),) = near.asked
            assert path == "/allow" and query["allowToken"] == "secret-token"
            # It may be ended by the pool at any time after the lease, and is not this program.
            assert int(query["pid"]) != os.getpid() and alive(int(query["pid"]))
        assert os.environ[VISIBLE] == "7"
        assert near.asked[1] == ("/release", {"allowToken": "secret-token", "fail": "false"})
        assert not alive(int(query["pid"]))
    assert lease.receipt and lease.receipt.charged_ms == 2_000
    assert lease.balance and lease.balance.left_ms == 9_000
    assert a_killed_program_is_told == [] and own.cancels == 0


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_request_names_a_task_of_its_own_and_no_space() -> None:
    own = Lender()
    with FakeNode() as near, FakePool(own) as fake, connect(fake) as pool:
        for _ in range(2):
            with pool.lease("demo", duration_s=5, size="xlarge", node_http=near.url):
                pass
    bodies = [submit.body for submit in own.submits]
    assert [(body.app, body.size, body.declared_ms) for body in bodies] == [
        ("demo", "xlarge", 5_000)
    ] * 2
    tasks = [[(one.key, one.value) for one in body.arguments] for body in bodies]
    assert [len(task) for task in tasks] == [1, 1] and tasks[0] != tasks[1]
    assert tasks[0][0][0] == "task"


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(1)])
def test_an_error_of_the_block_is_the_callers_and_gives_the_lease_back_as_failed(
    error: BaseException,
) -> None:
    own = Lender(Outcome.failed)
    with FakeNode() as near, FakePool(own) as fake, connect(fake) as pool:
        with pytest.raises(type(error)) as raised:
            with pool.lease(node_http=near.url) as lease:
                raise error
    assert raised.value is error and own.submits[0].body.app == "gpu"
    assert near.asked[1][1]["fail"] == "true"
    assert lease.receipt and lease.receipt.outcome is Outcome.failed
    if sys.version_info >= (3, 11):
        (note,) = error.__notes__
        assert note.startswith("job 7 failed: ") and "charged 2.0 s" in note


@pytest.mark.parametrize("code", [None, 0])
def test_a_program_that_ends_well_in_the_block_is_no_failure(code: int | None) -> None:
    own = Lender(Outcome.succeeded)
    with FakeNode() as near, FakePool(own) as fake, connect(fake) as pool:
        with pytest.raises(SystemExit):
            with pool.lease(node_http=near.url):
                raise SystemExit(code)
    assert near.asked[1][1]["fail"] == "false"


def test_a_generator_that_is_left_early_is_no_failure() -> None:
    def numbers(pool: gpupool.Pool, url: str) -> Iterator[int]:
        with pool.lease(node_http=url):
            yield 1
            yield 2

    with FakeNode() as near, FakePool(Lender()) as fake, connect(fake) as pool:
        steps = numbers(pool, near.url)
        assert next(steps) == 1
        steps.close()  # type: ignore[attr-defined]
    assert near.asked[1][1]["fail"] == "false"


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (Outcome.expired, gpupool.JobExpired),
        (Outcome.cancelled, gpupool.JobCancelled),
        (Outcome.failed, gpupool.JobFailed),
    ],
)
def test_a_lease_that_was_over_before_its_release_is_an_error_with_its_receipt(
    end: Outcome, kind: type[gpupool.JobFailed]
) -> None:
    def answer(path: str) -> int:
        return 404 if path == "/release" else 200

    with FakeNode(answer) as near, FakePool(Lender(end)) as fake, connect(fake) as pool:
        with pytest.raises(kind) as over:
            with pool.lease(node_http=near.url) as lease:
                pass
    assert type(over.value) is kind and over.value.receipt == lease.receipt
    assert over.value.receipt.charged_ms == 2_000


def test_a_guest_that_the_pool_ends_takes_its_program_with_it(
    a_killed_program_is_told: list[int],
) -> None:
    with FakeNode() as near, FakePool(Lender()) as fake, connect(fake) as pool:
        with pool.lease(node_http=near.url) as lease:
            os.kill(int(near.asked[0][1]["pid"]), 9)
            lease.guest._watch.join(20)
            assert a_killed_program_is_told == [7]


def test_a_lease_is_used_once_and_says_nothing_before_it_begins() -> None:
    with FakeNode() as near, FakePool(Lender()) as fake, connect(fake) as pool:
        lease = pool.lease(node_http=near.url)
        for ask in ("slot", "device", "node", "declared_ms", "deadline", "job"):
            with pytest.raises(RuntimeError, match="begins with its `with`"):
                getattr(lease, ask)
        assert lease.receipt is None and "not begun" in repr(lease)
        with lease:
            assert "slot 3 of node-1" in repr(lease)
        with pytest.raises(RuntimeError, match="used once"):
            lease.__enter__()


def test_a_receipt_that_does_not_come_is_logged_and_can_be_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    own = Lender(None)
    with FakeNode() as near, FakePool(own) as fake, connect(fake, 0.1) as pool:
        with caplog.at_level(logging.WARNING, "gpupool"):
            with pool.lease(node_http=near.url) as lease:
                pass
        assert lease.receipt is None and lease.balance is None
        assert "job 7 was given back, but no receipt came: timed_out" in caplog.text


def test_the_device_that_is_visible_is_that_of_the_lease_that_began_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(VISIBLE, raising=False)
    devices = VisibleDevices()
    seen = []
    for who, device in (("a", "0"), ("b", "1"), ("a", None), ("a", None), ("b", None)):
        devices.leave(who) if device is None else devices.enter(who, device)
        seen.append(os.environ.get(VISIBLE))
    assert seen == ["0", "1", "1", "1", None]


# ---- A node that does not ------------------------------------------------------------------------

STATUS = b"HTTP/1.1 200 OK\r\n"
NONSENSE: list[tuple[int | bytes, type[gpupool.PoolError], str]] = [
    (403, gpupool.Forbidden, "does not let process [0-9]+ in"),
    (404, gpupool.NotConnected, "does not know this lease.*GPUPOOL_NODE_HTTP"),
    (503, gpupool.NotConnected, "answered 503 to /allow"),
    (302, gpupool.NotConnected, "answered 302 to /allow"),
    (b"", gpupool.NotConnected, "is no device API"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", gpupool.NotConnected, "is no device API"),
    (STATUS + b"a: b\r\n" * 200 + b"\r\n", gpupool.NotConnected, "is no device API"),
    (STATUS + b"Content-Length: 9\r\n\r\n", gpupool.NotConnected, ""),
]


@pytest.mark.parametrize(("answer", "kind", "text"), NONSENSE[:-1])
def test_a_node_that_does_not_let_in_is_an_error_and_the_job_is_cancelled(
    answer: int | bytes, kind: type[gpupool.PoolError], text: str
) -> None:
    own = Lender(None)
    with FakeNode(lambda path: answer) as near, FakePool(own) as fake, connect(fake) as pool:
        before = os.environ.get(VISIBLE)
        with pytest.raises(kind, match=text) as refused:
            with pool.lease(node_http=near.url):
                raise AssertionError("it has no slot")
        assert own.cancels == 1 and os.environ.get(VISIBLE) == before
    for secret in (PREFIX, "secret-token"):
        assert secret not in str(refused.value)


def test_where_nobody_listens_there_is_no_node(nobody: str) -> None:
    own = Lender(None)
    with FakePool(own) as fake, connect(fake) as pool:
        with pytest.raises(gpupool.NotConnected, match="no node answers at.*refused.*NODE_HTTP"):
            with pool.lease(node_http=nobody.replace("tcp", "http") + PREFIX):
                pass
    assert own.cancels == 1


def test_a_node_that_says_nothing_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "ANSWER_S_MAX", 0.1)
    own = Lender(None)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}{PREFIX}"
        with FakePool(own) as fake, connect(fake) as pool:
            with pytest.raises(gpupool.TimedOut, match="does not answer") as late:
                with pool.lease(node_http=url):
                    pass
    assert (late.value.want, own.cancels) == (100, 1)


@pytest.mark.parametrize("answer", [500, b"", b"nonsense\r\n\r\n"])
def test_a_node_that_does_not_take_it_back_is_an_error_and_the_guest_is_gone_all_the_same(
    answer: int | bytes,
) -> None:
    def say(path: str) -> int | bytes:
        return answer if path == "/release" else 200

    with FakeNode(say) as near, FakePool(Lender(Outcome.failed)) as fake, connect(fake) as pool:
        with pytest.raises(gpupool.NotConnected):
            with pool.lease(node_http=near.url) as lease:
                pass
    assert not alive(int(near.asked[0][1]["pid"]))
    assert lease.receipt and lease.receipt.outcome is Outcome.failed


def test_a_release_is_repeated_if_its_connection_ends_and_202_and_204_are_well() -> None:
    answers: list[int | bytes] = [200, b"", 202, 200, 204]

    with FakeNode(lambda path: answers.pop(0)) as near:
        with FakePool(Lender()) as fake, connect(fake) as pool:
            for _ in range(2):
                with pool.lease(node_http=near.url):
                    pass
    assert [path for path, _ in near.asked] == [
        *("/allow", "/release", "/release"),
        *("/allow", "/release"),
    ]


@pytest.mark.parametrize("end", [Outcome.succeeded, None], ids=["ended", "running"])
def test_an_app_that_grants_nothing_is_not_external(end: Outcome | None) -> None:
    own = Lender(end, grant=Grant())
    with FakeNode() as near, FakePool(own) as fake, connect(fake) as pool:
        with pytest.raises(gpupool.BadRequest, match='emoji lends no slots.*"external"'):
            with pool.lease("emoji", node_http=near.url):
                pass
    assert near.asked == [] and own.cancels == (end is None)


def test_a_pool_that_is_lost_while_a_lease_waits_is_an_error() -> None:
    def answer(message: FromClient) -> Answers:
        if isinstance(message, ClientSubmit):
            return [JobEvent(job=7, request=message.request, state=JobState.queued)]
        return usual(message)

    with FakeNode() as near, FakePool(answer) as fake, connect(fake) as pool:

        def lose(event: gpupool.Event) -> None:
            gone = gpupool.NotConnected("gone for good")
            pool._engine._loop.take(lambda talk, now: talk.fail(gone))

        with pytest.raises(gpupool.NotConnected, match="gone for good"):
            with pool.lease(node_http=near.url, progress=lose):
                pass
    assert near.asked == []


def test_a_pool_that_is_lost_in_the_block_leaves_the_program_alive_and_the_slot_given_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gone = gpupool.NotConnected("gone for good")
    with FakeNode() as near, FakePool(Lender(None)) as fake, connect(fake) as pool:
        with caplog.at_level(logging.WARNING, "gpupool"):
            with pool.lease(node_http=near.url) as lease:
                pool._engine._loop.take(lambda talk, now: talk.fail(gone))
        assert near.asked[1] == ("/release", {"allowToken": "secret-token", "fail": "false"})
        assert lease.receipt is None and pool.is_gone
        assert "job 7 was given back, but no receipt came: not_connected: gone" in caplog.text
        with pytest.raises(gpupool.NotConnected, match="gone for good"):
            lease.job.wait()


def test_a_task_that_is_cancelled_while_its_guest_is_let_in_leaves_none() -> None:
    entered, leave = threading.Event(), threading.Event()

    def answer(path: str) -> int:
        entered.set()
        assert leave.wait(20)
        return 200

    async def main(pool_at: str, node_at: str) -> None:
        async with gpupool.AsyncPool(pool_at, connect_timeout_s=20) as pool:

            async def hold() -> None:
                async with pool.lease(node_http=node_at):
                    raise AssertionError("it was cancelled before")

            task = asyncio.create_task(hold())
            await asyncio.to_thread(entered.wait, 20)
            task.cancel()
            asyncio.get_running_loop().call_soon(leave.set)
            with pytest.raises(asyncio.CancelledError):
                await task

    own = Lender(None)
    with FakeNode(answer) as near, FakePool(own) as fake:
        asyncio.run(main(fake.endpoint, near.url))
        assert not alive(int(near.asked[0][1]["pid"]))
    assert own.cancels == 1 and VISIBLE not in os.environ


# ---- Its address ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says", "prefix"),
    [
        (f"http://127.0.0.1:7480{PREFIX}", "http://127.0.0.1:7480", PREFIX),
        (f" http://[::1]:7480{PREFIX}/ ", "http://[::1]:7480", PREFIX),
        ("http://node-1", "http://node-1:80", ""),
    ],
)
def test_an_address_is_a_host_a_port_and_a_prefix(text: str, says: str, prefix: str) -> None:
    found = node_of(text)
    assert (str(found), found.prefix) == (says, prefix)
    assert not prefix or prefix not in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "127.0.0.1:7480",
        "https://a/s",
        "http://",
        "http://a:x/",
        "http://a/?b",
        "tcp://a:1",
    ],
)
def test_what_is_no_address_says_what_to_set(
    text: str, monkeypatch: pytest.MonkeyPatch, daemonless: gpupool.Pool
) -> None:
    with pytest.raises(ValueError, match="GPUPOOL_NODE_HTTP, or node_http="):
        daemonless.lease(node_http=text)
    monkeypatch.setenv("GPUPOOL_NODE_HTTP", text)
    with pytest.raises(ValueError, match="GPUPOOL_NODE_HTTP, or node_http="):
        daemonless.lease()


@pytest.fixture
def daemonless() -> Iterator[gpupool.Pool]:
    with FakePool() as fake, connect(fake) as pool:
        yield pool


def test_what_makes_no_sense_is_said_before_anything_is_asked(daemonless: gpupool.Pool) -> None:
    wrong: list[Callable[[], object]] = [
        lambda: daemonless.lease(duration_s=0, node_http="http://a/"),
        lambda: daemonless.lease(duration_s=float("nan"), node_http="http://a/"),
    ]
    for ask in wrong:
        with pytest.raises(ValueError):
            ask()


def test_nothing_of_a_lease_is_left_running_when_its_program_ends() -> None:
    """Its input is the keeper's life, also if the program is killed."""
    program = """
import os, sys, gpupool
pool = gpupool.Pool(sys.argv[1], connect_timeout_s=20)
lease = pool.lease(node_http=sys.argv[2])
lease.__enter__()
os.kill(os.getpid(), 9)
"""
    with FakeNode() as near, FakePool(Lender(None)) as fake:
        words = [sys.executable, "-c", program, fake.endpoint, near.url]
        assert subprocess.run(words, timeout=30, check=False).returncode == -9
        pid = int(near.asked[0][1]["pid"])
        try:
            ended = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            assert select.select([ended], [], [], 20)[0]
        finally:
            os.close(ended)
