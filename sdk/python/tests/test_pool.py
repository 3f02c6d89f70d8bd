"""The SDK and a real daemon."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TypeVar

import pytest
from pool_process import PATIENCE_S, PoolProcess

import gpupool
from gpupool import errors, overview
from gpupool.link import Link
from gpupool.messages import JobState, Outcome

PNG = b"\x89PNG\r\n\x1a\n"
LONG = {"prompt": "a red heart", "steps": 10_000, "seed": 7}
Made = TypeVar("Made")


@pytest.fixture
def long_job(pool: gpupool.Pool) -> Iterator[gpupool.Job]:
    """One that runs for minutes, and ends with the test."""
    job = pool.submit("emoji", LONG, duration_s=180)
    yield job
    job.cancel()


def until_running(job: gpupool.Job) -> gpupool.JobEvent:
    for event in job.events():
        if isinstance(event, gpupool.JobEvent) and event.state is JobState.running:
            return event
    raise AssertionError("it ended before it ran")


def until(ask: Callable[[], Made], is_so: Callable[[Made], bool]) -> Made:
    give_up = time.monotonic() + PATIENCE_S
    while not is_so(answer := ask()):
        assert time.monotonic() < give_up, answer
        time.sleep(0.1)
    return answer


def test_a_picture_is_made_and_its_receipt_adds_up(pool: gpupool.Pool, tmp_path: Path) -> None:
    picture = pool.generate("a red heart", seed=7, steps=4, duration_s=15)
    assert picture.content.startswith(PNG) and picture.media_type == "image/png"
    receipt = picture.receipt
    assert (receipt.outcome, receipt.held_ms) == (Outcome.succeeded, 15_000)
    assert receipt.charged_ms + receipt.given_back_ms == receipt.held_ms
    assert picture.balance.used_ms == receipt.charged_ms
    assert receipt.waited_ms is not None and receipt.waited_ms >= 0
    picture.save(tmp_path / "heart.png")
    assert (tmp_path / "heart.png").read_bytes() == picture.content
    assert os.listdir(tmp_path) == ["heart.png"]
    assert pool.generate("a red heart", seed=picture.seed, steps=4).content == picture.content


def test_a_job_tells_where_it_is_from_its_admission_to_its_receipt(pool: gpupool.Pool) -> None:
    job = pool.submit("emoji", {"prompt": "a star", "steps": 5, "seed": 1}, duration_s=20)
    events = [event for event in job.events() if isinstance(event, gpupool.JobEvent)]
    states = [event.state for event in events]
    assert states == sorted(states) and JobState.running in states
    assert job.hold and job.hold.declared_ms == 20_000
    assert events[0].promise.utc is not None
    assert events[-1].of_steps == 5
    receipt = job.receipt()
    assert (receipt.job, receipt.request) == (job.number, job.request)
    assert job.is_done and job.state is JobState.ended
    assert "steps" in job.log().content.decode()
    assert [one.job for one in pool.receipts()] == [job.number]
    assert len(list(job.events())) == len(events)  # again, from the start


def test_the_pool_answers_what_people_ask(pool: gpupool.Pool, user: str) -> None:
    pool.run("nothing")
    quota = pool.quota()
    assert quota.caller.account == f"user:{user}"
    assert quota.caller.recognised_by == f"token for {user}, key k1"
    assert quota.balance.allowance_ms == 210_000
    quote = pool.quote("emoji", duration_s=30)
    assert (quote.cost_ms, quote.balance.left_ms) == (30_000, quota.balance.left_ms)
    (receipt,) = pool.receipts()
    story = pool.explain(receipt.job)
    assert story and all(one.at.utc for one in story)
    (day,) = pool.usage()
    assert (day.jobs, day.succeeded) == (1, 1)
    assert pool.jobs() == []
    assert pool.usage(datetime.now(timezone.utc) + timedelta(days=2)) == []
    pool.changes()


def test_an_operator_operates_and_others_are_forbidden(
    daemon: PoolProcess, pool: gpupool.Pool
) -> None:
    with pytest.raises(gpupool.Forbidden):
        pool.operate("nodes")
    token = daemon.token("root", "--role", "operator")
    with gpupool.Pool(daemon.endpoint, token=token) as root:
        assert root.caller.is_operator
        table = root.operate("nodes")
    assert table.rows and table.columns[0].name == "node"


def test_an_operator_sees_the_whole_pool_and_others_do_not(
    daemon: PoolProcess, user: str, pool: gpupool.Pool, long_job: gpupool.Job
) -> None:
    until_running(long_job)
    with pytest.raises(gpupool.Forbidden) as refused:
        pool.overview()
    assert f"user:{user}" in refused.value.detail
    with gpupool.Pool(daemon.endpoint, token=daemon.token("root", "--role", "operator")) as root:
        assert root.caller.is_operator

        # What a slot does its node says, now and then.
        def is_there(one: gpupool.Overview) -> bool:
            slots = [slot for node in one.nodes for slot in node.slots]
            words = [slot.state for slot in slots if slot.job == long_job.number]
            return words == [gpupool.SlotState.running]

        def is_counted(one: gpupool.Overview) -> bool:
            has_refused = any(errors.name_of(each.code) == "unknown_app" for each in one.refused)
            return has_refused and one.pulse.running > 0

        seen = until(root.overview, is_there)
        # Counts come once a second: the lease of this job, and the refusal of another.
        with pytest.raises(gpupool.UnknownApp):
            pool.submit("no-such-app")
        counted = until(root.overview, is_counted)
    (node,) = seen.nodes
    assert node.state is gpupool.NodeState.healthy and node.devices and node.seen.utc
    (slot,) = [slot for slot in node.slots if slot.job == long_job.number]
    assert (slot.account, slot.app) == (f"user:{user}", "emoji")
    assert slot.since and slot.ends_by - slot.since >= 180_000
    (entry,) = [entry for entry in seen.queue if entry.job == long_job.number]
    assert (entry.account, entry.app, entry.declared_ms) == (f"user:{user}", "emoji", 180_000)
    assert entry.state is JobState.running and entry.node == node.name
    assert seen.started_at <= seen.at <= counted.at
    assert counted.pulse.admitted >= counted.pulse.started >= 1
    assert sum(counted.pulse.waits.counts) >= 1
    assert len(counted.pulse.waits.counts) == len(overview.WAIT_BOUNDS_US) + 1
    assert counted.ledger.records >= counted.ledger.commits >= 1


def test_a_picture_is_seen_as_it_forms(pool: gpupool.Pool, long_job: gpupool.Job) -> None:
    shown: set[bytes] = set()

    def has_changed(one: bytes | None) -> bool:
        shown.update([one] if one else [])
        return len(shown) > 1

    until(long_job.preview, has_changed)
    assert all(one.startswith(PNG) for one in shown)
    long_job.cancel()
    assert long_job.preview() is None
    nothing = pool.submit("nothing")
    nothing.wait(PATIENCE_S)
    assert nothing.preview() is None


# ---- Refusals ------------------------------------------------------------------------------------


def test_quota_that_is_held_is_refused_with_its_numbers(
    pool: gpupool.Pool, long_job: gpupool.Job
) -> None:
    with pytest.raises(gpupool.QuotaExceeded) as refused:
        pool.submit("emoji", LONG, duration_s=60)
    error = refused.value
    assert (error.want, error.have) == (60_000, 30_000)
    assert (error.cost_ms, error.left_ms, error.held_ms) == (60_000, 30_000, 180_000)
    assert error.longest_ms() == 30_000
    assert error.resets_at and error.resets_at.utc and error.held_until
    assert "60.0 s requested" in str(error) and error.hint
    with pytest.raises(gpupool.QuotaExceeded) as quoted:
        pool.quote("emoji", duration_s=60)
    assert quoted.value.want == error.want
    assert error.refusal and pool.explain(error.refusal.request)


@pytest.mark.parametrize(
    ("app", "arguments", "options", "kind"),
    [
        ("emoji", {"prompt": "x", "stepz": 3}, {}, gpupool.BadRequest),
        ("emoji", {}, {}, gpupool.BadRequest),
        ("emoji", {"prompt": "x" * 40_000}, {}, gpupool.BadRequest),
        ("no-such-app", {}, {}, gpupool.UnknownApp),
        ("nothing", {}, {"duration_s": 181}, gpupool.IllegalDuration),
        ("nothing", {}, {"size": "huge"}, gpupool.BadRequest),
    ],
    ids=["key", "nothing", "too long", "app", "duration", "size"],
)
def test_what_is_not_admitted_is_refused_by_its_class(
    pool: gpupool.Pool,
    app: str,
    arguments: dict[str, str | int],
    options: dict[str, str],
    kind: type[gpupool.Refused],
) -> None:
    with pytest.raises(kind) as refused:
        pool.submit(app, arguments, **options)  # type: ignore[arg-type]
    assert refused.value.refusal and str(refused.value)
    assert pool.jobs() == []


def test_a_wrong_token_is_never_taken_for_nobody(daemon: PoolProcess) -> None:
    good = daemon.token("ada")
    wrong = good[:-4] + ("AAAA" if not good.endswith("AAAA") else "BBBB")
    for token in ("nonsense", wrong, "", "x" * 5_000):
        with pytest.raises(gpupool.Unauthenticated) as refused:
            gpupool.Pool(daemon.endpoint, token=token)
        assert refused.value.detail
        assert not token or token not in str(refused.value)


def test_a_request_that_is_sent_again_under_its_id_is_the_same_job(pool: gpupool.Pool) -> None:
    request = gpupool.new_request_id()
    first = pool.submit("nothing", request=request)
    first.wait(PATIENCE_S)
    again = pool.submit("nothing", request=request)
    assert again.number == first.number
    assert again.receipt(PATIENCE_S) == first.receipt()
    with pytest.raises(gpupool.IdReused):
        pool.submit("nothing", duration_s=7, request=request)
    old = uuid.UUID(int=request.int - (49 * 3600 * 1000 << 80))
    with pytest.raises(gpupool.IdExpired) as refused:
        pool.submit("nothing", request=old)
    assert refused.value.have == 48 * 3600 * 1000


# ---- Following, cancelling, leaving --------------------------------------------------------------


def test_a_running_job_is_cancelled_and_gives_back_what_it_did_not_use(
    pool: gpupool.Pool, long_job: gpupool.Job
) -> None:
    until_running(long_job)
    with pytest.raises(gpupool.TimedOut) as late:
        long_job.wait(0.01)
    assert late.value.want == 10
    done = long_job.cancel()
    assert done.receipt.outcome is Outcome.cancelled
    assert 0 < done.receipt.charged_ms < done.receipt.held_ms
    with pytest.raises(gpupool.JobCancelled) as cancelled:
        long_job.result()
    assert cancelled.value.receipt == done.receipt
    assert long_job.cancel().receipt == done.receipt


def test_a_job_that_outlasts_its_declared_end_is_expired(pool: gpupool.Pool) -> None:
    with pytest.raises(gpupool.JobExpired) as expired:
        pool.run("emoji", LONG, duration_s=1)
    assert expired.value.receipt.charged_ms == 1_000
    assert expired.value.balance.used_ms == 1_000


def test_a_detached_job_goes_on_and_is_watched_from_elsewhere(
    daemon: PoolProcess, user: str
) -> None:
    token = daemon.token(user)
    arguments = {"prompt": "a star", "steps": 20, "seed": 1}
    with gpupool.Pool(daemon.endpoint, token=token) as first:
        number = first.submit("emoji", arguments, detached=True).number
    with gpupool.Pool(daemon.endpoint, token=token) as second:
        assert second.watch(number).result(PATIENCE_S).startswith(PNG)
        assert second.watch(number).receipt().job == number  # of one that is over
        with pytest.raises(gpupool.JobUnknown):
            second.watch(number + 1_000)


def test_what_waits_when_a_pool_is_closed_hears_it(daemon: PoolProcess, user: str) -> None:
    token = daemon.token(user)
    pool = gpupool.Pool(daemon.endpoint, token=token)
    job = pool.submit("emoji", LONG, duration_s=60)
    pool.close()
    pool.close()
    with pytest.raises(gpupool.NotConnected, match="closed"):
        job.wait(PATIENCE_S)
    with pytest.raises(gpupool.NotConnected, match="closed"):
        pool.quota()
    with gpupool.Pool(daemon.endpoint, token=token) as again:
        assert again.watch(job.number).cancel().receipt.outcome is Outcome.cancelled


def test_several_threads_share_a_pool(pool: gpupool.Pool) -> None:
    numbers: list[int] = []

    def work() -> None:
        numbers.extend(pool.run("nothing", duration_s=1).receipt.job for _ in range(4))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(set(numbers)) == 24


def test_a_pool_does_not_go_through_fork(pool: gpupool.Pool) -> None:
    job = pool.submit("emoji", LONG)
    asked: list[Callable[[], object]] = [pool.quota, job.wait, job.cancel]
    asked.append(lambda: list(job.events()))
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)  # what would wait for ever is ended by it
        heard = 0
        for ask in asked:
            try:
                ask()
            except gpupool.NotConnected as error:
                heard += "fork" in str(error)
        pool.close()
        os._exit(0 if heard == len(asked) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert job.cancel().receipt.outcome is Outcome.cancelled


def test_a_program_that_forgets_to_close_its_pool_ends_all_the_same(daemon: PoolProcess) -> None:
    program = "import gpupool; pool = gpupool.Pool(); print(pool.quota().balance.left_ms)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "GPUPOOL_ENDPOINT": daemon.endpoint,
            "GPUPOOL_TOKEN": daemon.token("bob"),
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "210000\n", "")


def test_a_bar_shows_the_steps(pool: gpupool.Pool) -> None:
    out = io.StringIO()
    with gpupool.Bar(file=out) as bar:
        pool.generate("a star", steps=6, progress=bar)
    assert "step 6 of 6 on node-1" in out.getvalue() and "6/6" in out.getvalue()


# ---- Encryption, loss and restart ----------------------------------------------------------------


def test_a_pool_that_encrypts_is_reached_with_its_key_alone(
    new_pool: Callable[..., PoolProcess],
) -> None:
    own = new_pool(curve=True)
    token = own.token("ada")
    key_file = own.folder / "curve.public"
    with gpupool.Pool(own.endpoint, token=token, server_key=f"@{key_file}") as pool:
        assert pool.run("nothing").receipt.outcome is Outcome.succeeded
    # Who closes first decides whether the client learns why, or that the connection was closed.
    with pytest.raises(gpupool.NotConnected, match="takes encrypted (connections|ones) only"):
        gpupool.Pool(own.endpoint, token=token)
    wrong = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
    with pytest.raises(gpupool.NotConnected, match="is not the pool of this server_key"):
        gpupool.Pool(own.endpoint, token=token, server_key=wrong, connect_timeout_s=2)


def test_a_plain_pool_says_that_it_does_not_encrypt(daemon: PoolProcess) -> None:
    key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
    with pytest.raises(gpupool.NotConnected, match="does not encrypt"):
        gpupool.Pool(daemon.endpoint, token=daemon.token("ada"), server_key=key)


def test_a_connection_that_is_closed_before_the_hello_is_written_has_said_why(
    daemon: PoolProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(link: Link, frame: bytes) -> bool:
        assert link.monitor.poll(20_000)
        return False

    monkeypatch.setattr(Link, "send", send)
    key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
    with pytest.raises(gpupool.NotConnected, match="does not encrypt"):
        gpupool.Pool(daemon.endpoint, token="any", server_key=key)


def test_after_kill_9_and_a_restart_elsewhere_a_job_goes_on_under_its_id(
    new_pool: Callable[..., PoolProcess],
) -> None:
    own = new_pool(file=True)
    other = f"ipc://{own.folder}/other.sock"
    endpoints = [own.endpoint, other]
    with gpupool.Pool(endpoints, token=own.token("ada"), reconnect_for_s=60) as pool:
        arguments = {"prompt": "a star", "steps": 60, "seed": 1}
        job = pool.submit("emoji", arguments, duration_s=60)
        until_running(job)
        own.kill()
        own.endpoint = other
        own.start()
        finished = job.finish(PATIENCE_S)
        assert finished.content.startswith(PNG) and pool.endpoint == other
        lost = [event for event in job.events() if isinstance(event, gpupool.LinkLost)]
        found = [event for event in job.events() if isinstance(event, gpupool.LinkRestored)]
        assert [one.endpoint for one in lost] == endpoints[:1]
        assert [one.endpoint for one in found] == [other]
        assert [receipt.job for receipt in pool.receipts()] == [job.number]


def test_a_pool_that_is_gone_for_good_ends_what_waits_and_the_job_can_be_watched_later(
    new_pool: Callable[..., PoolProcess],
) -> None:
    own = new_pool(file=True)
    token = own.token("ada")
    with gpupool.Pool(own.endpoint, token=token, reconnect_for_s=0.5) as pool:
        job = pool.submit("emoji", LONG, duration_s=60, detached=True)
        until_running(job)
        own.kill()
        with pytest.raises(gpupool.NotConnected, match="no pool answers at"):
            job.wait(PATIENCE_S)
        assert isinstance(list(job.events())[-1], gpupool.LinkLost)
        with pytest.raises(gpupool.NotConnected):
            pool.quota()
    own.start()
    with gpupool.Pool(own.endpoint, token=token) as later:
        assert later.watch(job.number).cancel().receipt.outcome is Outcome.cancelled
