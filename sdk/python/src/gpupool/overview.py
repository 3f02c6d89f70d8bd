"""The pool as an operator sees it (`Pool.overview()`): nodes and queue at one moment, and what
broker and ledger count.

Field by field in the order of the wire, as `gpupool.messages`. Counters only grow, from the start
of the pool's process on: who wants a rate takes two of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from gpupool.messages import (
    I64,
    U32,
    U64,
    Account,
    ErrorNumber,
    Id,
    JobState,
    Milliseconds,
    SlotNumber,
    unknown_word,
)
from gpupool.values import Instant

# The upper bounds of a histogram's buckets, in microseconds; one more bucket takes what is beyond
# the last.
WAIT_BOUNDS_US: Final = (
    100_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
    3_600_000_000,
)
RUN_BOUNDS_US: Final = (
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
)
COMMIT_BOUNDS_US: Final = (
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
)


# ---- Nodes and queue -----------------------------------------------------------------------------


class NodeState(IntEnum):
    """How a node is."""

    none = 0
    healthy = 1
    draining = 2
    lost = 3
    suspected = 4  # not heard of for a while: what it runs goes on, and it gets no new leases

    @classmethod
    def _missing_(cls, value: object) -> NodeState | None:
        return unknown_word(cls, value)


class SlotState(IntEnum):
    """What a slot does."""

    none = 0
    free = 1
    starting = 2
    running = 3
    checking = 4
    down = 5
    held = 6  # for a run on another node, whose job has this slot too

    @classmethod
    def _missing_(cls, value: object) -> SlotState | None:
        return unknown_word(cls, value)


@dataclass(frozen=True, slots=True)
class SlotView:
    """A slot of a node, and the job on it."""

    slot: SlotNumber = 0
    device: U32 = 0  # an index into the node's devices
    state: SlotState = SlotState.none  # as its node said last
    warm_app: str = ""
    job: Id = 0  # 0: none
    account: Account = ""
    app: str = ""
    ends_by: Instant = Instant(0)  # the latest end of that job
    partition: str = ""
    reservation: str = ""  # that has it, now or soon; empty: none
    why: str = ""  # it takes no jobs; empty: it does
    since: Instant = Instant(0)  # the job has it


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node and its slots."""

    name: str = ""
    state: NodeState = NodeState.none
    build: str = ""
    seen: Instant = Instant(0)
    slots: tuple[SlotView, ...] = ()
    devices: tuple[str, ...] = ()  # what each is, by their numbers


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """An open job."""

    job: Id = 0
    account: Account = ""
    tier: str = ""
    app: str = ""
    size: str = ""
    state: JobState = JobState.none
    position: U32 = 0  # queued: 1 is likely the next; 0: not known
    declared_ms: Milliseconds = 0
    admitted_at: Instant = Instant(0)
    promise: Instant = Instant(0)
    likely_start: Instant = Instant(0)
    node: str = ""
    partition: str = ""  # or the reservation, in whose queue it stands


# ---- What is counted -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many measures fell into each bucket."""

    counts: tuple[U64, ...] = ()  # one more than there are bounds; empty: none was taken
    sum_us: I64 = 0  # microseconds


@dataclass(frozen=True, slots=True)
class SlotSpan:
    """A slot was a job's from `from_` to `to`."""

    node: str = ""
    slot: SlotNumber = 0
    job: Id = 0
    account: Account = ""
    app: str = ""
    from_: Instant = Instant(0)
    began: Instant = Instant(0)  # it ran from then on; 0: not at all
    to: Instant = Instant(0)  # 0: it still is


@dataclass(frozen=True, slots=True)
class PoolPulse:
    """What the broker counts, about once a second, and how much there is at this moment."""

    at: Instant = Instant(0)
    admitted: U64 = 0
    started: U64 = 0  # leases
    requeued: U64 = 0  # runs lost by the pool's fault
    missed: U64 = 0  # leases after what was promised
    succeeded: U64 = 0
    failed: U64 = 0
    expired: U64 = 0
    cancelled: U64 = 0
    charged_ms: Milliseconds = 0
    waits: Histogram = Histogram()  # from admission to the lease, by WAIT_BOUNDS_US
    runs: Histogram = Histogram()  # what is charged, before the factor, by RUN_BOUNDS_US
    queued: U64 = 0  # jobs at this moment
    starting: U64 = 0
    running: U64 = 0
    slots_free: U64 = 0
    slots_busy: U64 = 0
    slots_down: U64 = 0  # those of lost nodes among them
    healthy: U64 = 0  # nodes
    draining: U64 = 0
    suspected: U64 = 0
    lost: U64 = 0
    spans: tuple[SlotSpan, ...] = ()  # that ended since the last pulse
    left_out: U64 = 0  # and so many more did


@dataclass(frozen=True, slots=True)
class LedgerPulse:
    """What the ledger counts."""

    at: Instant = Instant(0)
    commits: U64 = 0
    records: U64 = 0
    commit_times: Histogram = Histogram()  # by COMMIT_BOUNDS_US
    sequence: U64 = 0  # of the last record


# ---- All of it -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CodeCount:
    """How often requests and callers were refused with this error."""

    code: ErrorNumber = 0
    count: U64 = 0


@dataclass(frozen=True, slots=True)
class PoolPeriod:
    """A minute, or a quarter of an hour: what happened in it."""

    at: Instant = Instant(0)  # its beginning
    busy_permille: U32 = 0  # of the slots that were up
    started: U64 = 0
    wait_mean_ms: Milliseconds = 0
    wait_p95_ms: Milliseconds = 0  # the bucket's upper bound
    wait_max_ms: Milliseconds = 0  # likewise
    refused: U64 = 0


@dataclass(frozen=True, slots=True)
class AuditSeen:
    """The last audit of the ledger that an operator asked for."""

    at: Instant = Instant(0)  # 0: there was none yet
    who: str = ""
    findings: tuple[str, ...] = ()
    sequence: U64 = 0
    open_holds: U64 = 0
    accounts: U64 = 0


@dataclass(frozen=True, slots=True)
class Overview:
    """The whole view, at most a second old."""

    at: Instant = Instant(0)
    started_at: Instant = Instant(0)
    nodes: tuple[NodeView, ...] = ()
    slots_left_out: U64 = 0  # of nodes that are not in the list
    queue: tuple[QueueEntry, ...] = ()  # the oldest open jobs
    waiting: U64 = 0  # queued jobs in all
    more_jobs: bool = False
    pulse: PoolPulse = PoolPulse()
    ledger: LedgerPulse = LedgerPulse()
    commits_per_minute: U32 = 0  # in the last one
    records_per_minute: U32 = 0
    refused: tuple[CodeCount, ...] = ()  # since the start
    refused_minute: tuple[CodeCount, ...] = ()  # the last one
    refused_hour: tuple[CodeCount, ...] = ()
    hour: tuple[PoolPeriod, ...] = ()  # minutes, the oldest first
    day: tuple[PoolPeriod, ...] = ()  # quarters of an hour, likewise
    spans_from: Instant = Instant(0)
    spans: tuple[SlotSpan, ...] = ()  # of the last 15 minutes, the oldest first
    spans_left_out: U64 = 0  # that were too many
    audit: AuditSeen = AuditSeen()
    announcement: str = ""
