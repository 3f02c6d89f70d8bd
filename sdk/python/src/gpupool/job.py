"""A job of a `Pool`, from its admission to its receipt and result."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import TimeoutError as FutureTimeout

from gpupool import errors, limits, requests
from gpupool.engine import Engine
from gpupool.messages import Hold, JobRequest, JobState, Receipt
from gpupool.progress import Progress, Showing
from gpupool.questions import ClientSubmit, JobDone, JobEvent, LogChunk, ResultChunk
from gpupool.results import Finished, ResultReader, write_whole
from gpupool.track import Event, Track, outcome_of
from gpupool.values import milliseconds_of, seconds_text

NAME_S_MAX = 5.0  # after Ctrl-C, for the pool to name a job that is to be cancelled


class JobView:
    """What is known of a job without asking or waiting: `Job` and `AsyncJob` both say it."""

    def __init__(self, engine: Engine, track: Track) -> None:
        """For the pool, which makes them."""
        self._engine = engine
        self._track = track

    def __repr__(self) -> str:
        return f"<gpupool.{type(self).__name__} {self.number} {self.state.name}>"

    @property
    def number(self) -> int:
        """The job's number in this pool."""
        return self._track.job

    @property
    def request(self) -> uuid.UUID:
        """The request id: submit() with it and the same arguments follows this job."""
        return self._track.request

    @property
    def latest(self) -> JobEvent | None:
        """The latest event: state, position, promise, step. None: it was over already."""
        return self._track.latest

    @property
    def state(self) -> JobState:
        """Queued, starting, running or ended."""
        return self._track.state

    @property
    def hold(self) -> Hold | None:
        """What is set aside for it, in milliseconds of quota. None: it was over already."""
        return self._track.hold

    @property
    def is_done(self) -> bool:
        """Whether its receipt is here, or it can be followed no longer."""
        return self._track.done.done()


class Job(JobView):
    """A job that the pool has admitted. Safe to use from several threads.

    Ctrl-C in one of the waits leaves the job as it is: this handle can wait again, or
    `cancel()`. What becomes of a job without its client: one that runs, or is detached, goes on;
    one that is queued is cancelled 30 s (the pool's client_grace_s) after its `Pool` was closed
    or lost.
    """

    def events(self) -> Iterator[Event]:
        """Every event, from the oldest that is kept (1,000) to the last one before the receipt;
        blocks while there is none. Ends early, without an error, if the job can be followed no
        longer: `wait()` says why."""
        place, is_over = 0, False
        while not is_over:
            self._engine.ensure_can_wait()
            events, place, is_over = self._track.wait_since(place)
            yield from events

    def wait(self, timeout_s: float | None = None, *, progress: Progress = False) -> JobDone:
        """The receipt and the balance after it, however the job ended.

        `progress`: True for a bar of tqdm, or a function of each event. TimedOut after `timeout_s`
        seconds (None: never); NotConnected for a pool that was lost for too long.
        """
        self._engine.ensure_can_wait()
        timeout_ms = milliseconds_of("timeout_s", timeout_s)
        give_up = time.monotonic() + timeout_ms / 1000 if timeout_ms else None
        showing = Showing(progress)
        try:
            if showing.show:
                place, is_over = 0, False
                while not is_over and not _is_late(give_up):
                    events, place, is_over = self._track.wait_since(place, _left(give_up))
                    for event in events:
                        showing.show(event)
        finally:
            showing.close()
        try:
            return self._track.done.result(_left(give_up))
        except FutureTimeout:
            raise errors.TimedOut(f"{self._track.name()} goes on", want=timeout_ms) from None

    def receipt(self, timeout_s: float | None = None) -> Receipt:
        """Waits for the job's end. Errors as `wait()`."""
        return self.wait(timeout_s).receipt

    def result(
        self,
        timeout_s: float | None = None,
        *,
        progress: Progress = False,
        bytes_max: int = limits.RESULT_BYTES_MAX,
    ) -> bytes:
        """Waits for the job's end and fetches what it made, checked against the receipt.

        Errors of `wait()`; JobExpired, JobCancelled, JobFailed; ResultGone (there is none, or no
        longer); FileMalformed (other bytes than the receipt's, or more than `bytes_max`).
        """
        return self.finish(timeout_s, progress=progress, bytes_max=bytes_max).content

    def finish(
        self,
        timeout_s: float | None = None,
        *,
        progress: Progress = False,
        bytes_max: int = limits.RESULT_BYTES_MAX,
    ) -> Finished:
        """The same as `result()`, with receipt and balance. An app that makes nothing: no bytes."""
        done = outcome_of(self.wait(timeout_s, progress=progress))
        content = self._fetch(done.receipt, bytes_max) if done.receipt.result.hash else b""
        return Finished(content, done.receipt, done.balance)

    def save(self, path: str | os.PathLike[str], timeout_s: float | None = None) -> None:
        """Writes the result to a file, which is there whole or not at all. Errors as `result()`,
        OSError."""
        write_whole(path, self.result(timeout_s))

    def cancel(self) -> JobDone:
        """Cancels the job and waits for its receipt: what was charged and given back. One that
        was over already gives its own, with another outcome."""
        return self._engine.cancel(self.number).result()

    def log(self, offset: int = 0) -> LogChunk:
        """What the run wrote, from that byte on; of a running job what there is. ResultGone."""
        ask = requests.logs(self.number, offset)
        return ask.read(self._engine.ask(ask.message, ask.kind).result())

    def preview(self) -> bytes | None:
        """The picture that the running job draws, as it forms: a PNG. None: there is none, yet or
        any more."""
        ask = requests.preview(self.number)
        return ask.read(self._engine.ask(ask.message, ask.kind).result())

    def _fetch(self, receipt: Receipt, bytes_max: int) -> bytes:
        reader = ResultReader(receipt, bytes_max)
        while question := reader.question():
            reader.take(self._engine.ask(question, ResultChunk).result())
        return reader.whole()

    def cancel_for(self, interrupt: BaseException) -> None:
        """For a caller that has no handle, after Ctrl-C or an error of its own: cancels the job and
        notes with the exception what became of it. Ctrl-C again leaves it."""
        try:
            self._track.taken.result(NAME_S_MAX)
            receipt = self.cancel().receipt
            charged, given_back = receipt.charged_ms, receipt.given_back_ms
            note = (
                f"job {receipt.job} {receipt.outcome.name}: charged {seconds_text(charged)}, "
                f"{seconds_text(given_back)} given back"
            )
        except errors.Refused as refused:
            note = str(refused)
        except (errors.PoolError, FutureTimeout):
            note = f"{self._track.name()} may still be queued or running"
        add_note(interrupt, note)


def submit(engine: Engine, body: JobRequest, request: uuid.UUID | None) -> Job:
    """Waits until the pool has admitted or refused it. Ctrl-C meanwhile cancels the job, unless it
    is detached."""
    track = Track(request or requests.draw_request_id(), 0)
    job = Job(engine, track)
    try:
        engine.follow(ClientSubmit(request=track.request, body=body), track.tell)
        track.taken.result()
    except KeyboardInterrupt as interrupt:
        if not body.detached:
            job.cancel_for(interrupt)
        raise
    return job


def add_note(error: BaseException, note: str) -> None:
    """Shown with its traceback, from Python 3.11 on."""
    add = getattr(error, "add_note", None)
    if add:
        add(note)


def _left(give_up: float | None) -> float | None:
    return None if give_up is None else max(0.0, give_up - time.monotonic())


def _is_late(give_up: float | None) -> bool:
    return give_up is not None and time.monotonic() >= give_up
