"""A slot of an app with executor = "external", lent to processes of the caller (docs/zerogpu.md).

A lease is a job that the pool only counts and ends: it is submitted, granted a slot, begins when a
process of the caller (its guest) is let in by the node, and ends when it is given back. Always: a
lease that was left is given back or cancelled, and its guest is gone. One thread uses one lease.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from gpupool import errors, requests
from gpupool.engine import Engine, steady_ms
from gpupool.job import Job, JobView, add_note, submit
from gpupool.keeper import Keeper
from gpupool.messages import Balance, Grant, JobRequest, JobState, Receipt
from gpupool.node import Node, node_of
from gpupool.progress import Progress, Showing, ensure_shows
from gpupool.questions import JobDone, JobEvent
from gpupool.settings import app_of
from gpupool.track import Event, outcome_of
from gpupool.values import Instant

TASK = "task"  # the argument that names one to external apps (actors/messages/visitor.h)

_log = logging.getLogger("gpupool")


class Guest(Protocol):
    """What the node let in."""

    def leave(self) -> None:
        """Just before the release: its end is no surprise from here on."""

    def end(self) -> None:
        """After it."""


T = TypeVar("T", bound=Guest)
Own = TypeVar("Own", bound="Lending[Any]")


@dataclass(frozen=True)
class Wish:
    """What is asked for, and where its guest will be."""

    body: JobRequest
    node: Node
    progress: Progress = False


def wish_of(
    app: str | None,
    *,
    duration_s: float | None,
    size: str | None,
    max_wait_s: float | None = None,
    node_http: str | None,
    progress: Progress = False,
) -> Wish:
    """ValueError, which says what to set or what makes no sense."""
    ensure_shows(progress)
    body = requests.job_request(
        app_of(app),
        # A task of its own: the process of no other lease may stay for it, nor this one's for them.
        {TASK: uuid.uuid4().hex},
        duration_s=duration_s,
        size=size,
        max_wait_s=max_wait_s,
        detached=False,
    )
    return Wish(body, node_of(node_http), progress)


def is_granted(event: Event, app: str) -> bool:
    """BadRequest for a job that runs without a grant: its app is no external one."""
    if not isinstance(event, JobEvent):
        return False
    if not event.grant.token and event.state is JobState.running:
        raise _not_external(app)
    return bool(event.grant.token)


def error_of_end(end: JobDone | errors.PoolError) -> errors.PoolError | None:
    """None: it succeeded."""
    if isinstance(end, errors.PoolError):
        return end
    try:
        outcome_of(end)
    except errors.PoolError as error:
        return error
    return None


def ended_ungranted(done: JobDone, app: str) -> errors.PoolError:
    return error_of_end(done) or _not_external(app)


def ended_alone(end: JobDone | errors.PoolError) -> errors.PoolError:
    """Of a lease whose guest is gone."""
    why = error_of_end(end)
    return why or errors.OutcomeUnknown("the process on the slot ended, and not the lease")


def explained(refused: errors.BadRequest, app: str) -> errors.PoolError:
    """Other apps know no tasks, and say so."""
    return _not_external(app) if f'"{TASK}"' in refused.detail else refused


def _not_begun() -> RuntimeError:
    return RuntimeError("a lease begins with its `with` block")


def _not_external(app: str) -> errors.PoolError:
    return errors.BadRequest(
        f'the app {app} lends no slots to its callers: that needs executor = "external"'
    )


class LeaseView(Generic[T]):
    """What a lease says of itself, and the steps that `Lending` and `AsyncLending` share."""

    def __init__(self, engine: Engine, wish: Wish) -> None:
        self._engine = engine
        self._wish = wish
        self._pid = os.getpid()
        self._begun: JobEvent | None = None
        self._declared_ms = 0
        self._ends_at = 0  # of the steady clock
        self._deadline = Instant(0)
        self._guest: T | None = None
        self._answer = 0  # of the node to the release
        self._trouble: errors.PoolError | None = None  # of the release
        self._done: JobDone | None = None

    def _ensure_begun(self) -> JobEvent:
        if self._begun is None:
            raise _not_begun()
        return self._begun

    @property
    def guest(self) -> T:
        """For those who let it in."""
        if self._guest is None:
            raise _not_begun()
        return self._guest

    @property
    def slot(self) -> int:
        """The number of the slot on its node; of several the first."""
        return self._ensure_begun().grant.slot

    @property
    def device(self) -> str:
        """For CUDA_VISIBLE_DEVICES, which has it while the lease lasts; several with commas."""
        return self._ensure_begun().grant.device

    @property
    def node(self) -> str:
        """The name of the node."""
        return self._ensure_begun().node

    @property
    def declared_ms(self) -> int:
        """How long it may last, in milliseconds."""
        self._ensure_begun()
        return self._declared_ms

    @property
    def deadline(self) -> Instant:
        """When the pool takes it back, by the clock of this machine."""
        self._ensure_begun()
        return self._deadline

    def remaining_s(self) -> float:
        """Seconds until the deadline; 0 after it."""
        self._ensure_begun()
        return max(0, self._ends_at - steady_ms()) / 1000

    @property
    def receipt(self) -> Receipt | None:
        """After the block: what was charged and given back, and what is left. None: not yet, or
        the pool could not be reached; `job.receipt()` waits for it."""
        return self._done.receipt if self._done else None

    @property
    def balance(self) -> Balance | None:
        """After the block: the account's quota after it."""
        return self._done.balance if self._done else None

    def _prepare(self, event: JobEvent, job: JobView) -> Grant:
        self._declared_ms = job.hold.declared_ms if job.hold else 0
        # Counted from before the process is let in: never later than the node's own deadline.
        self._ends_at = steady_ms() + self._declared_ms
        self._deadline = Instant(time.time_ns() // 1_000_000 + self._declared_ms)
        self._begun = event
        return event.grant

    def _give_back(self, error: BaseException | None) -> None:
        """Blocks for a bounded time. Leaving a generator early is no failure, nor is sys.exit(0)."""
        is_exit = isinstance(error, SystemExit) and error.code in (None, 0)
        failed = error is not None and not is_exit and not isinstance(error, GeneratorExit)
        try:
            self.guest.leave()
            self._answer = self._wish.node.release(self._ensure_begun().grant.token, failed=failed)
        except errors.PoolError as trouble:
            self._trouble = trouble  # the node sees the guest's end, and ends the lease with it
        finally:
            self.guest.end()

    @property
    def _answer_s(self) -> float:
        return self._engine.times.answer_ms / 1000

    def _conclude(self, error: BaseException | None, end: JobDone | errors.PoolError) -> None:
        """What the end of the block says: the error of the block first, then what went wrong."""
        self._done = end if isinstance(end, JobDone) else None
        wrong = self._trouble if error is None else error
        has_it = isinstance(wrong, errors.JobFailed)
        if wrong is not None and self._done and not has_it:
            add_note(wrong, str(self._done.receipt))
        if error is not None:
            return
        if self._trouble is not None:
            raise self._trouble
        if isinstance(end, JobDone):
            outcome_of(end)
        elif self._answer == 404:
            raise end  # it ended before, and nobody can say how
        else:
            _log.warning(
                "job %d was given back, but no receipt came: %s", self._ensure_begun().job, end
            )


class Lending(LeaseView[T]):
    """For programs that wait."""

    def __init__(self, engine: Engine, wish: Wish, let_in: Callable[[Node, Grant, int], T]) -> None:
        super().__init__(engine, wish)
        self._let_in = let_in
        self._job: Job | None = None

    @property
    def job(self) -> Job:
        """The job that the pool counts it as."""
        if self._job is None:
            raise _not_begun()
        return self._job

    def __enter__(self: Own) -> Own:
        """Waits for the slot. Refused and its kinds; JobCancelled, JobFailed; Forbidden,
        NotConnected, TimedOut of the node: then it was cancelled, uncharged."""
        if self._job is not None:
            raise RuntimeError("a lease is used once; ask for another one")
        try:
            job = self._job = submit(self._engine, self._wish.body, None)
        except errors.BadRequest as refused:
            raise explained(refused, self._wish.body.app) from None
        try:
            event = self._wait_for_grant(job)
            grant = self._prepare(event, job)
            self._guest = self._let_in(self._wish.node, grant, event.job)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) or not job.is_done:
                job.cancel_for(error)
            raise
        return self

    def _wait_for_grant(self, job: Job) -> JobEvent:
        showing = Showing(self._wish.progress)
        try:
            for event in job.events():
                if showing.show:
                    showing.show(event)
                if is_granted(event, self._wish.body.app):
                    assert isinstance(event, JobEvent)
                    return event
        finally:
            showing.close()
        raise ended_ungranted(job.wait(), self._wish.body.app)

    def ended(self) -> errors.PoolError:
        """Why its guest is gone: the error of the job's end, or that nothing is known of it."""
        return ended_alone(self._end())

    def _end(self) -> JobDone | errors.PoolError:
        try:
            return self.job.wait(self._answer_s)
        except errors.PoolError as lost:
            return lost

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Gives the slot back: what was used is charged. JobExpired, JobCancelled or JobFailed, if
        the pool took it back before; NotConnected or TimedOut of the node."""
        if os.getpid() != self._pid:
            return  # a child that was forked in the block has no lease
        self._give_back(error)
        self._conclude(error, self._end())


class Lease(Lending[Keeper]):
    """A slot that is lent to this process: `with pool.lease("demo") as lease:`.

    A process that is still in the block at the deadline is ended there (SIGKILL), as it is when an
    operator cancels the job. `gpupool.gpu` runs a function in a process of its own instead, which
    leaves the caller alive.
    """

    def __init__(self, engine: Engine, wish: Wish) -> None:
        """For the pool, which makes them."""
        super().__init__(engine, wish, Keeper)

    def __repr__(self) -> str:
        begun = self._begun
        where = f"slot {begun.grant.slot} of {begun.node}" if begun else "not begun"
        return f"<gpupool.{type(self).__name__} {where}>"
