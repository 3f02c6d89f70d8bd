"""What is asked of a pool, as the methods of `Pool` and `AsyncPool` have it: the message, and
what is made of the answer. Pure but for the randomness of request ids and seeds."""

from __future__ import annotations

import numbers
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from gpupool import errors, limits
from gpupool.messages import Argument, Change, Happening, JobRequest, Receipt, Table, UsageDay
from gpupool.overview import Overview
from gpupool.questions import (
    ChangesAnswer,
    ClientChanges,
    ClientExplain,
    ClientJobs,
    ClientLogs,
    ClientOperate,
    ClientOverview,
    ClientQuota,
    ClientQuote,
    ClientReceipts,
    ClientUsage,
    ExplainAnswer,
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
from gpupool.values import Instant, instant_of, milliseconds_of, new_request_id

Answer = TypeVar("Answer")
Made = TypeVar("Made")

_rng = random.SystemRandom()
_PNG = b"\x89PNG\r\n\x1a\n"  # how one begins


@dataclass(frozen=True)
class Ask(Generic[Answer, Made]):
    """A question, the kind of its answer, and what the caller gets of it."""

    message: object
    kind: type[Answer]
    read: Callable[[Answer], Made]


def draw_request_id() -> uuid.UUID:
    return new_request_id(Instant(time.time_ns() // 1_000_000), _rng)


def draw_seed() -> int:
    return _rng.getrandbits(32)  # short enough to type again


def job_request(
    app: str,
    arguments: Mapping[str, object] | None,
    *,
    duration_s: float | None,
    size: str | None,
    max_wait_s: float | None,
    detached: bool,
) -> JobRequest:
    """ValueError for a time, TypeError for an argument that is none; the pool judges the rest."""
    given = arguments or {}
    return JobRequest(
        app=app,
        size=size or "",
        declared_ms=milliseconds_of("duration_s", duration_s),
        max_wait_ms=milliseconds_of("max_wait_s", max_wait_s),
        detached=detached,
        arguments=tuple(Argument(key, _text_of(key, value)) for key, value in given.items()),
    )


def _text_of(key: str, value: object) -> str:
    # numpy's numbers are Real too.
    if isinstance(value, bool) or not isinstance(value, (str, numbers.Real)):
        raise TypeError(f"the argument {key} is a text or a number, not {value!r}")
    return str(value)


def picture_arguments(
    prompt: str,
    seed: int,
    steps: int | None,
    guidance: float | None,
    pixels: int | None,
) -> dict[str, object]:
    wanted = {"steps": steps, "guidance": guidance, "pixels": pixels}
    given = {key: value for key, value in wanted.items() if value is not None}
    return {"prompt": prompt, "seed": seed, **given}


def quota() -> Ask[QuotaAnswer, QuotaAnswer]:
    return Ask(ClientQuota(), QuotaAnswer, lambda answer: answer)


def quote(
    app: str, duration_s: float | None, size: str | None, max_wait_s: float | None
) -> Ask[QuoteAnswer, QuoteAnswer]:
    body = job_request(
        app, None, duration_s=duration_s, size=size, max_wait_s=max_wait_s, detached=False
    )

    def read(answer: QuoteAnswer) -> QuoteAnswer:
        if answer.refusal.code:
            raise errors.refused(answer.refusal)
        return answer

    return Ask(ClientQuote(body=body), QuoteAnswer, read)


def receipts(limit: int, before: int) -> Ask[ReceiptsAnswer, list[Receipt]]:
    _within("limit", limit, limits.RECEIPTS_PAGE_MAX)
    message = ClientReceipts(before=before, limit=limit)
    return Ask(message, ReceiptsAnswer, lambda answer: list(answer.receipts))


def jobs() -> Ask[JobsAnswer, list[JobEvent]]:
    return Ask(ClientJobs(), JobsAnswer, lambda answer: list(answer.jobs))


def explain(what: int | uuid.UUID) -> Ask[ExplainAnswer, list[Happening]]:
    if isinstance(what, uuid.UUID):
        message = ClientExplain(request=what)
    else:
        message = ClientExplain(job=what)
    return Ask(message, ExplainAnswer, lambda answer: list(answer.story))


def changes(since: datetime | None, limit: int) -> Ask[ChangesAnswer, list[Change]]:
    _within("limit", limit, limits.CHANGES_PAGE_MAX)
    message = ClientChanges(since=instant_of(since) if since else Instant(0), limit=limit)
    return Ask(message, ChangesAnswer, lambda answer: list(answer.changes))


def usage(since: datetime | None, days: int) -> Ask[UsageAnswer, list[UsageDay]]:
    _within("days", days, limits.USAGE_DAYS_MAX)
    message = ClientUsage(since=instant_of(since) if since else Instant(0), limit=days)
    return Ask(message, UsageAnswer, lambda answer: list(answer.days))


def operate(words: Sequence[str]) -> Ask[OperateAnswer, Table]:
    message = ClientOperate(words=tuple(words))
    return Ask(message, OperateAnswer, lambda answer: answer.table)


def overview() -> Ask[OverviewAnswer, Overview]:
    return Ask(ClientOverview(), OverviewAnswer, lambda answer: answer.overview)


def logs(job: int, offset: int) -> Ask[LogChunk, LogChunk]:
    return Ask(ClientLogs(job=job, offset=offset), LogChunk, _good)


def preview(job: int) -> Ask[LogChunk, bytes | None]:
    def read(chunk: LogChunk) -> bytes | None:
        content = _good(chunk).content
        # A pool of before there were previews answers with the log.
        return content if content.startswith(_PNG) else None

    return Ask(ClientLogs(job=job, preview=True), LogChunk, read)


def _good(chunk: LogChunk) -> LogChunk:
    if chunk.error:
        raise errors.error_of(chunk.error)
    return chunk


def _within(what: str, number: int, most: int) -> None:
    if not 1 <= number <= most:
        raise ValueError(f"{what} is from 1 to {most}, not {number}")
