"""What goes between a client and its pool: a type number of the wire and its fields, in order.

Every question has a `query`, the client's own number for the answer to name.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TypeAlias

from gpupool.messages import (
    U32,
    U64,
    Balance,
    Caller,
    Change,
    ErrorNumber,
    Grant,
    Happening,
    Hold,
    I64,
    Id,
    JobRequest,
    JobState,
    LogPart,
    Milliseconds,
    Receipt,
    Refusal,
    Table,
    UsageDay,
)
from gpupool.overview import Overview
from gpupool.values import NO_REQUEST, Instant, seconds_text

PROTOCOL_VERSION = 1
MAGIC = "gpupool"

# ---- From the client -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of a connection. The token is a secret, and no part of its text form."""

    magic: str = MAGIC
    version: U32 = PROTOCOL_VERSION
    token: str = field(default="", repr=False)
    program: str = ""


@dataclass(frozen=True, slots=True)
class Bye:
    unused: U32 = 0


@dataclass(frozen=True, slots=True)
class ClientPing:
    query: U64 = 0


@dataclass(frozen=True, slots=True)
class ClientSubmit:
    query: U64 = 0
    request: uuid.UUID = NO_REQUEST
    body: JobRequest = JobRequest()


@dataclass(frozen=True, slots=True)
class ClientCancel:
    query: U64 = 0
    job: Id = 0


@dataclass(frozen=True, slots=True)
class ClientWatch:
    query: U64 = 0
    job: Id = 0


@dataclass(frozen=True, slots=True)
class ClientQuota:
    query: U64 = 0


@dataclass(frozen=True, slots=True)
class ClientReceipts:
    query: U64 = 0
    before: Id = 0  # 0: the newest
    limit: U32 = 20


@dataclass(frozen=True, slots=True)
class ClientJobs:
    query: U64 = 0


@dataclass(frozen=True, slots=True)
class ClientExplain:
    query: U64 = 0
    job: Id = 0
    request: uuid.UUID = NO_REQUEST


@dataclass(frozen=True, slots=True)
class ClientFetch:
    query: U64 = 0
    job: Id = 0
    offset: I64 = 0


@dataclass(frozen=True, slots=True)
class ClientLogs:
    query: U64 = 0
    job: Id = 0
    offset: I64 = 0
    preview: bool = False  # instead of the log the picture as it forms


@dataclass(frozen=True, slots=True)
class ClientChanges:
    query: U64 = 0
    since: Instant = Instant(0)
    limit: U32 = 50


@dataclass(frozen=True, slots=True)
class ClientOperate:
    query: U64 = 0
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClientUsage:
    query: U64 = 0
    since: Instant = Instant(0)
    limit: U32 = 31


@dataclass(frozen=True, slots=True)
class ClientQuote:
    query: U64 = 0
    body: JobRequest = JobRequest()


@dataclass(frozen=True, slots=True)
class ClientUpload:
    """A piece of the files that a job is to work on."""

    query: U64 = 0
    hash: str = ""  # SHA-256 of the whole archive
    total: I64 = 0
    offset: I64 = 0
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class ClientOverview:
    query: U64 = 0


# ---- From the pool -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionWelcome:
    """Who the caller is to the pool, and what the pool is."""

    caller: Caller = Caller()
    pool: str = ""
    build: str = ""
    heartbeat_ms: Milliseconds = 0
    announcement: str = ""  # the operator's word to everybody; empty: none


@dataclass(frozen=True, slots=True)
class SessionError:
    query: U64 = 0  # 0: of no question
    code: ErrorNumber = 0
    want: I64 = 0
    have: I64 = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SessionPong:
    query: U64 = 0


@dataclass(frozen=True, slots=True)
class SessionRefused:
    query: U64 = 0
    refusal: Refusal = Refusal()


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Where a job is now."""

    job: Id = 0
    request: uuid.UUID = NO_REQUEST
    state: JobState = JobState.none
    attempt: U32 = 0
    position: U32 = 0  # queued: 1 is next
    likely_start: Instant = Instant(0)  # queued: an estimate; NEVER: not foreseen
    promise: Instant = Instant(0)  # the latest start
    step: U32 = 0  # running: step of of_steps
    of_steps: U32 = 0
    node: str = ""
    notice: str = ""  # why it is queued again, or a promise was restated
    hold: Hold = Hold()  # in the first event of a job that a client gets
    at: Instant = Instant(0)
    likely_latest: Instant = Instant(0)  # queued: if all take as long as such jobs may
    held_until: Instant = Instant(0)  # running with duration = "auto": its end, unless extended
    grant: Grant = Grant()  # of an external app, on its slots; until then its token is empty

    def __str__(self) -> str:
        """One line for people: `"job 3 running: step 11 of 30 on node-1"`."""
        text = f"job {self.job} {self.state.name}"
        if self.state is JobState.queued:
            text += f": position {self.position}" if self.position else ": waiting"
            if self.promise:
                text += f", promised by {self.promise}"
        elif self.state is JobState.starting:
            text += ": loading"
        elif self.state is JobState.running:
            step = f"step {self.step} of {self.of_steps}" if self.of_steps else "under way"
            text += f": {step}"
        if self.node:
            text += f" on {self.node}"
        return f"{text}; {self.notice}" if self.notice else text


@dataclass(frozen=True, slots=True)
class JobDone:
    """The end of a job: its receipt, and the account's balance after it."""

    receipt: Receipt = Receipt()
    balance: Balance = Balance()


@dataclass(frozen=True, slots=True)
class QuotaAnswer:
    query: U64 = 0
    caller: Caller = Caller()
    balance: Balance = Balance()

    def __str__(self) -> str:
        return f"{self.caller}: {self.balance}"


@dataclass(frozen=True, slots=True)
class ReceiptsAnswer:
    query: U64 = 0
    receipts: tuple[Receipt, ...] = ()
    more: bool = False


@dataclass(frozen=True, slots=True)
class JobsAnswer:
    query: U64 = 0
    jobs: tuple[JobEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class ExplainAnswer:
    query: U64 = 0
    story: tuple[Happening, ...] = ()


@dataclass(frozen=True, slots=True)
class ResultChunk:
    query: U64 = 0
    session: Id = 0
    job: Id = 0
    offset: I64 = 0
    total: I64 = 0
    content: bytes = b""
    error: ErrorNumber = 0


@dataclass(frozen=True, slots=True)
class LogChunk:
    """What a run wrote, from `offset` on; of a running job what there is so far. Of a preview a PNG
    in one piece, or nothing."""

    query: U64 = 0
    session: Id = 0
    job: Id = 0
    offset: I64 = 0
    total: I64 = 0
    content: bytes = b""
    finished: bool = False  # nothing will follow `total`
    error: ErrorNumber = 0
    parts: tuple[LogPart, ...] = ()  # of the content, in order; empty: not told apart


@dataclass(frozen=True, slots=True)
class ChangesAnswer:
    query: U64 = 0
    changes: tuple[Change, ...] = ()
    more: bool = False
    known_since: Instant = Instant(0)


@dataclass(frozen=True, slots=True)
class OperateAnswer:
    query: U64 = 0
    table: Table = Table()


@dataclass(frozen=True, slots=True)
class SessionNotice:
    text: str = ""


@dataclass(frozen=True, slots=True)
class UsageAnswer:
    query: U64 = 0
    days: tuple[UsageDay, ...] = ()
    more: bool = False


@dataclass(frozen=True, slots=True)
class QuoteAnswer:
    """What a request would cost and leave, and when it would start."""

    query: U64 = 0
    caller: Caller = Caller()
    app: str = ""
    size: str = ""
    factor: U32 = 1
    declared_ms: Milliseconds = 0
    cost_ms: Milliseconds = 0  # of all that is declared
    first_held_ms: Milliseconds = 0
    held_credits_ms: Milliseconds = 0  # of what is held first
    left_ms: Milliseconds = 0  # of the quota, after that
    likely_start: Instant = Instant(0)
    likely_latest: Instant = Instant(0)
    promise: Instant = Instant(0)
    ahead: U64 = 0  # jobs that wait already
    balance: Balance = Balance()  # now
    refusal: Refusal = Refusal()  # its code is 0 if the request would be admitted

    def __str__(self) -> str:
        return (
            f"{self.app} at size {self.size}: declared {seconds_text(self.declared_ms)}, costs at "
            f"most {seconds_text(self.cost_ms)}, {seconds_text(self.left_ms)} left then; "
            f"starts likely at {self.likely_start}, promised by {self.promise}"
        )


@dataclass(frozen=True, slots=True)
class UploadAnswer:
    query: U64 = 0
    hash: str = ""
    stored: I64 = 0  # so many bytes from the beginning are durable


@dataclass(frozen=True, slots=True)
class OverviewAnswer:
    query: U64 = 0
    overview: Overview = Overview()


FromClient: TypeAlias = (
    Hello
    | Bye
    | ClientPing
    | ClientSubmit
    | ClientCancel
    | ClientWatch
    | ClientQuota
    | ClientReceipts
    | ClientJobs
    | ClientExplain
    | ClientFetch
    | ClientLogs
    | ClientChanges
    | ClientOperate
    | ClientUsage
    | ClientQuote
    | ClientUpload
    | ClientOverview
)
FromPool: TypeAlias = (
    SessionWelcome
    | SessionError
    | SessionPong
    | SessionRefused
    | JobEvent
    | JobDone
    | QuotaAnswer
    | ReceiptsAnswer
    | JobsAnswer
    | ExplainAnswer
    | ResultChunk
    | LogChunk
    | ChangesAnswer
    | OperateAnswer
    | SessionNotice
    | UsageAnswer
    | QuoteAnswer
    | UploadAnswer
    | OverviewAnswer
)

# A number is never used again for something else. Client to pool: 1 to 63, pool to client: 64 to
# 127.
TYPES: dict[int, type[FromClient] | type[FromPool]] = {
    1: Hello,
    2: Bye,
    3: ClientPing,
    10: ClientSubmit,
    11: ClientCancel,
    12: ClientWatch,
    13: ClientQuota,
    14: ClientReceipts,
    15: ClientJobs,
    16: ClientExplain,
    17: ClientFetch,
    18: ClientLogs,
    19: ClientChanges,
    20: ClientOperate,
    21: ClientUsage,
    22: ClientQuote,
    23: ClientUpload,
    24: ClientOverview,
    64: SessionWelcome,
    65: SessionError,
    66: SessionPong,
    70: SessionRefused,
    71: JobEvent,
    72: JobDone,
    73: QuotaAnswer,
    74: ReceiptsAnswer,
    75: JobsAnswer,
    76: ExplainAnswer,
    77: ResultChunk,
    78: LogChunk,
    79: ChangesAnswer,
    80: OperateAnswer,
    81: SessionNotice,
    82: UsageAnswer,
    83: QuoteAnswer,
    84: UploadAnswer,
    85: OverviewAnswer,
}
