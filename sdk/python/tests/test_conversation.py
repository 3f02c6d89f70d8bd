"""The conversation in virtual time: what it sends and when, without sockets, clock or threads."""

from __future__ import annotations

import random
from concurrent.futures import Future
from typing import Any, TypeVar

import pytest

from gpupool import errors, wire
from gpupool.conversation import (
    ASKED_MAX,
    QUESTION_FRAMES_MAX,
    QUESTIONS_MAX,
    Conversation,
    Surroundings,
)
from gpupool.endpoints import Failure
from gpupool.messages import JobRequest, JobState, Outcome, Receipt, Refusal
from gpupool.pending import Close, FollowFailed, LinkLost, LinkRestored, News, Open, Send, Times
from gpupool.questions import (
    ClientCancel,
    ClientPing,
    ClientQuota,
    ClientSubmit,
    ClientWatch,
    FromClient,
    FromPool,
    Hello,
    JobDone,
    JobEvent,
    QuotaAnswer,
    ReceiptsAnswer,
    SessionError,
    SessionNotice,
    SessionPong,
    SessionRefused,
    SessionWelcome,
)
from gpupool.requests import draw_request_id

HEARTBEAT_MS = 2_000
Message = TypeVar("Message")


class Talk:
    """A conversation, the pool's end of it, and the time."""

    def __init__(
        self, endpoint: str = "tcp://a:1", *, times: Times = Times(), seed: int = 1
    ) -> None:
        self.now = 1_000
        self.heard: list[str] = []
        around = Surroundings(
            endpoint=endpoint,
            token="t",
            has_key=False,
            program="test",
            times=times,
            rng=random.Random(seed),
            announced=self.heard.append,
        )
        self.own = Conversation(around, self.now)

    def said(self) -> list[FromClient]:
        """What was sent since the last time."""
        effects, self.own.effects = self.own.effects, []
        return [wire.decode_from_client(e.frame) for e in effects if isinstance(e, Send)]

    def say(self, *messages: FromPool) -> None:
        for message in messages:
            self.own.take(self.now, wire.encode(message))

    def advance(self, milliseconds: int) -> None:
        """Every deed on the way at its own time."""
        until = self.now + milliseconds
        while (due := self.own.next_deed()) <= until:
            self.now = max(self.now, due)
            self.own.tick(self.now)
        self.now = until

    def opened(self) -> list[str]:
        """Where connections were begun since the last time."""
        effects, self.own.effects = self.own.effects, []
        return [e.endpoint for e in effects if isinstance(e, Open)]

    def welcomed(self, **welcome: Any) -> Talk:
        self.own.tick(self.now)
        assert self.said() == [Hello(token="t", program="test")]
        self.say(SessionWelcome(heartbeat_ms=HEARTBEAT_MS, **welcome))
        return self

    def ask(self, kind: type[Message]) -> Future[Message]:
        answer: Future[Message] = Future()
        self.own.ask(self.now, ClientQuota(), kind, answer)
        return answer

    def submit(self) -> tuple[ClientSubmit, list[News]]:
        news: list[News] = []
        message = ClientSubmit(request=draw_request_id(), body=JobRequest(app="emoji"))
        self.own.follow(self.now, message, news.append)
        return message, news


def query_of(message: FromClient) -> int:
    return int(getattr(message, "query"))


def test_a_welcome_ends_the_greeting_and_pings_follow_at_every_heartbeat() -> None:
    talk = Talk().welcomed()
    assert talk.own.welcomed.done() and talk.own.is_live
    for _ in range(5):
        talk.advance(HEARTBEAT_MS)
        (ping,) = talk.said()
        assert isinstance(ping, ClientPing)
        talk.say(SessionPong(query=ping.query))
    assert talk.own.is_live


def test_three_pings_without_an_answer_mean_that_the_pool_is_lost() -> None:
    talk = Talk().welcomed()
    message, news = talk.submit()
    talk.say(JobEvent(job=7, request=message.request, state=JobState.queued))
    talk.advance(3 * HEARTBEAT_MS)
    assert talk.own.is_live
    talk.advance(HEARTBEAT_MS)
    assert not talk.own.is_live
    assert news[-1] == LinkLost("the pool went silent", "tcp://a:1")


def test_a_pool_that_was_never_there_is_given_up_after_the_agreed_time() -> None:
    talk = Talk()
    talk.advance(2_999)
    assert not talk.own.failed
    talk.advance(1)
    error = talk.own.welcomed.exception()
    assert isinstance(error, errors.NotConnected)
    assert error.detail == "no pool answers at tcp://a:1"


def test_attempts_have_growing_pauses_with_jitter() -> None:
    def pauses(seed: int) -> list[int]:
        talk = Talk(times=Times(connect_ms=60_000), seed=seed)
        found = []
        for _ in range(8):
            talk.own.tick(talk.now)
            assert talk.opened() == ["tcp://a:1"]
            talk.own.lost(talk.now, "refused")
            found.append(talk.own.next_deed() - talk.now)
            talk.now = talk.own.next_deed()
        return found

    for pause, longest in zip(pauses(1), [100, 200, 400, 800, 1600, 2000, 2000, 2000]):
        assert longest // 2 <= pause <= longest
    assert pauses(1) != pauses(2)


def test_a_pool_that_was_found_again_is_looked_for_soon_when_it_is_lost_once_more() -> None:
    talk = Talk(times=Times(connect_ms=60_000))
    for _ in range(6):
        talk.now = talk.own.next_deed()
        talk.own.tick(talk.now)
        talk.own.lost(talk.now, "refused")
    assert talk.own.next_deed() - talk.now >= 1_000
    talk.now = talk.own.next_deed()
    talk.own.tick(talk.now)
    talk.say(SessionWelcome(heartbeat_ms=HEARTBEAT_MS))
    talk.own.lost(talk.now, "closed")
    assert talk.own.next_deed() - talk.now <= 100


@pytest.mark.parametrize(("asked", "kept"), [(-5, 10), (0, 10), (10**9, 60_000)])
def test_a_heartbeat_is_kept_within_bounds(asked: int, kept: int) -> None:
    talk = Talk()
    talk.own.tick(talk.now)
    talk.say(SessionWelcome(heartbeat_ms=asked))
    assert talk.own.next_deed() - talk.now == kept


def test_endpoints_are_tried_in_turn_and_none_that_is_silent_keeps_it_for_long() -> None:
    talk = Talk("tcp://a:1, tcp://b:2,tcp://c:3", times=Times(connect_ms=60_000))
    talk.own.tick(talk.now)
    assert talk.opened() == ["tcp://a:1"]
    talk.advance(1_100)  # a second of patience, and the pause before another one
    assert talk.opened() == ["tcp://b:2"]
    talk.own.lost(talk.now, "refused")
    talk.advance(100)
    assert talk.opened() == ["tcp://c:3"]
    talk.say(SessionWelcome(heartbeat_ms=HEARTBEAT_MS))
    assert talk.own.endpoint == "tcp://c:3" and talk.own.is_live


def test_a_silent_one_of_several_endpoints_gets_two_seconds_from_the_second_round_on() -> None:
    talk = Talk("tcp://a:1,tcp://b:2", times=Times(connect_ms=60_000))
    waits = []
    for _ in range(4):
        talk.now = talk.own.next_deed()
        talk.own.tick(talk.now)
        waits.append(talk.own.next_deed() - talk.now)
        talk.now = talk.own.next_deed()
        talk.own.tick(talk.now)
    assert waits == [1_000, 1_000, 2_000, 2_000]


def test_of_several_endpoints_each_says_why_it_was_not_the_one() -> None:
    talk = Talk("tcp://a:1,tcp://b:2", times=Times(connect_ms=1_000))
    whys = {"tcp://a:1": Failure.other_language, "tcp://b:2": Failure.no_handshake}
    while not talk.own.failed:
        talk.now = talk.own.next_deed()
        talk.own.tick(talk.now)
        for endpoint in talk.opened():
            talk.own.lost(talk.now, "closed", whys[endpoint])
    text = talk.own.failed.detail
    assert text.startswith("no pool answers at tcp://a:1 or tcp://b:2: ")
    assert "the pool at tcp://a:1 takes encrypted connections only" in text
    assert "what listens at tcp://b:2 closes every connection" in text


def test_an_attempt_that_is_cut_short_does_not_take_back_what_the_one_before_it_said() -> None:
    talk = Talk()
    talk.own.tick(talk.now)
    talk.own.lost(talk.now, "closed", Failure.no_handshake)
    talk.advance(3_000)
    assert talk.own.failed and "tcp://a:1 closes every connection" in talk.own.failed.detail


def test_a_single_pool_of_another_language_is_the_last_word() -> None:
    talk = Talk()
    talk.own.tick(talk.now)
    talk.own.lost(talk.now, "closed", Failure.other_language)
    assert talk.own.failed and "encrypted connections only" in talk.own.failed.detail


@pytest.mark.parametrize("number", [101, 303, 110, 307])
def test_what_no_other_attempt_can_help_is_told_at_once(number: int) -> None:
    talk = Talk()
    talk.own.tick(talk.now)
    talk.say(SessionError(code=number, want=1, have=2, detail="why"))
    error = talk.own.welcomed.exception()
    assert isinstance(error, errors.PoolError)
    assert (error.number, error.want, error.have, error.detail) == (number, 1, 2, "why")


def test_an_answer_goes_to_the_question_of_its_number() -> None:
    talk = Talk().welcomed()
    first, second = talk.ask(QuotaAnswer), talk.ask(QuotaAnswer)
    one, two = (query_of(message) for message in talk.said())
    talk.say(QuotaAnswer(query=two), QuotaAnswer(query=99), QuotaAnswer(query=one))
    assert (first.result(0).query, second.result(0).query) == (one, two)


def test_an_answer_of_another_kind_is_malformed() -> None:
    talk = Talk().welcomed()
    answer = talk.ask(ReceiptsAnswer)
    talk.say(QuotaAnswer(query=query_of(talk.said()[0])))
    assert isinstance(answer.exception(0), errors.MalformedFrame)


def test_a_question_that_may_not_be_asked_any_more_says_why() -> None:
    talk = Talk().welcomed()
    answer = talk.ask(QuotaAnswer)
    refusal = Refusal(code=101, detail="the token expired")
    talk.say(SessionRefused(query=query_of(talk.said()[0]), refusal=refusal))
    error = answer.exception(0)
    assert isinstance(error, errors.Unauthenticated) and error.refusal == refusal


def test_a_question_that_nobody_answers_ends_with_its_time() -> None:
    talk = Talk(times=Times(answer_ms=500)).welcomed()
    answer = talk.ask(QuotaAnswer)
    talk.advance(499)
    assert not answer.done()
    talk.advance(1)
    error = answer.exception(0)
    assert isinstance(error, errors.TimedOut) and error.want == 500


def test_frames_that_cannot_be_read_are_no_sign_of_life() -> None:
    talk = Talk().welcomed()
    for _ in range(4):
        talk.own.take(talk.now, b"\x92\x42\xff")
        talk.own.take(talk.now, b"\x92\x7f\x90")
        talk.advance(HEARTBEAT_MS)
    assert not talk.own.is_live


def test_never_more_questions_are_open_than_a_session_takes() -> None:
    talk = Talk().welcomed()
    answers = [talk.ask(QuotaAnswer) for _ in range(100)]
    answered = 0
    while answered < 100:
        said = talk.said()
        assert 0 < len(said) <= QUESTION_FRAMES_MAX
        for message in said:
            talk.say(QuotaAnswer(query=query_of(message)))
        answered += len(said)
    assert all(answer.done() for answer in answers)


def test_questions_that_wait_for_their_turn_are_bounded() -> None:
    talk = Talk().welcomed()
    answers = [talk.ask(QuotaAnswer) for _ in range(QUESTIONS_MAX + 1)]
    error = answers[-1].exception(0)
    assert isinstance(error, errors.Overloaded)
    assert (error.want, error.have) == (QUESTIONS_MAX + 1, QUESTIONS_MAX)
    assert not any(answer.done() for answer in answers[:-1])


def test_never_more_submits_are_without_an_answer_than_a_session_takes() -> None:
    talk = Talk().welcomed()
    submitted = [talk.submit()[0] for _ in range(100)]
    said = talk.said()
    assert len(said) == ASKED_MAX
    for number, message in enumerate(submitted[:10], 1):
        talk.say(JobEvent(job=number, request=message.request))
    assert len(talk.said()) == 10


def test_a_job_ends_with_its_receipt_and_hears_nothing_after_it() -> None:
    talk = Talk().welcomed()
    message, news = talk.submit()
    event = JobEvent(job=7, request=message.request, state=JobState.running, step=1, of_steps=2)
    done = JobDone(receipt=Receipt(job=7, request=message.request, outcome=Outcome.succeeded))
    talk.say(event, done, event)
    assert news == [event, done]


def test_a_refusal_is_the_last_news_of_its_submit() -> None:
    talk = Talk().welcomed()
    message, news = talk.submit()
    refusal = Refusal(code=112, want=3, have=2, request=message.request)
    talk.say(SessionRefused(query=query_of(talk.said()[0]), refusal=refusal))
    (failed,) = news
    assert isinstance(failed, FollowFailed) and isinstance(failed.error, errors.QuotaExceeded)
    assert failed.error.refusal == refusal


def test_a_refusal_is_of_the_submit_that_it_answers_and_of_no_other() -> None:
    talk = Talk().welcomed()
    message, news = talk.submit()
    talk.say(JobEvent(job=7, request=message.request))
    talk.said()
    again: list[News] = []
    talk.own.follow(talk.now, message, again.append)
    refusal = Refusal(code=112, request=message.request)
    talk.say(SessionRefused(query=query_of(talk.said()[0]), refusal=refusal))
    assert isinstance(again[0], FollowFailed) and len(news) == 1
    talk.say(JobEvent(job=7, request=message.request, step=1))
    assert len(news) == 2


def test_a_request_id_that_is_in_use_here_is_not_sent_with_another_request() -> None:
    talk = Talk().welcomed()
    message, news = talk.submit()
    other: list[News] = []
    body = JobRequest(app="emoji", declared_ms=7)
    talk.said()
    talk.own.follow(talk.now, ClientSubmit(request=message.request, body=body), other.append)
    assert isinstance(other[0], FollowFailed) and isinstance(other[0].error, errors.IdReused)
    assert talk.said() == [] and news == []


@pytest.mark.parametrize("number", [204, 305])
def test_a_submit_whose_outcome_is_unknown_is_asked_again_under_the_same_id(number: int) -> None:
    talk = Talk().welcomed()
    message, news = talk.submit()
    (first,) = talk.said()
    for _ in range(5):
        talk.say(SessionError(query=query_of(first), code=number))
        assert talk.said() == [first]
    talk.say(SessionError(query=query_of(first), code=number))
    assert isinstance(news[0], FollowFailed) and news[0].error.number == number


def test_a_submit_that_nobody_answers_is_asked_again_and_ends_at_last() -> None:
    talk = Talk(times=Times(answer_ms=500)).welcomed()
    _, news = talk.submit()
    submits = 0
    for _ in range(7):
        talk.say(SessionPong())
        submits += sum(isinstance(one, ClientSubmit) for one in talk.said())
        talk.advance(500)
    assert submits == 6
    assert isinstance(news[0], FollowFailed) and isinstance(news[0].error, errors.TimedOut)


def test_after_a_loss_everything_without_an_answer_is_asked_again_with_the_same_bytes() -> None:
    talk = Talk("tcp://a:1,tcp://b:2").welcomed()
    message, news = talk.submit()
    answer = talk.ask(QuotaAnswer)
    asked = talk.said()
    talk.say(JobEvent(job=7, request=message.request, state=JobState.queued))
    talk.own.lost(talk.now, "the connection was closed")
    assert isinstance(talk.own.effects[0], Close)
    talk.advance(100)
    assert talk.said() == [Hello(token="t", program="test")]
    talk.say(SessionWelcome(heartbeat_ms=HEARTBEAT_MS, pool="b"))
    again = talk.said()
    assert sorted(map(query_of, again)) == sorted(map(query_of, asked))
    assert {type(one) for one in again} == {ClientSubmit, ClientQuota}
    assert all(one in asked for one in again)
    assert news[1] == LinkLost("the connection was closed", "tcp://a:1")
    assert isinstance(news[2], LinkRestored) and news[2].endpoint == "tcp://b:2"
    talk.say(QuotaAnswer(query=query_of(again[0])))
    assert answer.done()


def test_a_pool_that_does_not_come_back_is_given_up_and_everything_hears_it() -> None:
    talk = Talk(times=Times(answer_ms=120_000, reconnect_ms=5_000)).welcomed()
    _, news = talk.submit()
    answer = talk.ask(QuotaAnswer)
    talk.own.lost(talk.now, "closed")
    talk.advance(5_000)
    assert isinstance(answer.exception(0), errors.NotConnected)
    assert isinstance(news[-1], FollowFailed)
    assert isinstance(talk.ask(QuotaAnswer).exception(0), errors.NotConnected)
    assert isinstance(talk.submit()[1][0], FollowFailed)
    talk.own.effects.clear()
    talk.advance(60_000)
    assert talk.own.effects == []


def test_a_pool_that_forgot_its_client_is_greeted_again_on_the_same_connection() -> None:
    talk = Talk().welcomed()
    answer = talk.ask(QuotaAnswer)
    (asked,) = talk.said()
    talk.say(SessionError(code=304), SessionError(code=304))
    assert talk.said() == [Hello(token="t", program="test")]
    talk.say(SessionWelcome(heartbeat_ms=HEARTBEAT_MS))
    assert talk.said() == [asked]
    assert not answer.done()


def test_a_token_that_was_revoked_ends_the_conversation() -> None:
    talk = Talk().welcomed()
    _, news = talk.submit()
    talk.say(SessionError(code=101, detail="revoked"))
    assert isinstance(news[-1], FollowFailed)
    assert isinstance(news[-1].error, errors.Unauthenticated)


def test_a_cancel_is_answered_by_the_receipt_also_if_the_job_was_over() -> None:
    talk = Talk().welcomed()
    answer: Future[JobDone] = Future()
    talk.own.cancel(talk.now, 7, answer)
    watch, cancel = talk.said()
    assert isinstance(watch, ClientWatch) and isinstance(cancel, ClientCancel)
    assert (watch.job, cancel.job) == (7, 7)
    talk.say(SessionError(query=cancel.query, code=201))
    assert not answer.done()
    done = JobDone(receipt=Receipt(job=7, outcome=Outcome.succeeded))
    talk.say(done)
    assert answer.result(0) == done


def test_a_cancel_of_an_unknown_job_is_an_error() -> None:
    talk = Talk().welcomed()
    answer: Future[JobDone] = Future()
    talk.own.cancel(talk.now, 7, answer)
    watch, cancel = talk.said()
    talk.say(SessionError(query=query_of(watch), code=200))
    talk.say(SessionError(query=query_of(cancel), code=200))
    assert isinstance(answer.exception(0), errors.JobUnknown)


def test_a_cancelled_job_that_is_followed_hears_its_end_too() -> None:
    talk = Talk().welcomed()
    message, news = talk.submit()
    talk.say(JobEvent(job=7, request=message.request))
    talk.said()
    answer: Future[JobDone] = Future()
    talk.own.cancel(talk.now, 7, answer)
    assert [type(one) for one in talk.said()] == [ClientCancel]
    done = JobDone(receipt=Receipt(job=7, request=message.request, outcome=Outcome.cancelled))
    talk.say(done)
    assert answer.result(0) == done and news[-1] == done


def test_each_announcement_is_heard_once() -> None:
    talk = Talk().welcomed(announcement="at noon")
    talk.say(SessionNotice("at one"), SessionWelcome(announcement="at one"), SessionNotice(""))
    assert talk.heard == ["at noon", "at one"]
    assert talk.own.welcome and talk.own.welcome.announcement == ""


def test_a_question_that_the_pool_is_too_old_for_says_so() -> None:
    talk = Talk().welcomed()
    answer = talk.ask(QuotaAnswer)
    talk.say(SessionError(query=0, code=302, want=22))
    assert isinstance(answer.exception(0), errors.UnknownMessage)


def test_one_client_follows_no_more_jobs_than_a_session_takes() -> None:
    talk = Talk().welcomed()
    for _ in range(1_024):
        talk.submit()
    _, news = talk.submit()
    assert isinstance(news[0], FollowFailed)
    error = news[0].error
    assert isinstance(error, errors.Overloaded) and (error.want, error.have) == (1_025, 1_024)
