"""gpupool: a client of a pool that lends GPUs by the second (docs/python.md).

    import gpupool

    with gpupool.Pool() as pool:
        picture = pool.generate("a red heart")
        picture.save("heart.png")
        print(picture.receipt.charged_ms, "ms charged,", picture.balance.left_ms, "ms left")

Amounts and durations that the pool gives are integers of milliseconds and end in `_ms`;
durations that it is given are seconds and end in `_s`; moments are `Instant`s, milliseconds
since 1970 UTC.
"""

from gpupool.aio import AsyncPool
from gpupool.aio_job import AsyncJob
from gpupool.aio_lease import AsyncLease
from gpupool.errors import (
    BadRequest,
    FileMalformed,
    FileUnreadable,
    Forbidden,
    FrameTooLarge,
    HistoryUnavailable,
    IdExpired,
    IdReused,
    IllegalDuration,
    JobCancelled,
    JobExpired,
    JobFailed,
    JobUnknown,
    LedgerUnavailable,
    MalformedFrame,
    NotConnected,
    OutcomeUnknown,
    Overloaded,
    PoolError,
    PoolUnavailable,
    PromiseTooLate,
    QuotaExceeded,
    RateLimited,
    Refused,
    ResultGone,
    SizeUnavailable,
    TimedOut,
    TooManyJobs,
    Unauthenticated,
    UnknownApp,
    UnknownMessage,
    VersionMismatch,
)
from gpupool.functions import gpu
from gpupool.job import Job
from gpupool.lease import Lease
from gpupool.messages import (
    Advice,
    Balance,
    Caller,
    CellKind,
    Change,
    ChangeKind,
    Column,
    Fit,
    Grant,
    GroupCredits,
    Happening,
    Hold,
    JobState,
    LogPart,
    LogStream,
    Outcome,
    Receipt,
    Refusal,
    ResultRef,
    Table,
    UsageDay,
)
from gpupool.pending import LinkLost, LinkRestored
from gpupool.pool import Pool
from gpupool.progress import Bar
from gpupool.questions import (
    JobDone,
    JobEvent,
    LogChunk,
    QuotaAnswer,
    QuoteAnswer,
    SessionWelcome,
)
from gpupool.requests import draw_request_id as new_request_id
from gpupool.results import Finished, Picture
from gpupool.track import Event
from gpupool.values import Instant

__all__ = [
    "Advice",
    "AsyncJob",
    "AsyncLease",
    "AsyncPool",
    "BadRequest",
    "Balance",
    "Bar",
    "Caller",
    "CellKind",
    "Change",
    "ChangeKind",
    "Column",
    "Event",
    "FileMalformed",
    "FileUnreadable",
    "Finished",
    "Fit",
    "Forbidden",
    "FrameTooLarge",
    "Grant",
    "GroupCredits",
    "Happening",
    "HistoryUnavailable",
    "Hold",
    "IdExpired",
    "IdReused",
    "IllegalDuration",
    "Instant",
    "Job",
    "JobCancelled",
    "JobDone",
    "JobEvent",
    "JobExpired",
    "JobFailed",
    "JobState",
    "JobUnknown",
    "Lease",
    "LedgerUnavailable",
    "LinkLost",
    "LinkRestored",
    "LogChunk",
    "LogPart",
    "LogStream",
    "MalformedFrame",
    "NotConnected",
    "Outcome",
    "OutcomeUnknown",
    "Overloaded",
    "Picture",
    "Pool",
    "PoolError",
    "PoolUnavailable",
    "PromiseTooLate",
    "QuotaAnswer",
    "QuotaExceeded",
    "QuoteAnswer",
    "RateLimited",
    "Receipt",
    "Refusal",
    "Refused",
    "ResultGone",
    "ResultRef",
    "SessionWelcome",
    "SizeUnavailable",
    "Table",
    "TimedOut",
    "TooManyJobs",
    "Unauthenticated",
    "UnknownApp",
    "UnknownMessage",
    "UsageDay",
    "VersionMismatch",
    "gpu",
    "new_request_id",
]
