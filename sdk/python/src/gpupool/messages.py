"""The messages of the client protocol (net/PROTOCOL.md), field by field in the order of the wire.

Durations and amounts of quota are integers of milliseconds and end in `_ms`; moments are
`Instant`s. What an older pool leaves out has its default here. `gpupool.wire` makes bytes of
them.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated, TypeVar

from gpupool.values import NO_REQUEST, Instant, seconds_text


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer on the wire: its bounds, and whether it stands in an array of its own."""

    least: int
    most: int
    boxed: bool = False


@dataclass(frozen=True, slots=True)
class BoxedText:
    """A text that stands in an array of its own."""


U32 = Annotated[int, Whole(0, 2**32 - 1)]
U64 = Annotated[int, Whole(0, 2**64 - 1)]
I32 = Annotated[int, Whole(-(2**31), 2**31 - 1)]
I64 = Annotated[int, Whole(-(2**63), 2**63 - 1)]
Id = Annotated[int, Whole(0, 2**64 - 1, boxed=True)]  # a job, node or session; 0: none
SlotNumber = Annotated[int, Whole(0, 2**32 - 1, boxed=True)]
Milliseconds = Annotated[int, Whole(-(2**63), 2**63 - 1, boxed=True)]
ErrorNumber = Annotated[int, Whole(0, 2**16 - 1)]  # gpupool.errors.name_of(); 0: none
Account = Annotated[str, BoxedText()]

Word = TypeVar("Word", bound=IntEnum)


def unknown_word(kind: type[Word], value: object) -> Word | None:
    """A number that a newer pool has a name for; it stays what it is."""
    if not isinstance(value, int) or not 0 <= value < 256:
        return None
    member = int.__new__(kind, value)
    member._name_ = f"unknown_{value}"
    member._value_ = value
    return member


class JobState(IntEnum):
    """Where a job is. It may go back to queued: the pool's own fault, uncharged."""

    none = 0
    queued = 1
    starting = 2
    running = 3
    ended = 4

    @classmethod
    def _missing_(cls, value: object) -> JobState | None:
        return unknown_word(cls, value)


class Outcome(IntEnum):
    """How a job ended."""

    none = 0
    succeeded = 1
    failed = 2
    expired = 3  # stopped at its declared end
    cancelled = 4

    @classmethod
    def _missing_(cls, value: object) -> Outcome | None:
        return unknown_word(cls, value)


class ChangeKind(IntEnum):
    """What was changed."""

    none = 0
    tier = 1
    app = 2
    account = 3
    node = 4
    token = 5
    announcement = 6
    window = 7
    size = 8
    rate = 9
    group = 10
    reservation = 11
    identity = 12

    @classmethod
    def _missing_(cls, value: object) -> ChangeKind | None:
        return unknown_word(cls, value)


class LogStream(IntEnum):
    """Which output of a command a part of its log was written to."""

    none = 0
    output = 1
    error = 2

    @classmethod
    def _missing_(cls, value: object) -> LogStream | None:
        return unknown_word(cls, value)


class CellKind(IntEnum):
    """What the cells of a column hold, each as text: durations and amounts in milliseconds."""

    none = 0
    text = 1
    count = 2
    duration = 3
    amount = 4
    instant = 5
    flag = 6

    @classmethod
    def _missing_(cls, value: object) -> CellKind | None:
        return unknown_word(cls, value)


# ---- Parts ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking, and how the pool knows."""

    account: Account = ""  # "user:ada", "address:192.0.2.7/32"
    tier: str = ""
    recognised_by: str = ""  # "token for ada, key k1"
    is_operator: bool = False
    expires: Instant = Instant.NEVER  # of the token
    token_id: str = ""

    def __str__(self) -> str:
        return f"{self.account} (tier {self.tier}), recognised by {self.recognised_by}"


@dataclass(frozen=True, slots=True)
class Argument:
    """One `key=value` of a request."""

    key: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What a client asks for; the body that a request id stands for."""

    app: str = ""
    size: str = ""  # empty: the app's
    declared_ms: Milliseconds = 0  # 0: the app's default
    max_wait_ms: Milliseconds = 0  # 0: any; else refused if a later start must be promised
    detached: bool = False  # goes on in the queue without its client
    arguments: tuple[Argument, ...] = ()


@dataclass(frozen=True, slots=True)
class BlobRef:
    """A request that lies beside the pool's records, being a large one."""

    hash: str = ""
    bytes: I64 = 0


@dataclass(frozen=True, slots=True)
class Fit:
    """The longest duration that would be admitted now at a size; 0: none."""

    size: str = ""
    factor: U32 = 1
    longest_ms: Milliseconds = 0
    offered: bool = True  # False: the pool has no such shape


@dataclass(frozen=True, slots=True)
class Advice:
    """What past runs say about the next one."""

    app: str = ""  # empty: nothing is known
    runs: U32 = 0
    own: bool = False  # the caller's runs; else everybody's
    longest_ms: Milliseconds = 0  # of these runs
    declare_ms: Milliseconds = 0  # enough for such a run; 0: no less than the default
    first_held_ms: Milliseconds = 0  # of an app with duration = "auto"
    fits: U64 = 0  # so many such jobs can be paid for now


@dataclass(frozen=True, slots=True)
class GroupCredits:
    """Credits that an account shares with the others of its group, while that is on."""

    account: Account = ""  # "group:workshop"; empty: it is in none now
    credits_ms: Milliseconds = 0  # what is held of them included
    held_ms: Milliseconds = 0
    until: Instant = Instant.NEVER


@dataclass(frozen=True, slots=True)
class Balance:
    """An account's quota at the moment `at`: left = max(0, allowance - used - held)."""

    account: Account = ""
    tier: str = ""
    allowance_ms: Milliseconds = 0
    used_ms: Milliseconds = 0
    held_ms: Milliseconds = 0
    left_ms: Milliseconds = 0
    longest_ms: Milliseconds = 0  # the tier's longest cost of one request
    window_opened: Instant = Instant(0)
    resets_at: Instant = Instant(0)  # 0: no window is open
    held_until: Instant = Instant(0)  # when the earliest hold is sure to be closed; 0: none
    open_jobs: U32 = 0
    jobs_max: U32 = 0
    fits: tuple[Fit, ...] = ()
    at: Instant = Instant(0)  # 0: nobody looked the account up, and its numbers are absent
    credits_ms: Milliseconds = 0  # beyond quota, what is held of them included
    credits_held_ms: Milliseconds = 0
    advice: Advice = Advice()
    group: GroupCredits = (
        GroupCredits()
    )  # the first of its groups that has any free, else the first

    def __str__(self) -> str:
        resets = f"; the window resets at {self.resets_at}" if self.resets_at else ""
        return (
            f"{seconds_text(self.left_ms)} left, {seconds_text(self.held_ms)} held and "
            f"{seconds_text(self.used_ms)} used of {seconds_text(self.allowance_ms)}{resets}"
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was not admitted, with every number behind it."""

    code: ErrorNumber = 0
    want: I64 = 0  # in gpupool.errors.unit_of(code)
    have: I64 = 0
    request: uuid.UUID = NO_REQUEST
    app: str = ""
    size: str = ""
    factor: U32 = 1
    declared_ms: Milliseconds = 0
    cost_ms: Milliseconds = 0
    recognised_by: str = ""
    balance: Balance = Balance()
    detail: str = ""
    sentence: str = ""
    hint: str = ""
    first_held_ms: Milliseconds = 0  # 0: all of declared


@dataclass(frozen=True, slots=True)
class ResultRef:
    """A stored result."""

    hash: str = ""  # SHA-256, lower-case hex; empty: no result
    bytes: I64 = 0
    media_type: str = ""
    node: Id = 0


@dataclass(frozen=True, slots=True)
class Receipt:
    """The account of one finished job; charged + given back = held, always."""

    job: Id = 0
    request: uuid.UUID = NO_REQUEST
    account: Account = ""
    tier: str = ""
    app: str = ""
    size: str = ""
    factor: U32 = 1
    declared_ms: Milliseconds = 0
    admitted_at: Instant = Instant(0)
    promise: Instant = Instant(0)  # the latest start that was promised last
    leased_at: Instant = Instant(0)  # of the last attempt; 0: never
    ended_at: Instant = Instant(0)
    ran_ms: Milliseconds = 0
    held_ms: Milliseconds = 0
    charged_ms: Milliseconds = 0
    given_back_ms: Milliseconds = 0
    left_ms: Milliseconds = 0  # of the quota, after this
    outcome: Outcome = Outcome.none
    cause: ErrorNumber = 0
    detail: str = ""
    attempts: U32 = 0
    node: str = ""
    result: ResultRef = ResultRef()
    log: ResultRef = ResultRef()  # what the run wrote, if anything
    held_credits_ms: Milliseconds = 0  # part of held
    charged_credits_ms: Milliseconds = 0  # part of charged
    exit_code: I32 = 0  # of a command that ended by itself
    signal: I32 = 0  # that ended a command; 0: none
    credits_from: Account = ""  # whose the credits were: a group's; empty: its own

    def __str__(self) -> str:
        """The numbers in one line for people."""
        return (
            f"job {self.job} {self.outcome.name}: declared {seconds_text(self.declared_ms)}, "
            f"ran {seconds_text(self.ran_ms)} x {self.factor}, held {seconds_text(self.held_ms)}, "
            f"charged {seconds_text(self.charged_ms)}, "
            f"{seconds_text(self.given_back_ms)} given back"
        )

    @property
    def waited_ms(self) -> int | None:
        """From admission to the last lease, in milliseconds; None if it was never leased."""
        return self.leased_at - self.admitted_at if self.leased_at else None


@dataclass(frozen=True, slots=True)
class Grant:
    """Where the process of an external app's caller may compute, and what it shows there."""

    slot: SlotNumber = 0
    device: str = ""  # for CUDA_VISIBLE_DEVICES
    token: str = field(default="", repr=False)
    idle: bool = False  # a process of the same task is still there


@dataclass(frozen=True, slots=True)
class Hold:
    """What is set aside for an admitted job."""

    job: Id = 0
    request: uuid.UUID = NO_REQUEST
    body_hash: U64 = 0
    account: Account = ""
    tier: str = ""
    body: JobRequest = JobRequest()  # without its arguments if they lie in a blob
    partition: str = ""
    slots: U32 = 1
    factor: U32 = 1
    declared_ms: Milliseconds = 0
    occupancy_ms: Milliseconds = 0
    tier_rank: U32 = 0
    quota_band: U32 = 0
    promise: Instant = Instant(0)
    quota_part_ms: Milliseconds = 0
    credits_part_ms: Milliseconds = 0
    window_opened: Instant = Instant(0)
    admitted_at: Instant = Instant(0)
    recognised_by: str = ""
    window_ends: Instant = Instant(0)
    learned_ms: Milliseconds = 0  # what was held at first; 0: all of declared
    blob: BlobRef = BlobRef()
    files: str = ""  # SHA-256 of the upload that it works on; empty: none
    credits_from: Account = ""  # who pays the credits part: a group; empty: the account itself


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that was changed by somebody."""

    at: Instant = Instant(0)
    who: str = ""
    kind: ChangeKind = ChangeKind.none
    subject: str = ""
    field: str = ""
    before: str = ""  # empty: it is new
    after: str = ""  # empty: it is gone
    why: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """Of a table."""

    name: str = ""
    kind: CellKind = CellKind.text


@dataclass(frozen=True, slots=True)
class Table:
    """An operator's answer; every cell is a text in the form that its column's kind says."""

    title: str = ""
    columns: tuple[Column, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    note: str = ""
    more: str = ""  # what to give as --after for the rows that follow


@dataclass(frozen=True, slots=True)
class LogPart:
    """So many bytes of a log, and which output they were written to."""

    stream: LogStream = LogStream.output
    bytes: I64 = 0


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of a job's story."""

    at: Instant = Instant(0)
    text: str = ""

    def __str__(self) -> str:
        return f"{self.at} {self.text}"


@dataclass(frozen=True, slots=True)
class UsageDay:
    """What the jobs that ended on one day (UTC) came to."""

    day: Instant = Instant(0)  # its midnight
    jobs: U64 = 0
    succeeded: U64 = 0
    ran_ms: Milliseconds = 0
    held_ms: Milliseconds = 0
    charged_ms: Milliseconds = 0
