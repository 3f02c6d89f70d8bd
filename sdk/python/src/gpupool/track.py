"""What is known of one job: its news so far, and its end. The engine's thread writes, any reads."""

from __future__ import annotations

import threading
import uuid
from collections import deque
from concurrent.futures import Future
from typing import Callable, TypeAlias

from gpupool import errors
from gpupool.engine import new_future
from gpupool.messages import Hold, JobState
from gpupool.pending import FollowFailed, LinkLost, LinkRestored, News
from gpupool.questions import JobDone, JobEvent

EVENTS_KEPT = 1_000  # older progress is dropped; the end never is

# What Job.events() gives: where the job is, and whether the pool can be reached.
Event: TypeAlias = JobEvent | LinkLost | LinkRestored


class Track:
    def __init__(self, request: uuid.UUID, job: int) -> None:
        self.request = request
        self.job = job  # 0: the pool has not told it yet
        self.latest: JobEvent | None = None
        self.first: JobEvent | None = None  # has the hold
        self.taken: Future[None] = new_future()  # the pool has it; Refused, NotConnected, ...
        self.done: Future[JobDone] = new_future()
        self._changed = threading.Condition()
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._dropped = 0  # before the first of them
        self._is_over = False
        self._listeners: list[Callable[[], None]] = []

    def tell(self, news: News) -> None:
        """In the engine's thread; its JobDone or FollowFailed is the last one."""
        with self._changed:
            if isinstance(news, (JobDone, FollowFailed)):
                self._is_over = True
            else:
                self._dropped += len(self._events) == EVENTS_KEPT
                self._events.append(news)
            if isinstance(news, JobEvent):
                self.job, self.request, self.latest = news.job, news.request, news
                self.first = self.first or news
            if isinstance(news, JobDone):
                self.job, self.request = news.receipt.job, news.receipt.request
            self._changed.notify_all()
            listeners = list(self._listeners)
        self._settle(news)
        for listener in listeners:
            listener()

    def _settle(self, news: News) -> None:
        if isinstance(news, FollowFailed):
            if not self.taken.done():
                self.taken.set_exception(news.error)
            if not self.done.done():
                self.done.set_exception(news.error)
        elif isinstance(news, (JobEvent, JobDone)) and not self.taken.done():
            self.taken.set_result(None)
        if isinstance(news, JobDone):
            self.done.set_result(news)

    def since(self, place: int) -> tuple[list[Event], int, bool]:
        """The events from that place on (0: the oldest that is kept), the place after them, and
        whether nothing will follow."""
        with self._changed:
            return self._since(place)

    def wait_since(
        self, place: int, timeout_s: float | None = None
    ) -> tuple[list[Event], int, bool]:
        """The same, once there is something to tell, or after the time."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or self._end() > place, timeout_s)
            return self._since(place)

    def _end(self) -> int:
        return self._dropped + len(self._events)

    def _since(self, place: int) -> tuple[list[Event], int, bool]:
        skipped = max(0, place - self._dropped)
        return list(self._events)[skipped:], self._end(), self._is_over

    def listen(self, listener: Callable[[], None]) -> None:
        """Calls it after every news, in the engine's thread."""
        with self._changed:
            self._listeners.append(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        with self._changed:
            self._listeners.remove(listener)

    @property
    def state(self) -> JobState:
        return JobState.ended if self.done.done() or not self.latest else self.latest.state

    @property
    def hold(self) -> Hold | None:
        return self.first.hold if self.first else None

    def name(self) -> str:
        return f"job {self.job}" if self.job else f"request {self.request}"


def outcome_of(done: JobDone) -> JobDone:
    """The same if the job succeeded; else JobExpired, JobCancelled, JobFailed."""
    kinds = {"expired": errors.JobExpired, "cancelled": errors.JobCancelled}
    if done.receipt.outcome.name == "succeeded":
        return done
    kind = kinds.get(done.receipt.outcome.name, errors.JobFailed)
    raise kind(done.receipt, done.balance)
