"""What a client waits for, what it wants done about it, and what it hears: the parts of
`gpupool.conversation`."""

from __future__ import annotations

import enum
import uuid
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Callable, TypeAlias

from gpupool import errors
from gpupool.messages import JobRequest
from gpupool.questions import JobDone, JobEvent, SessionWelcome
from gpupool.values import NO_REQUEST

NEVER = 2**62  # a moment of the conversation's clock

# ---- What the conversation wants done, in order --------------------------------------------------


@dataclass(frozen=True)
class Open:
    """Begin a connection; its end is told by lost()."""

    endpoint: str


@dataclass(frozen=True)
class Send:
    frame: bytes


@dataclass(frozen=True)
class Close:
    """Forget the connection, after its last frames."""


Effect: TypeAlias = Open | Send | Close

# ---- What happens to the jobs that are followed --------------------------------------------------


@dataclass(frozen=True)
class LinkLost:
    """The pool was lost; the client keeps trying."""

    reason: str
    endpoint: str  # where it was

    def __str__(self) -> str:
        return f"the pool at {self.endpoint} was lost ({self.reason}); asking again"


@dataclass(frozen=True)
class LinkRestored:
    """Welcomed again; the present state of unfinished jobs follows."""

    welcome: SessionWelcome
    endpoint: str  # where it is now

    def __str__(self) -> str:
        return f"connected again, to {self.endpoint}"


@dataclass(frozen=True)
class FollowFailed:
    """The pool could not answer a submit or watch, which is followed no longer."""

    error: errors.PoolError


# JobDone and FollowFailed are the last news of their job.
News: TypeAlias = JobEvent | JobDone | LinkLost | LinkRestored | FollowFailed


@dataclass(frozen=True)
class Times:
    """In milliseconds."""

    connect_ms: int = 3_000  # until the first welcome
    answer_ms: int = 10_000  # of one question, reconnecting included
    reconnect_ms: int = 60_000  # a lost pool; after it the client is no good any more


class Stage(enum.Enum):
    waiting = 1
    asked = 2
    heard = 3


@dataclass(eq=False)
class Follow:
    """A job that the caller wants to hear of until its end."""

    query: int
    request: uuid.UUID
    job: int  # of a submit: once the pool has told it
    frame: bytes
    tell: Callable[[News], None]
    body: JobRequest | None = None  # of a submit
    stage: Stage = Stage.waiting
    repeats: int = 0
    answer_by: int = NEVER  # asked: when it is asked again

    def is_of(self, job: int, request: uuid.UUID) -> bool:
        return (self.job != 0 and self.job == job) or (
            self.request != NO_REQUEST and self.request == request
        )


@dataclass(eq=False)
class Question:
    query: int
    frames: list[bytes]
    answer: Future[Any]
    kind: type[object]
    answer_by: int
    job: int = 0  # of a cancel: the end of this job is the answer
    asked: bool = False
