"""Where a client looks for its pool: one endpoint for each broker of it, of which the one that
leads listens. They are tried in turn, round by round, and each has said last why it was not the
one. The times are those of net/endpoints.cpp, in milliseconds. Pure; one thread."""

from __future__ import annotations

import enum
import re

from gpupool import errors, limits

PATIENCE_OF_ONE_MS = 3_000
# Where there are others nobody waits long for one that says nothing: in the first round, and later.
PATIENCE_FIRST_MS = 1_000
PATIENCE_MAX_MS = 2_000
PAUSE_MIN_MS = 100
# A takeover takes about five seconds: nobody should sleep through much of what follows it.
PAUSE_MAX_MS = 2_000
_DOUBLINGS_MAX = 5  # of the pause: the next one is above its maximum

_TCP = re.compile(r"tcp://[^,\s]+:[0-9]{1,5}")
_OTHER = re.compile(r"(?!tcp:)[a-z]+://[^,\s]+")


class Failure(enum.Enum):
    """Why an attempt came to nothing, as far as that tells people what to do."""

    silent = "refused, closed, or nobody said anything"
    other_language = "one side encrypts and the other does not"
    no_handshake = "closed before it was over, as for a wrong server key"


class Endpoints:
    def __init__(self, text: str) -> None:
        """`"tcp://a:7400,tcp://b:7400"`, tried in this order. NotConnected: one of them is none, or
        there are too many."""
        names = [name.strip() for name in text.split(",")]
        for name in names:
            if not (_TCP.fullmatch(name) or _OTHER.fullmatch(name)):
                raise errors.NotConnected(
                    f'cannot connect to "{name}": an endpoint is such as tcp://127.0.0.1:7400 or '
                    "ipc:///run/gpupool/pool.sock; several have commas between them"
                )
        if len(names) > limits.BROKERS_MAX:
            raise errors.NotConnected(
                f"{len(names)} endpoints were named, and {limits.BROKERS_MAX} are the most"
            )
        self._names = names
        self._failures = [Failure.silent] * len(names)
        self._present = 0
        self._failed = 0  # attempts since a pool was found

    def __len__(self) -> int:
        return len(self._names)

    @property
    def present(self) -> str:
        return self._names[self._present]

    def pass_over(self, why: Failure | None) -> None:
        """The attempt at the present one failed: the next one is the present one. None: it was cut
        short, and what the one before it said still holds."""
        if why is not None:
            self._failures[self._present] = why
        self._present = (self._present + 1) % len(self)
        self._failed += 1

    def found(self) -> None:
        """A pool answered at the present one."""
        self._failed = 0
        self._failures = [Failure.silent] * len(self)

    @property
    def patience_ms(self) -> int:
        """Of one attempt, from its start to the welcome."""
        if len(self) == 1:
            return PATIENCE_OF_ONE_MS
        return PATIENCE_FIRST_MS if self._failed < len(self) else PATIENCE_MAX_MS

    @property
    def pause_ms(self) -> int:
        """Until the next attempt at most; the least is half of it. Grows from round to round."""
        if self._failed == 0 or self._failed % len(self) != 0:
            return PAUSE_MIN_MS
        rounds = min(self._failed // len(self) - 1, _DOUBLINGS_MAX)
        return min(PAUSE_MAX_MS, PAUSE_MIN_MS << rounds)

    def nobody_answers(self, has_key: bool) -> str:
        """What was tried, with why, and what to do about it."""
        names = " or ".join([", ".join(self._names[:-1]), self._names[-1]][len(self) == 1 :])
        reasons = [
            other_language(name, has_key)
            if why is Failure.other_language
            else _closes_connections(name, has_key)
            for name, why in zip(self._names, self._failures)
            if why is not Failure.silent
        ]
        if not reasons:
            return f"no pool answers at {names}"
        if len(self) == 1:
            return reasons[0]
        return f"no pool answers at {names}: {'; '.join(reasons)}"


def other_language(endpoint: str, has_key: bool) -> str:
    if has_key:
        return (
            f"the pool at {endpoint} does not encrypt; leave server_key out, or name the endpoint "
            "of the pool that has this key"
        )
    return (
        f"the pool at {endpoint} takes encrypted connections only; name its public key with "
        "server_key or GPUPOOL_SERVER_KEY"
    )


def _closes_connections(endpoint: str, has_key: bool) -> str:
    if has_key:
        return (
            f"what listens at {endpoint} is not the pool of this server_key, or does not encrypt; "
            "ask its operator for the present one"
        )
    return (
        f"what listens at {endpoint} closes every connection; if the pool takes encrypted ones "
        "only, name its public key with server_key"
    )
