"""Moments, durations and request ids: what the wire has integers for. Pure; any thread."""

from __future__ import annotations

import math
import random
import uuid
from datetime import datetime, timedelta, timezone
from typing import ClassVar

from gpupool import limits

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
NO_REQUEST = uuid.UUID(int=0)


class Instant(int):
    """Milliseconds since 1970-01-01 UTC. 0: not yet, or none; `Instant.NEVER`: never."""

    NEVER: ClassVar[Instant]

    @property
    def utc(self) -> datetime | None:
        """The moment in UTC; None for 0, for never, and for what no calendar has."""
        if self == 0:
            return None
        try:
            return EPOCH + timedelta(milliseconds=int(self))
        except OverflowError:
            return None

    def __str__(self) -> str:
        moment = self.utc
        if moment is None:
            return "none" if self == 0 else "never"
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


Instant.NEVER = Instant(2**63 - 1)


def instant_of(moment: datetime) -> Instant:
    """Of a time that knows its zone; ValueError for one that does not."""
    if moment.tzinfo is None:
        raise ValueError("a moment needs its time zone: datetime.now(timezone.utc)")
    return Instant((moment - EPOCH) // timedelta(milliseconds=1))


def milliseconds_of(what: str, seconds: float | None) -> int:
    """Of a duration in seconds, rounded to the millisecond. None: 0, the pool's own choice.

    ValueError, which names it as `what`: not above 0, no number, or over 30 days.
    """
    if seconds is None:
        return 0
    longest = limits.DURATION_MS_MAX // 1000
    if not math.isfinite(seconds) or not 0 < seconds <= longest:
        raise ValueError(f"{what} is seconds above 0 and at most {longest}, not {seconds!r}")
    milliseconds = round(seconds * 1000)
    if milliseconds == 0:
        raise ValueError(f"{what} is at least 0.001 s, not {seconds!r}")
    return milliseconds


def seconds_text(milliseconds: int) -> str:
    """`"23.4 s"`; a third decimal only where there is one to lose."""
    if milliseconds % 100 == 0:
        return f"{milliseconds / 1000:.1f} s"
    return f"{milliseconds / 1000:.3f} s"


def new_request_id(now: Instant, rng: random.Random) -> uuid.UUID:
    """A UUID of version 7 (RFC 9562), under which a request can be sent again without a second run.

    The pool accepts it for 48 h.
    """
    number = int(now) << 80 | 0x7 << 76 | rng.getrandbits(12) << 64
    return uuid.UUID(int=number | 0b10 << 62 | rng.getrandbits(62))
