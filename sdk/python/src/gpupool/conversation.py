"""One client's side of the protocol: the connection, and everything the pool still owes an answer
to.

A state machine without sockets, clock, threads or randomness: `gpupool.engine` tells it the time
and what arrived, and carries out `effects`. What has no answer is kept and sent again after
every welcome, so a lost connection loses nothing; a submit is repeated under its own request id,
so nothing runs twice. Times are milliseconds of one steady clock.
"""

from __future__ import annotations

import dataclasses
import enum
import random
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Callable

from gpupool import errors, limits, wire
from gpupool.endpoints import Endpoints, Failure, other_language
from gpupool.pending import (
    NEVER,
    Close,
    Effect,
    Follow,
    FollowFailed,
    LinkLost,
    LinkRestored,
    News,
    Open,
    Question,
    Send,
    Stage,
    Times,
)
from gpupool.questions import (
    Bye,
    ClientCancel,
    ClientPing,
    ClientSubmit,
    ClientWatch,
    FromClient,
    FromPool,
    Hello,
    JobDone,
    JobEvent,
    SessionError,
    SessionNotice,
    SessionPong,
    SessionRefused,
    SessionWelcome,
)
from gpupool.values import NO_REQUEST

PINGS_MISSED_MAX = 3
REPEATS_MAX = 5  # of a submit or watch whose outcome the pool could not tell
# Without a first answer, well below what a session takes of one client; the rest is for questions.
ASKED_MAX = limits.SESSION_QUERIES_MAX // 2
QUESTION_FRAMES_MAX = limits.SESSION_QUERIES_MAX // 2 - 2
QUESTIONS_MAX = 1_024  # those that wait for their turn included


class Phase(enum.Enum):
    down = 1
    greeting = 2
    live = 3


@dataclass
class Surroundings:
    """What the conversation is told once."""

    endpoint: str
    token: str = field(repr=False)
    has_key: bool
    program: str
    times: Times
    rng: random.Random  # of the jitter between attempts to connect
    announced: Callable[[str], None] | None = None


class Conversation:
    def __init__(self, around: Surroundings, now: int) -> None:
        """NotConnected for an endpoint that is none."""
        self._around = around
        self._endpoints = Endpoints(around.endpoint)
        self.effects: list[Effect] = []
        self.welcome: SessionWelcome | None = None
        self.welcomed: Future[None] = Future()
        self.failed: errors.PoolError | None = None  # for good
        self._phase = Phase.down
        self._is_open = False  # a connection, whatever its phase
        self._due = now  # when tick() has something to do even if nothing arrives
        self._give_up_at = now + around.times.connect_ms
        self._pings_missed = 0
        self._told_lost = False  # LinkLost is out and its LinkRestored is not
        self._announced = ""
        self._last_query = 0
        self._follows: list[Follow] = []
        self._questions: deque[Question] = deque()

    @property
    def endpoint(self) -> str:
        """Where the latest welcome came from; of a lost pool, the one that is tried now."""
        return self._endpoints.present

    @property
    def is_live(self) -> bool:
        return self._phase is Phase.live

    def next_deed(self) -> int:
        """When tick() is to be called at the latest."""
        dues = [follow.answer_by for follow in self._follows]
        dues += [question.answer_by for question in self._questions]
        return min([self._due, *dues])

    # ---- What the caller wants -------------------------------------------------------------------

    def ask(self, now: int, message: Any, kind: type[object], answer: Future[Any]) -> None:
        """Gives the question a number of its own and asks it. `answer` gets the message of this
        kind, or the pool's error; TimedOut or NotConnected after Times.answer_ms."""
        query = self._next_query()
        self._add_question(now, [dataclasses.replace(message, query=query)], kind, answer)

    def cancel(self, now: int, job: int, answer: Future[JobDone]) -> None:
        """`answer` gets the job's end, also if it was over already."""
        frames: list[FromClient] = [ClientCancel(query=self._next_query(), job=job)]
        # The watch makes the pool send the receipt also to a client that does not follow the job.
        if not any(follow.job == job for follow in self._follows):
            frames.insert(0, ClientWatch(query=self._next_query(), job=job))
        self._add_question(now, frames, JobDone, answer, job)

    def follow(
        self, now: int, message: ClientSubmit | ClientWatch, tell: Callable[[News], None]
    ) -> None:
        """Asks for a job and tells what becomes of it."""
        message = dataclasses.replace(message, query=self._next_query())
        error = self.failed
        if error is None and len(self._follows) >= limits.SESSION_JOBS_MAX:
            most = limits.SESSION_JOBS_MAX
            error = errors.Overloaded(
                "one client follows no more jobs at once", want=most + 1, have=most
            )
        frame = b""
        try:
            frame = wire.encode(message)
        except errors.PoolError as unwritten:
            error = error or unwritten
        follow = Follow(message.query, NO_REQUEST, 0, frame, tell)
        if isinstance(message, ClientSubmit):
            follow.request, follow.body = message.request, message.body
            # The pool says so too, but events of the first one would be taken for the answer.
            same = [one for one in self._follows if one.body and one.request == message.request]
            if any(one.body != message.body for one in same):
                error = error or errors.IdReused("another request of this client has the same id")
        else:
            follow.job = message.job
        if error is not None:
            tell(FollowFailed(error))
            return
        self._follows.append(follow)
        self._ask_for_more(now)

    def say_goodbye(self) -> None:
        if self.is_live:
            self._send(Bye())

    # ---- The connection --------------------------------------------------------------------------

    def tick(self, now: int) -> None:
        """What is due: an attempt, giving up on one, a ping, noticing that the pool is gone."""
        self._end_overdue(now)
        if self.failed or now < self._due:
            return
        if self._phase is Phase.down:
            if now >= self._give_up_at:
                self.fail(self._nobody_answers())
            else:
                self.effects.append(Open(self.endpoint))
                self._is_open = True
                self._greet(now)
        elif self._phase is Phase.greeting:
            is_cut_short = now >= self._give_up_at
            self.lost(now, "no welcome came", None if is_cut_short else Failure.silent)
        elif self._pings_missed >= PINGS_MISSED_MAX:
            self.lost(now, "the pool went silent")
        else:
            self._pings_missed += 1
            self._due = now + self._heartbeat_ms()
            self._send(ClientPing(query=self._next_query()))

    def lost(self, now: int, reason: str, why: Failure | None = Failure.silent) -> None:
        """The connection ended, or is given up; None: without having had its time."""
        if not self._is_open or self.failed:
            return
        # Another pool may be behind another endpoint; of a single one that is the last word.
        if why is Failure.other_language and len(self._endpoints) == 1:
            detail = other_language(self.endpoint, self._around.has_key)
            self.fail(errors.NotConnected(detail))
            return
        if self.is_live:
            self._give_up_at = now + self._around.times.reconnect_ms
            self._told_lost = True
            self._tell_all(LinkLost(reason, self.endpoint))
        self._close()
        self._pings_missed = 0
        self._endpoints.pass_over(why)
        longest = self._endpoints.pause_ms
        pause = self._around.rng.randint(longest // 2, longest)
        self._due = min(now + pause, max(self._give_up_at, now))

    def fail(self, error: errors.PoolError) -> None:
        """For good: everything that waits hears it."""
        if self.failed:
            return
        self.failed = error
        self._close()
        self._due = NEVER
        if not self.welcomed.done():
            self.welcomed.set_exception(error)
        for question in self._questions:
            question.answer.set_exception(error)
        self._questions.clear()
        self._tell_all(FollowFailed(error))
        self._follows.clear()

    def take(self, now: int, frame: bytes) -> None:
        """A frame arrived."""
        try:
            message = wire.decode_from_pool(frame)
        except errors.PoolError:
            # A message of a newer pool that this client does not know is none of its business.
            return
        if self.failed:
            return
        self._pings_missed = 0
        self._take(now, message)

    def _greet(self, now: int) -> None:
        self._phase = Phase.greeting
        self._due = min(now + self._endpoints.patience_ms, max(self._give_up_at, now))
        self._send(Hello(token=self._around.token, program=self._around.program))

    def _close(self) -> None:
        self._phase = Phase.down
        if self._is_open:
            self.effects.append(Close())
        self._is_open = False

    def _heartbeat_ms(self) -> int:
        # A pool that asks for no heartbeat still gets some: they find out whether it lives.
        wanted = self.welcome.heartbeat_ms if self.welcome else 0
        return max(10, min(wanted, 60_000))

    def _nobody_answers(self) -> errors.NotConnected:
        return errors.NotConnected(self._endpoints.nobody_answers(self._around.has_key))

    def _send(self, message: FromClient) -> None:
        try:
            frame = wire.encode(message)
        except errors.PoolError as error:
            # Only a program name or token beyond all bounds does not fit; then nothing can be said.
            self.fail(error)
            return
        self.effects.append(Send(frame))

    def _next_query(self) -> int:
        self._last_query += 1
        return self._last_query

    # ---- What has no answer yet ------------------------------------------------------------------

    def _add_question(
        self,
        now: int,
        messages: list[FromClient],
        kind: type[object],
        answer: Future[Any],
        job: int = 0,
    ) -> None:
        error = self.failed
        if error is None and len(self._questions) >= QUESTIONS_MAX:
            error = errors.Overloaded(
                "too many unanswered questions", want=QUESTIONS_MAX + 1, have=QUESTIONS_MAX
            )
        frames: list[bytes] = []
        try:
            frames = [wire.encode(message) for message in messages]
        except errors.PoolError as unwritten:
            error = error or unwritten
        if error is not None:
            answer.set_exception(error)
            return
        answer_by = now + self._around.times.answer_ms
        # The last frame is the one whose answer counts.
        query = int(getattr(messages[-1], "query", 0))
        self._questions.append(Question(query, frames, answer, kind, answer_by, job))
        self._ask_for_more(now)

    def _ask_for_more(self, now: int) -> None:
        """Sends what waits, in its order, while few of them are without an answer."""
        if not self.is_live:
            return
        room = QUESTION_FRAMES_MAX - sum(len(q.frames) for q in self._questions if q.asked)
        for question in self._questions:
            if question.asked:
                continue
            room -= len(question.frames)
            if room < 0:
                break
            question.asked = True
            self.effects += [Send(frame) for frame in question.frames]
        asked = sum(follow.stage is Stage.asked for follow in self._follows)
        for follow in self._follows:
            if asked >= ASKED_MAX:
                break
            if follow.stage is Stage.waiting:
                asked += 1
                self._ask_again(now, follow)

    def _ask_again(self, now: int, follow: Follow) -> None:
        follow.stage = Stage.asked
        follow.answer_by = now + self._around.times.answer_ms
        self.effects.append(Send(follow.frame))

    def _end_overdue(self, now: int) -> None:
        """A question ends with its time; a submit or watch is asked again, which is safe."""
        for question in [q for q in self._questions if q.answer_by <= now]:
            waited = self._around.times.answer_ms
            error = errors.TimedOut(want=waited) if self.is_live else self._nobody_answers()
            self._end(question, error)
        for follow in [f for f in self._follows if f.answer_by <= now]:
            self._repeat(now, follow, errors.TimedOut(want=self._around.times.answer_ms))
        self._ask_for_more(now)

    def _repeat(self, now: int, follow: Follow, error: errors.PoolError) -> None:
        if not self.is_live:
            follow.answer_by = NEVER  # the next welcome asks
            return
        follow.repeats += 1
        if follow.repeats <= REPEATS_MAX:
            self._ask_again(now, follow)
        else:
            self._forget(follow, error)

    def _forget(self, follow: Follow, error: errors.PoolError) -> None:
        self._follows.remove(follow)
        follow.tell(FollowFailed(error))

    def _end(self, question: Question, error: errors.PoolError) -> None:
        self._questions.remove(question)
        question.answer.set_exception(error)

    def _tell_all(self, news: News) -> None:
        for follow in list(self._follows):
            follow.tell(news)

    # ---- What the pool says ----------------------------------------------------------------------

    def _take(self, now: int, message: FromPool) -> None:
        if isinstance(message, SessionWelcome):
            self._take_welcome(now, message)
        elif isinstance(message, SessionError):
            self._take_error(now, message)
        elif isinstance(message, SessionRefused):
            self._take_refused(message)
        elif isinstance(message, JobEvent):
            self._take_event(message)
        elif isinstance(message, JobDone):
            self._take_done(message)
        elif isinstance(message, SessionNotice):
            self._hear(message.text)
        elif not isinstance(message, SessionPong):
            question = self._question(message.query)
            if question and isinstance(message, question.kind):
                self._questions.remove(question)
                question.answer.set_result(message)
            elif question:
                self._end(question, errors.MalformedFrame("the pool answered another question"))
        self._ask_for_more(now)

    def _take_welcome(self, now: int, welcome: SessionWelcome) -> None:
        was_live = self.is_live
        self.welcome = welcome
        self._hear(welcome.announcement)
        if was_live:
            return  # the caller changed, e.g. its tier
        self._phase = Phase.live
        self._endpoints.found()
        self._give_up_at = NEVER
        self._due = now + self._heartbeat_ms()
        if self._told_lost:
            self._told_lost = False
            self._tell_all(LinkRestored(welcome, self.endpoint))
        for question in self._questions:
            question.asked = False
        for follow in self._follows:
            follow.stage = Stage.waiting
            follow.answer_by = NEVER
        if not self.welcomed.done():
            self.welcomed.set_result(None)

    def _hear(self, text: str) -> None:
        """Every welcome says again what is announced; the caller hears each text once."""
        if self.welcome:
            self.welcome = dataclasses.replace(self.welcome, announcement=text)
        is_new = text != self._announced
        self._announced = text
        if is_new and text and self._around.announced:
            self._around.announced(text)

    def _question(self, query: int) -> Question | None:
        return next((one for one in self._questions if one.query == query), None)

    def _take_error(self, now: int, error: SessionError) -> None:
        if error.query == 0:
            self._take_complaint(now, error)
            return
        question = self._question(error.query)
        if question:
            # A cancel that came too late is answered by the receipt, which the watch brings.
            if not (question.job and errors.name_of(error.code) == "job_finished"):
                self._end(question, _error_of(error))
            return
        for follow in self._follows:
            if follow.query == error.query:
                # Maybe done: the same id again finds out, without a second run.
                if error.code in (errors.OutcomeUnknown.number, errors.TimedOut.number):
                    self._repeat(now, follow, _error_of(error))
                else:
                    self._forget(follow, _error_of(error))
                return

    def _take_complaint(self, now: int, error: SessionError) -> None:
        """About the connection and not about one question."""
        if error.code == errors.NotConnected.number:
            # The pool forgot a client that was silent for long: hello again on the same connection.
            # One of these may come for each frame that was on its way; the hello has been said
            # then.
            if self.is_live:
                self._give_up_at = now + self._around.times.reconnect_ms
                self._greet(now)
            return
        too_many = (errors.Overloaded.number, errors.RateLimited.number)
        crowded = error.code in too_many and self.welcome is None
        hopeless = (errors.Unauthenticated.number, errors.VersionMismatch.number)
        if error.code in hopeless or crowded:
            self.fail(_error_of(error))
        elif self._phase is Phase.greeting:
            self.lost(now, error.detail)
        elif len(self._questions) == 1:
            self._end(self._questions[0], _error_of(error))

    def _take_refused(self, refused: SessionRefused) -> None:
        question = self._question(refused.query)
        if question:
            self._end(question, errors.refused(refused.refusal))
            return
        for follow in list(self._follows):
            if follow.query == refused.query:
                self._forget(follow, errors.refused(refused.refusal))

    def _take_event(self, event: JobEvent) -> None:
        for follow in list(self._follows):
            if follow.is_of(event.job, event.request):
                follow.job = event.job
                follow.stage = Stage.heard
                follow.answer_by = NEVER
                follow.tell(event)

    def _take_done(self, done: JobDone) -> None:
        for question in list(self._questions):
            if question.job and question.job == done.receipt.job:
                self._questions.remove(question)
                question.answer.set_result(done)
        for follow in list(self._follows):
            if follow.is_of(done.receipt.job, done.receipt.request):
                self._follows.remove(follow)
                follow.tell(done)


def _error_of(error: SessionError) -> errors.PoolError:
    return errors.error_of(error.code, error.detail, want=error.want, have=error.have)
