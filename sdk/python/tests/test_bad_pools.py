"""Pools that say wrong things, too much or nothing: an error in time, and never a wrong result."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import zmq
from fake_pool import HEARTBEAT_MS, Answers, FakePool, usual

import gpupool
from gpupool import limits, wire
from gpupool.messages import Caller, Outcome, Receipt, ResultRef
from gpupool.questions import (
    ClientFetch,
    ClientPing,
    ClientQuota,
    ClientSubmit,
    FromClient,
    Hello,
    JobDone,
    JobEvent,
    QuotaAnswer,
    ResultChunk,
    SessionError,
    SessionNotice,
    SessionWelcome,
)

CONTENT = bytes(range(256)) * 512  # 131,072 bytes: three pieces
HASH = hashlib.sha256(CONTENT).hexdigest()


def connect(
    endpoint: str | list[str],
    *,
    connect_timeout_s: float = 20,
    answer_timeout_s: float = 20,
    announced: Callable[[str], None] | None = None,
) -> gpupool.Pool:
    return gpupool.Pool(
        endpoint,
        connect_timeout_s=connect_timeout_s,
        answer_timeout_s=answer_timeout_s,
        announced=announced,
    )


def test_a_pool_of_another_version_says_both() -> None:
    def answer(message: FromClient) -> Answers:
        return [SessionError(code=303, want=1, have=2)] if isinstance(message, Hello) else []

    with FakePool(answer) as fake, pytest.raises(gpupool.VersionMismatch) as error:
        connect(fake.endpoint)
    assert (error.value.want, error.value.have, error.value.unit) == (1, 2, "version")


def test_a_welcome_that_cannot_be_read_is_none() -> None:
    def answer(message: FromClient) -> Answers:
        return [b"\x92\x40\x05", b"", b"\xc1" * 100, b"\x92\x40" + b"\x91" * 50_000]

    with FakePool(answer) as fake, pytest.raises(gpupool.NotConnected, match=fake.endpoint):
        connect(fake.endpoint, connect_timeout_s=0.5)


def test_frames_that_cannot_be_read_do_not_keep_the_others_from_being_read() -> None:
    def answer(message: FromClient) -> Answers:
        if isinstance(message, ClientQuota):
            good = QuotaAnswer(query=message.query, caller=Caller(account="user:ada"))
            return [b"\x92\x49\x05", b"nonsense", b"\x92\x7f\x90", wire.encode(good)[:-1], good]
        return usual(message)

    with FakePool(answer) as fake, connect(fake.endpoint) as pool:
        assert pool.quota().caller.account == "user:ada"


def test_what_follows_the_first_frame_of_a_message_is_passed_over() -> None:
    def answer(message: FromClient) -> Answers:
        if isinstance(message, ClientQuota):
            frame = wire.encode(QuotaAnswer(query=message.query))
            return [[frame, b"more", wire.encode(SessionNotice("in the wrong place"))]]
        return usual(message)

    heard: list[str] = []
    with FakePool(answer) as fake, connect(fake.endpoint, announced=heard.append) as pool:
        assert pool.quota() and pool.quota()
    assert heard == []


def test_a_frame_beyond_the_bound_ends_the_connection_and_never_the_client() -> None:
    quotas = 0

    def answer(message: FromClient) -> Answers:
        nonlocal quotas
        if not isinstance(message, ClientQuota):
            return usual(message)
        quotas += 1
        if quotas == 1:
            return [bytes(limits.FRAME_BYTES_MAX + 1)]
        return [QuotaAnswer(query=message.query)]

    with FakePool(answer) as fake, connect(fake.endpoint) as pool:
        pool.quota()  # asked again on the connection after it
        assert quotas == 2


def test_a_question_that_nobody_answers_ends_with_its_time() -> None:
    with FakePool() as fake, connect(fake.endpoint, answer_timeout_s=0.3) as pool:
        with pytest.raises(gpupool.TimedOut) as error:
            pool.quota()
    assert error.value.want == 300


def test_a_pool_without_pongs_is_lost_and_connected_anew() -> None:
    hellos = 0

    def answer(message: FromClient) -> Answers:
        nonlocal hellos
        if isinstance(message, Hello):
            hellos += 1
            return [SessionWelcome(heartbeat_ms=50 if hellos == 1 else HEARTBEAT_MS)]
        if isinstance(message, ClientPing) and hellos == 1:
            return []
        if isinstance(message, ClientQuota) and hellos > 1:
            return [QuotaAnswer(query=message.query)]
        return usual(message)

    with FakePool(answer) as fake, connect(fake.endpoint) as pool:
        assert pool.quota() and hellos == 2


@pytest.fixture
def silent() -> Iterator[str]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


def test_a_port_that_says_nothing_does_not_keep_a_client_from_the_other_endpoint(
    silent: str,
) -> None:
    with FakePool() as fake, connect([silent, fake.endpoint]) as pool:
        assert pool.endpoint == fake.endpoint
        assert pool.welcome.pool == "fake"


def test_a_port_that_says_nothing_is_given_up_after_the_agreed_time(silent: str) -> None:
    with pytest.raises(gpupool.NotConnected, match=silent):
        connect(silent, connect_timeout_s=0.3)


def test_a_port_that_speaks_another_protocol_is_no_pool() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    with server.accept()[0] as one:
                        one.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        endpoint = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        try:
            with pytest.raises(gpupool.NotConnected, match="127.0.0.1"):
                connect(endpoint, connect_timeout_s=0.5)
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(20)
    assert not thread.is_alive()


def test_nobody_at_all_is_named_with_where(nobody: str) -> None:
    with pytest.raises(gpupool.NotConnected, match=f"no pool answers at {nobody}"):
        connect(nobody, connect_timeout_s=0.3)


# ---- Results -------------------------------------------------------------------------------------


def finishes(
    result: ResultRef,
    piece: Callable[[ClientFetch], ResultChunk],
    outcome: Outcome = Outcome.succeeded,
) -> Callable[[FromClient], Answers]:
    """A pool whose every job is over at once, with a result that it hands out so."""

    def answer(message: FromClient) -> Answers:
        if isinstance(message, ClientSubmit):
            receipt = Receipt(job=7, request=message.request, outcome=outcome, result=result)
            return [JobEvent(job=7, request=message.request), JobDone(receipt=receipt)]
        return [piece(message)] if isinstance(message, ClientFetch) else usual(message)

    return answer


def piece_of(content: bytes, total: int | None = None) -> Callable[[ClientFetch], ResultChunk]:
    def piece(asked: ClientFetch) -> ResultChunk:
        part = content[asked.offset : asked.offset + limits.CHUNK_BYTES_MAX]
        whole = len(content) if total is None else total
        return ResultChunk(asked.query, 1, asked.job, asked.offset, whole, part)

    return piece


def test_a_result_comes_in_pieces_and_is_what_the_receipt_says() -> None:
    result = ResultRef(HASH, len(CONTENT), "application/octet-stream")
    with FakePool(finishes(result, piece_of(CONTENT))) as fake, connect(fake.endpoint) as pool:
        finished = pool.run("any")
    assert finished.content == CONTENT
    assert finished.media_type == "application/octet-stream"


def test_a_result_of_64_mib_passes_piece_by_piece() -> None:
    whole = bytes(limits.RESULT_BYTES_MAX)
    result = ResultRef(hashlib.sha256(whole).hexdigest(), len(whole))
    with FakePool(finishes(result, piece_of(whole))) as fake, connect(fake.endpoint) as pool:
        assert pool.run("any").content == whole


@pytest.mark.parametrize(
    "piece",
    [
        piece_of(CONTENT[:-1] + b"x"),
        piece_of(CONTENT[:1000]),
        piece_of(CONTENT[:1000], total=len(CONTENT)),
        piece_of(CONTENT + b"more"),
        lambda asked: ResultChunk(asked.query, 1, 8, asked.offset, len(CONTENT), CONTENT[:10]),
        lambda asked: ResultChunk(asked.query, 1, 7, 5, len(CONTENT), CONTENT[:10]),
        lambda asked: ResultChunk(asked.query, 1, 7, asked.offset, len(CONTENT), b""),
    ],
    ids=["other bytes", "shorter", "ends early", "longer", "other job", "other place", "empty"],
)
def test_a_result_that_is_not_the_receipts_is_not_handed_out(
    piece: Callable[[ClientFetch], ResultChunk],
) -> None:
    with FakePool(finishes(ResultRef(HASH, len(CONTENT)), piece)) as fake:
        with connect(fake.endpoint) as pool, pytest.raises(gpupool.FileMalformed):
            pool.run("any")


@pytest.mark.parametrize("size", [limits.RESULT_BYTES_MAX + 1, -1, 2**63 - 1])
def test_a_result_beyond_the_bounds_is_not_even_asked_for(size: int) -> None:
    def piece(asked: ClientFetch) -> ResultChunk:
        raise AssertionError("it was asked for")

    with FakePool(finishes(ResultRef(HASH, size), piece)) as fake:
        with connect(fake.endpoint) as pool, pytest.raises(gpupool.FileMalformed) as error:
            pool.run("any")
    assert (error.value.want, error.value.have) == (size, limits.RESULT_BYTES_MAX)


def test_a_caller_sets_a_bound_of_its_own() -> None:
    result = ResultRef(HASH, len(CONTENT))
    with FakePool(finishes(result, piece_of(CONTENT))) as fake, connect(fake.endpoint) as pool:
        job = pool.submit("any")
        with pytest.raises(gpupool.FileMalformed) as error:
            job.result(bytes_max=1000)
        assert (error.value.want, error.value.have) == (len(CONTENT), 1000)
        assert job.result(bytes_max=len(CONTENT)) == CONTENT


def test_a_result_that_is_gone_is_an_error_and_so_is_an_end_that_is_none_of_ours() -> None:
    def gone(asked: ClientFetch) -> ResultChunk:
        return ResultChunk(query=asked.query, job=asked.job, error=202)

    with FakePool(finishes(ResultRef(HASH, 5), gone)) as fake, connect(fake.endpoint) as pool:
        with pytest.raises(gpupool.ResultGone):
            pool.run("any")
    with FakePool(finishes(ResultRef(HASH, 5), gone, Outcome(9))) as fake:
        with connect(fake.endpoint) as pool, pytest.raises(gpupool.JobFailed, match="unknown_9"):
            pool.run("any")


def test_progress_that_nobody_reads_is_bounded_and_the_end_is_never_dropped() -> None:
    def answer(message: FromClient) -> Answers:
        if not isinstance(message, ClientSubmit):
            return usual(message)
        events = [JobEvent(job=7, request=message.request, step=n) for n in range(3_000)]
        receipt = Receipt(job=7, request=message.request, outcome=Outcome.succeeded)
        return [*events, JobDone(receipt=receipt)]

    with FakePool(answer) as fake, connect(fake.endpoint) as pool:
        job = pool.submit("any")
        assert job.wait(20).receipt.job == 7
        steps = [event.step for event in job.events() if isinstance(event, JobEvent)]
    assert steps == list(range(2_000, 3_000))


def test_a_token_beyond_every_bound_is_an_error_and_no_endless_attempt() -> None:
    with FakePool() as fake, pytest.raises(gpupool.FrameTooLarge):
        gpupool.Pool(fake.endpoint, token="x" * 300_000)


def test_an_announcement_is_heard_in_the_threads_own_time() -> None:
    heard: list[str] = []

    def answer(message: FromClient) -> Answers:
        if isinstance(message, Hello):
            return [SessionWelcome(heartbeat_ms=HEARTBEAT_MS, announcement="maintenance at noon")]
        return usual(message)

    with FakePool(answer) as fake, connect(fake.endpoint, announced=heard.append) as pool:
        assert pool.welcome.announcement == "maintenance at noon"
    assert heard == ["maintenance at noon"]


def test_a_pool_with_an_endpoint_of_no_known_transport_is_not_connected() -> None:
    with pytest.raises(gpupool.NotConnected, match="cannot connect to"):
        connect("carrier://pigeon")
    assert zmq.has("ipc")
