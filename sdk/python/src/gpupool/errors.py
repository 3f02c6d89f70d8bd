"""Every error of the pool is a class that carries its numbers.

All of them are `PoolError`s. `Refused` and those below it say why a request was not admitted;
with a `refusal` they have the account's whole balance. `JobFailed` and those below it carry the
receipt of a job that ended otherwise than well. Numbers and names are those of base/errors.def
(a test compares); one that only a newer pool knows is a plain `PoolError` under its number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpupool.values import Instant, seconds_text

if TYPE_CHECKING:
    from gpupool.messages import Balance, Receipt, Refusal

# Number, name, the unit of want and have ("": they mean nothing).
TABLE: dict[int, tuple[str, str]] = {
    100: ("bad_request", ""),
    101: ("unauthenticated", ""),
    102: ("id_expired", "ms"),
    103: ("id_reused", ""),
    104: ("unknown_app", ""),
    105: ("forbidden", ""),
    106: ("illegal_duration", "ms"),
    107: ("too_many_jobs", "jobs"),
    108: ("size_unavailable", "slots"),
    109: ("pool_unavailable", "nodes"),
    110: ("overloaded", "jobs"),
    111: ("promise_too_late", "ms"),
    112: ("quota_exceeded", "ms"),
    113: ("ledger_unavailable", ""),
    200: ("job_unknown", ""),
    201: ("job_finished", ""),
    202: ("result_gone", ""),
    203: ("stale_epoch", "epoch"),
    204: ("outcome_unknown", ""),
    300: ("malformed_frame", "bytes"),
    301: ("frame_too_large", "bytes"),
    302: ("unknown_message", "type"),
    303: ("version_mismatch", "version"),
    304: ("not_connected", ""),
    305: ("timed_out", "ms"),
    306: ("interrupted", ""),
    307: ("rate_limited", "ms"),
    400: ("executor_crashed", "signal"),
    401: ("executor_stalled", "ms"),
    402: ("start_limit_missed", "ms"),
    403: ("node_lost", ""),
    404: ("device_failed", ""),
    405: ("program_failed", "exit"),
    406: ("lease_refused", "ms"),
    407: ("result_not_stored", "bytes"),
    500: ("file_unreadable", ""),
    501: ("file_malformed", "bytes"),
    502: ("file_unwritable", ""),
    503: ("system_failed", "errno"),
    504: ("journal_refused", ""),
    505: ("journal_corrupt", "record"),
    506: ("journal_locked", ""),
    507: ("clock_jumped", "ms"),
    508: ("unsupported", ""),
    509: ("journal_fenced", "epoch"),
    510: ("history_unavailable", ""),
    600: ("config_invalid", "line"),
    601: ("token_malformed", ""),
    602: ("token_signature", ""),
    603: ("token_expired", "ms"),
    604: ("token_not_yet_valid", "ms"),
    605: ("token_audience", ""),
}


def name_of(number: int) -> str:
    """`"quota_exceeded"` of 112; `"error_N"` of a number that only a newer pool has a name for."""
    known = TABLE.get(number)
    return known[0] if known else f"error_{number}"


def unit_of(number: int) -> str:
    """The unit of want and have: `"ms"`, `"jobs"`, ...; empty: they mean nothing."""
    return TABLE.get(number, ("", ""))[1]


class PoolError(Exception):
    """Something that the pool, or the way to it, said no to.

    `number` and `code` say what, in numbers and in words; `want` and `have` are in `unit`;
    `detail` is one sentence or empty.
    """

    number = 0

    def __init__(
        self, detail: str = "", *, number: int | None = None, want: int = 0, have: int = 0
    ) -> None:
        if number is not None:
            self.number = number
        self.code = name_of(self.number)
        self.unit = unit_of(self.number)
        self.want = want
        self.have = have
        self.detail = detail
        super().__init__(self._text())

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions with keyword arguments do not pickle by themselves, and processes pass them on.
        return _again, (type(self), self.args, self.__dict__)

    def _text(self) -> str:
        text = f"{self.code}: {self.detail}" if self.detail else self.code
        if not self.unit or (self.want == 0 and self.have == 0):
            return text
        return f"{text} (want {self._amount(self.want)}, have {self._amount(self.have)})"

    def _amount(self, number: int) -> str:
        return seconds_text(number) if self.unit == "ms" else f"{number} {self.unit}"


def _again(kind: type[PoolError], args: tuple[object, ...], state: dict[str, object]) -> PoolError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


# ---- Refusals ------------------------------------------------------------------------------------


class Refused(PoolError):
    """A request was not admitted; nothing was held or charged.

    `refusal` has every number behind it, or is None where the pool refused the caller and not a
    request. `balance` and what is read from it are None where the account was not looked up.
    """

    refusal: Refusal | None = None

    @property
    def balance(self) -> Balance | None:
        """The account's quota when it was refused."""
        return self.refusal.balance if self.refusal and self.refusal.balance.at else None

    @property
    def cost_ms(self) -> int | None:
        """What was asked for, in milliseconds of quota: the duration times the size's factor."""
        return self.refusal.cost_ms if self.refusal else None

    @property
    def left_ms(self) -> int | None:
        """What is left, in milliseconds of quota."""
        return self.balance.left_ms if self.balance else None

    @property
    def held_ms(self) -> int | None:
        """What is set aside for admitted jobs, in milliseconds of quota."""
        return self.balance.held_ms if self.balance else None

    @property
    def held_until(self) -> Instant | None:
        """When the earliest hold is sure to be closed; None: nothing is held."""
        return (self.balance.held_until or None) if self.balance else None

    @property
    def resets_at(self) -> Instant | None:
        """When the window ends; None: no window is open."""
        return (self.balance.resets_at or None) if self.balance else None

    @property
    def hint(self) -> str:
        """What would be admitted, or what to do; empty: nothing to say."""
        return self.refusal.hint if self.refusal else ""

    def longest_ms(self, size: str | None = None) -> int:
        """The longest duration, in milliseconds, that would be admitted now at the size (None:
        the one that was asked for); 0: none."""
        wanted = size or (self.refusal.size if self.refusal else "")
        fits = self.balance.fits if self.balance else ()
        return next((fit.longest_ms for fit in fits if fit.size == wanted and fit.offered), 0)

    def _text(self) -> str:
        refusal = self.refusal
        if refusal is None or not refusal.sentence:
            return super()._text()
        text = f"{self.code}: {refusal.sentence}"
        return f"{text} ({refusal.hint})" if refusal.hint else text


class BadRequest(Refused):
    """The request is malformed; `detail` names what."""

    number = 100


class Unauthenticated(Refused):
    """The token is bad, expired or revoked, or there is none and the pool wants one."""

    number = 101


class IdExpired(Refused):
    """The request id is too old, or ahead of time. want: its age, have: the oldest (ms)."""

    number = 102


class IdReused(Refused):
    """The request id was used already, with another request."""

    number = 103


class UnknownApp(Refused):
    """The pool has no such app."""

    number = 104


class Forbidden(Refused):
    """The caller's tier may not use this, or the caller is no operator."""

    number = 105


class IllegalDuration(Refused):
    """want: declared, have: the longest allowed (ms)."""

    number = 106


class TooManyJobs(Refused):
    """want: the account's jobs with this one, have: the tier's limit."""

    number = 107


class SizeUnavailable(Refused):
    """want: the slots of the size, have: those of the largest shape that the pool has."""

    number = 108


class PoolUnavailable(Refused):
    """No node that can run the app is connected."""

    number = 109


class Overloaded(Refused):
    """A queue or table of the pool, or what one client may follow, is at its maximum."""

    number = 110


class PromiseTooLate(Refused):
    """want: max_wait, have: the wait that can be promised (ms)."""

    number = 111


class QuotaExceeded(Refused):
    """want: the cost, have: what is left (ms of quota)."""

    number = 112


class LedgerUnavailable(Refused):
    """The pool's ledger cannot write now."""

    number = 113


# ---- Questions and the connection ----------------------------------------------------------------


class JobUnknown(PoolError):
    """This account has no such job."""

    number = 200


class ResultGone(PoolError):
    """The job has no result, or the pool keeps it no longer."""

    number = 202


class OutcomeUnknown(PoolError):
    """It is not known whether the pool took the request; asking again under the same id is safe."""

    number = 204


class MalformedFrame(PoolError):
    """Bytes that are no message. have: how many."""

    number = 300


class FrameTooLarge(PoolError):
    """want: the message's bytes, have: the maximum."""

    number = 301


class UnknownMessage(PoolError):
    """The pool is older than this client and does not know the question. want: its type."""

    number = 302


class VersionMismatch(PoolError):
    """want: the client's version of the protocol, have: the pool's."""

    number = 303


class NotConnected(PoolError):
    """No pool answers at any endpoint, or a lost one did not come back in time."""

    number = 304


class TimedOut(PoolError):
    """No answer came in time. want: the time (ms)."""

    number = 305


class RateLimited(PoolError):
    """The account asks, or this address connects, too often. want: how long to wait (ms)."""

    number = 307


class FileUnreadable(PoolError):
    """A token's or key's file."""

    number = 500


class FileMalformed(PoolError):
    """The result that the pool sent is not the one of the receipt, or is too large.

    want: its bytes by the receipt, have: the most that are taken."""

    number = 501


class HistoryUnavailable(PoolError):
    """The pool cannot read its past now; ask again later."""

    number = 510


# ---- Jobs ----------------------------------------------------------------------------------------


class JobFailed(PoolError):
    """The job ended, and not well. `receipt` says what it cost, `balance` what is left; `number`
    and `code` are its cause, if it has one, else `code` is its outcome."""

    def __init__(self, receipt: Receipt, balance: Balance) -> None:
        self.receipt = receipt
        self.balance = balance
        super().__init__(receipt.detail, number=receipt.cause)
        if not receipt.cause:
            self.code = receipt.outcome.name

    def _text(self) -> str:
        receipt = self.receipt
        text = f"job {receipt.job} {receipt.outcome.name}"
        if receipt.cause:
            text += f": {name_of(receipt.cause)}"
        if receipt.detail:
            text += f": {receipt.detail}"
        return (
            f"{text} (charged {seconds_text(receipt.charged_ms)}, "
            f"{seconds_text(receipt.given_back_ms)} given back)"
        )


class JobExpired(JobFailed):
    """It was stopped at its declared end."""


class JobCancelled(JobFailed):
    """It was cancelled."""


_classes: dict[int, type[PoolError]] = {}
for _kind in list(globals().values()):
    if isinstance(_kind, type) and issubclass(_kind, PoolError) and _kind.number:
        _classes[_kind.number] = _kind


def error_of(number: int, detail: str = "", *, want: int = 0, have: int = 0) -> PoolError:
    """The error of this number, of its own class where there is one."""
    kind = _classes.get(number, PoolError)
    return kind(detail, number=number, want=want, have=have)


def refused(refusal: Refusal) -> PoolError:
    """The error of a refusal, with all of its numbers."""
    kind = _classes.get(refusal.code, Refused)
    if not issubclass(kind, Refused):
        # A question that may not be asked is refused for any reason: its own class goes first.
        detail = refusal.detail or refusal.sentence
        return error_of(refusal.code, detail, want=refusal.want, have=refusal.have)
    error = kind.__new__(kind)
    error.refusal = refusal
    Refused.__init__(
        error, refusal.detail, number=refusal.code, want=refusal.want, have=refusal.have
    )
    return error
