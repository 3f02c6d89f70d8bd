"""What each call asks of a pool, the same for both kinds; and what is no call at all."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from fractions import Fraction
from typing import Any

import pytest
from fake_pool import Answers, FakePool, usual

import gpupool
from gpupool.messages import Argument, JobRequest, Receipt
from gpupool.questions import (
    Bye,
    ChangesAnswer,
    ClientCancel,
    ClientChanges,
    ClientExplain,
    ClientJobs,
    ClientLogs,
    ClientOperate,
    ClientOverview,
    ClientQuota,
    ClientQuote,
    ClientReceipts,
    ClientSubmit,
    ClientUsage,
    ClientWatch,
    ExplainAnswer,
    FromClient,
    JobDone,
    JobEvent,
    JobsAnswer,
    LogChunk,
    OperateAnswer,
    OverviewAnswer,
    QuotaAnswer,
    QuoteAnswer,
    ReceiptsAnswer,
    UsageAnswer,
)
from gpupool.values import Instant

NOON = datetime(2023, 11, 14, 22, 13, 20, tzinfo=timezone.utc)
AT = Instant(1_700_000_000_000)
REQUEST = uuid.UUID("0190a6c1-2f3a-7b10-8c4d-5e6f70819293")
ANSWERS: dict[type, Any] = {
    ClientQuota: QuotaAnswer,
    ClientQuote: QuoteAnswer,
    ClientReceipts: ReceiptsAnswer,
    ClientJobs: JobsAnswer,
    ClientExplain: ExplainAnswer,
    ClientChanges: ChangesAnswer,
    ClientUsage: UsageAnswer,
    ClientOperate: OperateAnswer,
    ClientOverview: OverviewAnswer,
    ClientLogs: LogChunk,
}


class Listening:
    """Answers everything, and keeps what was asked, without the numbers of the questions."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.left = threading.Event()

    def __call__(self, message: FromClient) -> Answers:
        if isinstance(message, Bye):
            self.left.set()
        answer = ANSWERS.get(type(message))
        if answer or isinstance(message, (ClientSubmit, ClientWatch, ClientCancel)):
            self.asked.append(dataclasses.replace(message, query=0))
        if answer:
            return [answer(query=message.query)]  # type: ignore[union-attr]
        if isinstance(message, ClientSubmit):
            return [JobEvent(job=7, request=message.request)]
        if isinstance(message, ClientWatch):
            return [JobEvent(job=message.job)]
        if isinstance(message, ClientCancel):
            return [JobDone(receipt=Receipt(job=message.job))]
        return usual(message)


CALLS: list[tuple[Callable[[Any], Any], FromClient]] = [
    (lambda pool: pool.quota(), ClientQuota()),
    (lambda pool: pool.jobs(), ClientJobs()),
    (lambda pool: pool.receipts(7, before=40), ClientReceipts(before=40, limit=7)),
    (lambda pool: pool.receipts(), ClientReceipts(before=0, limit=20)),
    (lambda pool: pool.explain(7), ClientExplain(job=7)),
    (lambda pool: pool.explain(REQUEST), ClientExplain(request=REQUEST)),
    (lambda pool: pool.changes(NOON, limit=9), ClientChanges(since=AT, limit=9)),
    (lambda pool: pool.usage(NOON, days=3), ClientUsage(since=AT, limit=3)),
    (lambda pool: pool.operate("drain", "node-2"), ClientOperate(words=("drain", "node-2"))),
    (lambda pool: pool.overview(), ClientOverview()),
    (
        lambda pool: pool.quote("a", duration_s=1.5, size="xlarge", max_wait_s=9),
        ClientQuote(body=JobRequest("a", "xlarge", 1_500, 9_000)),
    ),
    (
        lambda pool: pool.submit(
            "a",
            {"text": "y", "whole": 7, "real": 2.5, "other": Fraction(3)},
            duration_s=1.5,
            size="xlarge",
            max_wait_s=9,
            detached=True,
            request=REQUEST,
        ),
        ClientSubmit(
            request=REQUEST,
            body=JobRequest(
                "a",
                "xlarge",
                1_500,
                9_000,
                True,
                (
                    Argument("text", "y"),
                    Argument("whole", "7"),
                    Argument("real", "2.5"),
                    Argument("other", "3"),
                ),
            ),
        ),
    ),
    (lambda pool: pool.watch(7), ClientWatch(job=7)),
]


@pytest.mark.parametrize(("call", "asked"), CALLS, ids=lambda one: type(one).__name__)
def test_a_call_asks_for_what_it_was_given(call: Callable[[Any], Any], asked: FromClient) -> None:
    listening = Listening()

    async def main(endpoint: str) -> None:
        async with gpupool.AsyncPool(endpoint, connect_timeout_s=20) as pool:
            await call(pool)

    with FakePool(listening) as fake:
        with gpupool.Pool(fake.endpoint, connect_timeout_s=20) as pool:
            call(pool)
        asyncio.run(main(fake.endpoint))
    assert listening.asked == [asked, asked]


def test_a_job_asks_for_its_log_and_its_picture_and_for_its_own_end() -> None:
    listening = Listening()

    async def main(endpoint: str) -> None:
        async with gpupool.AsyncPool(endpoint, connect_timeout_s=20) as pool:
            job = await pool.submit("a", request=REQUEST)
            await job.log(100)
            await job.preview()
            await job.cancel()

    with FakePool(listening) as fake:
        with gpupool.Pool(fake.endpoint, connect_timeout_s=20) as pool:
            job = pool.submit("a", request=REQUEST)
            job.log(100)
            job.preview()
            job.cancel()
        asyncio.run(main(fake.endpoint))
    once = [
        ClientSubmit(request=REQUEST, body=JobRequest("a")),
        ClientLogs(job=7, offset=100),
        ClientLogs(job=7, preview=True),
        ClientCancel(job=7),
    ]
    assert listening.asked == once * 2


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (b"\x89PNG\r\n\x1a\n and so on", b"\x89PNG\r\n\x1a\n and so on"),
        (b"", None),
        (b"step 3: 0.2 s\n", None),
    ],
    ids=["picture", "none yet", "log of an older pool"],
)
def test_a_preview_is_a_picture_or_none(content: bytes, seen: bytes | None) -> None:
    def answer(message: FromClient) -> Answers:
        if isinstance(message, ClientLogs):
            return [LogChunk(query=message.query, job=message.job, content=content)]
        return Listening()(message)

    async def main(endpoint: str) -> bytes | None:
        async with gpupool.AsyncPool(endpoint, connect_timeout_s=20) as pool:
            return await (await pool.watch(7)).preview()

    with FakePool(answer) as fake:
        with gpupool.Pool(fake.endpoint, connect_timeout_s=20) as pool:
            assert pool.watch(7).preview() == seen
        assert asyncio.run(main(fake.endpoint)) == seen


def test_a_log_that_is_gone_is_an_error() -> None:
    def answer(message: FromClient) -> Answers:
        if isinstance(message, ClientLogs):
            return [LogChunk(query=message.query, job=message.job, error=202)]
        return Listening()(message)

    with FakePool(answer) as fake, gpupool.Pool(fake.endpoint, connect_timeout_s=20) as pool:
        with pytest.raises(gpupool.ResultGone):
            pool.watch(7).log()
        with pytest.raises(gpupool.ResultGone):
            pool.watch(7).preview()


def test_a_pool_that_is_closed_says_goodbye() -> None:
    listening = Listening()
    with FakePool(listening) as fake:
        gpupool.Pool(fake.endpoint, connect_timeout_s=20).close()
        assert listening.left.wait(20)


@pytest.mark.parametrize(
    "call",
    [
        lambda pool: pool.receipts(0),
        lambda pool: pool.receipts(51),
        lambda pool: pool.changes(limit=201),
        lambda pool: pool.usage(days=401),
        lambda pool: pool.usage(datetime(2023, 1, 1)),
        lambda pool: pool.submit("a", duration_s=0),
        lambda pool: pool.submit("a", max_wait_s=-1),
        lambda pool: pool.watch(7).wait(0),
        lambda pool: pool.submit("a", {"x": None}),
        lambda pool: pool.run("a", progress="yes"),
        lambda pool: pool.watch(7).wait(progress="yes"),
    ],
    ids=range(11),
)
def test_what_makes_no_sense_is_told_before_anything_is_sent(
    call: Callable[[gpupool.Pool], Any],
) -> None:
    listening = Listening()
    with FakePool(listening) as fake:
        with gpupool.Pool(fake.endpoint, connect_timeout_s=20) as pool:
            with pytest.raises((ValueError, TypeError)):
                call(pool)
    assert [one for one in listening.asked if not isinstance(one, ClientWatch)] == []


@pytest.mark.parametrize(
    "call",
    [
        lambda pool: pool.submit("a", request=str(REQUEST)),
        lambda pool: pool.submit(b"a"),
        lambda pool: pool.submit("a", {7: "x"}),
        lambda pool: pool.submit("a", detached="yes"),
        lambda pool: pool.submit("a\ud800"),
        lambda pool: pool.explain(str(REQUEST)),
        lambda pool: pool.explain(None),
        lambda pool: pool.watch("7"),
        lambda pool: pool.watch(-1),
        lambda pool: pool.receipts(before=None),
        lambda pool: pool.operate(7),
        lambda pool: pool.watch(7).log("x"),
    ],
    ids=range(12),
)
def test_what_the_wire_has_no_room_for_is_an_error_and_the_pool_stays_usable(
    call: Callable[[Any], Any],
) -> None:
    with FakePool(Listening()) as fake:
        with gpupool.Pool(fake.endpoint, connect_timeout_s=20) as pool:
            job = pool.submit("a")
            with pytest.raises(gpupool.BadRequest):
                call(pool)
            assert pool.quota() and not job.is_done
