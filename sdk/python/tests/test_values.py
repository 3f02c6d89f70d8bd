"""Moments, durations, request ids, settings and errors."""

from __future__ import annotations

import os
import pickle
import random
from datetime import datetime, timezone
from pathlib import Path

import pytest

import gpupool
from gpupool import errors, limits
from gpupool.engine import Options
from gpupool.messages import Balance, Fit, JobState, Outcome, Receipt, Refusal
from gpupool.pending import Times
from gpupool.questions import JobEvent
from gpupool.requests import job_request
from gpupool.results import write_whole
from gpupool.settings import options_of
from gpupool.values import Instant, instant_of, milliseconds_of, new_request_id

KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"


def options(**given: object) -> Options:
    wanted: dict[str, object] = dict.fromkeys(
        (
            "endpoint",
            "token",
            "token_file",
            "server_key",
            "connect_timeout_s",
            "answer_timeout_s",
            "reconnect_for_s",
            "announced",
        )
    )
    return options_of(**(wanted | given))  # type: ignore[arg-type]


def test_an_instant_is_a_moment_in_utc_or_none() -> None:
    assert Instant(0).utc is None and str(Instant(0)) == "none"
    assert Instant.NEVER.utc is None and str(Instant.NEVER) == "never"
    noon = datetime(2023, 11, 14, 22, 13, 20, tzinfo=timezone.utc)
    assert Instant(1_700_000_000_000).utc == noon
    assert str(Instant(1_700_000_000_123)) == "2023-11-14T22:13:20.123Z"
    assert instant_of(noon) == 1_700_000_000_000
    with pytest.raises(ValueError, match="time zone"):
        instant_of(datetime(2023, 1, 1))


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), 0.0004, 2_592_001])
def test_a_duration_that_is_none_is_refused_by_its_name(wrong: float) -> None:
    with pytest.raises(ValueError, match="duration_s"):
        milliseconds_of("duration_s", wrong)


def test_durations_are_rounded_to_the_millisecond() -> None:
    assert milliseconds_of("x", 7.5) == 7_500
    assert milliseconds_of("x", 0.0015) == 2
    assert milliseconds_of("x", None) == 0


def test_a_request_id_is_a_uuid_of_version_7_dated_now() -> None:
    one = new_request_id(Instant(1_700_000_000_000), random.Random(1))
    assert (one.version, one.variant) == (7, "specified in RFC 4122")
    assert one.int >> 80 == 1_700_000_000_000
    assert one != new_request_id(Instant(1_700_000_000_000), random.Random(2))


@pytest.mark.parametrize("wrong", [True, None, ["a"], b"x"])
def test_an_argument_is_a_text_or_a_number(wrong: object) -> None:
    def arguments_of(given: dict[str, object]) -> list[str]:
        body = job_request(
            "a", given, duration_s=None, size=None, max_wait_s=None, detached=False
        )
        return [one.value for one in body.arguments]

    assert arguments_of({"x": "y", "n": 7, "f": 2.5}) == ["y", "7", "2.5"]
    with pytest.raises(TypeError, match="the argument x is a text or a number"):
        arguments_of({"x": wrong})


# ---- Settings ------------------------------------------------------------------------------------


def test_settings_come_from_arguments_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert options().endpoint == "tcp://127.0.0.1:7400"
    monkeypatch.setenv("GPUPOOL_ENDPOINT", "tcp://a:1,tcp://b:2")
    monkeypatch.setenv("GPUPOOL_TOKEN", " abc\n")
    monkeypatch.setenv("GPUPOOL_SERVER_KEY", KEY)
    found = options()
    assert (found.endpoint, found.token, found.server_key) == ("tcp://a:1,tcp://b:2", "abc", KEY)
    given = options(endpoint=["tcp://c:3", "tcp://d:4"], token="", server_key="")
    assert (given.endpoint, given.token, given.server_key) == ("tcp://c:3,tcp://d:4", "", "")


def test_waits_are_longer_where_a_broker_may_be_taking_over() -> None:
    assert options().times == Times(3_000, 10_000, 60_000)
    assert options(endpoint="tcp://a:1,tcp://b:2").times == Times(10_000, 30_000, 60_000)
    assert options(reconnect_for_s=1.5).times.reconnect_ms == 1_500


def test_a_token_comes_from_a_file_and_is_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "ada.token"
    file.write_text("a-secret\n")
    found = options(token_file=file)
    assert found.token == "a-secret"
    assert "a-secret" not in repr(found)
    with pytest.raises(ValueError, match="not both"):
        options(token="x", token_file=file)


@pytest.mark.parametrize(
    ("content", "why"), [(None, "No such file"), ("", "no token"), ("x" * 4097, "more than 4096")]
)
def test_a_token_file_that_is_none_says_why(tmp_path: Path, content: str | None, why: str) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    with pytest.raises(gpupool.FileUnreadable, match=why):
        options(token_file=file)


def test_a_server_key_comes_from_a_file_and_has_forty_characters(tmp_path: Path) -> None:
    file = tmp_path / "pool.public"
    file.write_text(f"{KEY}\n")
    assert options(server_key=f"@{file}").server_key == KEY
    with pytest.raises(ValueError, match="Z85"):
        options(server_key="too short")
    with pytest.raises(gpupool.FileUnreadable, match="No such file"):
        options(server_key=f"@{file}.not")


@pytest.mark.parametrize("wrong", ["nowhere", "tcp://host", "tcp://:1", "tcp://a:1,,tcp://b:2"])
def test_an_endpoint_that_is_none_is_an_error_at_once(wrong: str) -> None:
    with pytest.raises(gpupool.NotConnected, match="cannot connect to"):
        gpupool.Pool(wrong)


def test_too_many_endpoints_are_refused() -> None:
    many = [f"tcp://127.0.0.1:{port}" for port in range(1, limits.BROKERS_MAX + 2)]
    with pytest.raises(gpupool.NotConnected, match="9 endpoints were named, and 8 are the most"):
        gpupool.Pool(many)


# ---- Errors --------------------------------------------------------------------------------------


def quota_exceeded() -> errors.PoolError:
    balance = Balance(
        account="user:ada",
        left_ms=10_000,
        held_ms=60_000,
        resets_at=Instant(1_700_000_000_000),
        held_until=Instant(1_600_000_000_000),
        fits=(Fit("large", 1, 10_000, True), Fit("xlarge", 2, 5_000, False)),
        at=Instant(1),
    )
    return errors.refused(
        Refusal(
            code=112,
            want=60_000,
            have=10_000,
            size="large",
            cost_ms=60_000,
            balance=balance,
            sentence="60.0 s requested, 10.0 s left",
            hint="try 10 s",
        )
    )


def test_a_refusal_is_a_class_that_carries_its_numbers() -> None:
    error = quota_exceeded()
    assert isinstance(error, gpupool.QuotaExceeded) and isinstance(error, gpupool.Refused)
    assert (error.code, error.number, error.unit) == ("quota_exceeded", 112, "ms")
    assert (error.want, error.have) == (60_000, 10_000)
    assert (error.cost_ms, error.left_ms) == (60_000, 10_000)
    assert (error.held_ms, error.held_until) == (60_000, 1_600_000_000_000)
    assert error.resets_at is not None and error.resets_at.utc is not None
    assert (error.longest_ms(), error.longest_ms("xlarge"), error.hint) == (10_000, 0, "try 10 s")
    assert str(error) == "quota_exceeded: 60.0 s requested, 10.0 s left (try 10 s)"


def test_numbers_of_an_account_that_nobody_looked_up_are_absent() -> None:
    error = errors.error_of(101, "the token has expired")
    assert isinstance(error, gpupool.Unauthenticated)
    assert (error.refusal, error.balance, error.left_ms, error.resets_at) == (None,) * 4
    assert str(error) == "unauthenticated: the token has expired"


def test_every_error_with_a_class_has_its_own() -> None:
    for number, (name, _) in errors.TABLE.items():
        error = errors.error_of(number, want=2, have=1)
        assert (error.number, error.code) == (number, name)
        if type(error) is not errors.PoolError:
            assert type(error).__name__.lower() == name.replace("_", "")
    assert str(errors.TimedOut(want=10_000)) == "timed_out (want 10.0 s, have 0.0 s)"


def test_errors_pass_between_processes() -> None:
    receipt = Receipt(job=3, outcome=Outcome.expired, charged_ms=1_200, given_back_ms=300)
    failed = gpupool.JobExpired(receipt, Balance(left_ms=7))
    for error in (quota_exceeded(), failed, errors.TimedOut(want=3)):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert (str(again), again.__dict__) == (str(error), error.__dict__)
    assert str(failed) == "job 3 expired (charged 1.2 s, 0.3 s given back)"
    assert failed.receipt.charged_ms == 1_200


# ---- What people see -----------------------------------------------------------------------------


def test_what_is_printed_is_one_line_for_people() -> None:
    promise = Instant(1_700_000_000_000)
    lines = {
        JobEvent(job=3, state=JobState.queued, position=2, promise=promise): (
            "job 3 queued: position 2, promised by 2023-11-14T22:13:20.000Z"
        ),
        JobEvent(job=3, state=JobState.starting, node="n"): "job 3 starting: loading on n",
        JobEvent(job=3, state=JobState.running): "job 3 running: under way",
        JobEvent(job=3, state=JobState.running, step=11, of_steps=30, node="node-1"): (
            "job 3 running: step 11 of 30 on node-1"
        ),
        JobEvent(job=3, state=JobState.queued, notice="node-1 was lost"): (
            "job 3 queued: waiting; node-1 was lost"
        ),
        gpupool.LinkLost("closed", "tcp://a:1"): (
            "the pool at tcp://a:1 was lost (closed); asking again"
        ),
        gpupool.Caller("user:ada", "free", "token for ada, key k1"): (
            "user:ada (tier free), recognised by token for ada, key k1"
        ),
        Balance(allowance_ms=210_000, used_ms=500, held_ms=60_000, left_ms=149_500): (
            "149.5 s left, 60.0 s held and 0.5 s used of 210.0 s"
        ),
        Receipt(
            job=3,
            outcome=Outcome.succeeded,
            declared_ms=60_000,
            ran_ms=512,
            factor=2,
            held_ms=120_000,
            charged_ms=1_024,
            given_back_ms=118_976,
        ): (
            "job 3 succeeded: declared 60.0 s, ran 0.512 s x 2, held 120.0 s, charged 1.024 s, "
            "118.976 s given back"
        ),
        gpupool.Happening(promise, "admitted"): "2023-11-14T22:13:20.000Z admitted",
        gpupool.QuotaAnswer(1, gpupool.Caller("user:ada", "free", "k1"), Balance(used_ms=500)): (
            "user:ada (tier free), recognised by k1: 0.0 s left, 0.0 s held and 0.5 s used of 0.0 s"
        ),
        gpupool.QuoteAnswer(
            app="emoji",
            size="xlarge",
            declared_ms=30_000,
            cost_ms=60_000,
            left_ms=150_000,
            likely_start=promise,
            promise=promise,
        ): (
            "emoji at size xlarge: declared 30.0 s, costs at most 60.0 s, 150.0 s left then; starts "
            "likely at 2023-11-14T22:13:20.000Z, promised by 2023-11-14T22:13:20.000Z"
        ),
    }
    assert {str(one): text for one, text in lines.items()} == {t: t for t in lines.values()}


def test_the_bytes_of_a_result_are_no_part_of_its_text() -> None:
    picture = gpupool.Picture(b"\x89PNG", Receipt(), Balance(), seed=7)
    assert "PNG" not in repr(picture) and "seed=7" in repr(picture)


def test_a_file_is_there_whole_or_not_at_all_and_as_any_other_is(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "heart.png", b"first")
        write_whole(tmp_path / "heart.png", b"second")
    finally:
        os.umask(before)
    file = tmp_path / "heart.png"
    assert file.read_bytes() == b"second" and file.stat().st_mode & 0o777 == 0o640
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"folder'$"):
        write_whole(tmp_path / "folder", b"third")
    assert sorted(os.listdir(tmp_path)) == ["folder", "heart.png"]
