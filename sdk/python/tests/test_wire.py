"""The codec against the bytes, structs, errors and limits of the C++ side: the same files."""

from __future__ import annotations

import dataclasses
import random
import re
import uuid
from enum import IntEnum
from pathlib import Path
from typing import Any

import msgpack
import pytest
from pool_process import SOURCE

from gpupool import errors, limits, messages, overview, questions, wire
from gpupool.questions import TYPES

GOLDEN = sorted((SOURCE / "tests" / "golden").glob("*.hex"))


def stem(path: Path) -> str:
    return path.stem


def read_bytes(path: Path) -> bytes:
    return bytes.fromhex("".join(path.read_text().split()))


def decode(frame: bytes) -> questions.FromClient | questions.FromPool:
    if frame[1] <= wire.CLIENT_TYPE_MAX:
        return wire.decode_from_client(frame)
    return wire.decode_from_pool(frame)


def is_newest(path: Path) -> bool:
    name, _, number = path.stem.rpartition("-")
    return not path.with_name(f"{name}-{int(number) + 1}.hex").exists()


def with_fields(frame: bytes, count: int) -> bytes:
    """The frame with so many fields; more than it has are filled up with nils."""
    number, body = msgpack.unpackb(frame, raw=True)
    body = (body + [None] * count)[:count]
    packed: bytes = msgpack.packb([number, body], use_bin_type=False)
    return packed


@pytest.mark.parametrize("path", GOLDEN, ids=stem)
def test_golden_bytes_of_every_release_decode_and_the_newest_encode_to_the_same(
    path: Path,
) -> None:
    frame = read_bytes(path)
    again = wire.encode(decode(frame))
    assert again[:2] == frame[:2]
    if is_newest(path):
        assert again == frame


def test_every_message_has_a_golden_vector() -> None:
    names = {path.stem.rpartition("-")[0] for path in GOLDEN}
    for kind in TYPES.values():
        assert re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower() in names


@pytest.mark.parametrize("path", [p for p in GOLDEN if is_newest(p)], ids=stem)
def test_missing_trailing_fields_have_their_defaults_and_unknown_ones_are_passed_over(
    path: Path,
) -> None:
    frame = read_bytes(path)
    whole: Any = decode(frame)
    fields = dataclasses.fields(whole)
    fewest = 2 if isinstance(whole, questions.Hello) else 0
    for count in range(fewest, len(fields)):
        part = decode(with_fields(frame, count))
        kept = [getattr(whole, field.name) for field in fields[:count]]
        default = [getattr(type(whole)(), field.name) for field in fields[count:]]
        assert [getattr(part, field.name) for field in fields] == kept + default
    assert decode(with_fields(frame, len(fields) + 2)) == whole


def cpp_fields() -> dict[str, list[str]]:
    """The fields of every struct of the messages, as C++ lists them for its own codec."""
    found = {}
    for path in (*(SOURCE / "actors" / "messages").glob("*.h"), SOURCE / "net" / "wire.h"):
        pattern = r"struct (\w+) \{(?:(?!\nstruct ).)*?std::tie\(([^)]*)\)"
        for name, fields in re.findall(pattern, path.read_text(), re.DOTALL):
            found[name] = [field.strip() for field in fields.split(",")]
    return found


def test_fields_have_the_order_and_the_names_of_the_structs_in_cpp() -> None:
    theirs = cpp_fields()
    kinds: list[Any] = [*vars(messages).values(), *vars(overview).values(), *TYPES.values()]
    ours = [kind for kind in kinds if getattr(kind, "__name__", "") in theirs]
    assert len(ours) > 58
    for kind in ours:
        # from is a keyword here.
        names = [re.sub("_(ms)?$", "", field.name) for field in dataclasses.fields(kind)]
        wanted = theirs[kind.__name__]
        if kind in (questions.ResultChunk, questions.LogChunk, questions.ClientUpload):
            wanted = ["content" if name == "bytes" else name for name in wanted]
        assert names == wanted, kind.__name__


def test_every_part_of_the_overview_is_known() -> None:
    theirs = re.findall(
        r"^struct (\w+) \{",
        (SOURCE / "actors" / "messages" / "overview.h").read_text(),
        re.MULTILINE,
    )
    assert len(theirs) > 8
    assert [name for name in theirs if not hasattr(overview, name)] == []


@pytest.mark.parametrize("kind", [overview.NodeState, overview.SlotState])
def test_the_states_of_nodes_and_slots_are_those_of_the_pool(kind: type[IntEnum]) -> None:
    headers = (SOURCE / "actors" / "messages").glob("*.h")
    text = "".join(path.read_text() for path in headers)
    (words,) = re.findall(rf"enum class {kind.__name__} : std::uint8_t \{{([^}}]*)\}}", text)
    found = {name: int(number) for name, number in re.findall(r"(\w+) = (\d+)", words)}
    assert {"none": 0, **found} == {word.name: word.value for word in kind}


def test_the_bounds_of_buckets_are_those_of_the_pool() -> None:
    text = (SOURCE / "actors" / "messages" / "overview.h").read_text()
    found = re.findall(r"std::array<std::int64_t, \d+> (\w+)\{([^}]*)\}", text)
    assert len(found) == 3
    for name, bounds in found:
        theirs = tuple(int(bound.replace("'", "")) for bound in bounds.split(","))
        assert getattr(overview, name.upper()) == theirs, name


def test_types_are_those_of_the_protocol() -> None:
    text = (SOURCE / "net" / "wire.cpp").read_text()
    found = re.findall(r"type_of<(\w+)> = (\d+);", text)
    assert {int(number): name for name, number in found} == {
        number: kind.__name__ for number, kind in TYPES.items()
    }


def test_errors_are_those_of_the_pool() -> None:
    text = (SOURCE / "base" / "errors.def").read_text()
    found = re.findall(r'^GPUPOOL_ERROR\((\d+), (\w+), "([^"]*)"\)', text, re.MULTILINE)
    assert {int(number): (name, unit) for number, name, unit in found} == errors.TABLE


def test_limits_are_those_of_the_pool() -> None:
    text = (SOURCE / "config" / "limits.h").read_text()
    found = dict(re.findall(r"std::int64_t (\w+) =\s*([^;]+);", text))
    ours = {name: value for name, value in vars(limits).items() if name.isupper()}
    assert len(ours) > 8
    for name, value in ours.items():
        product = 1
        for factor in found[name.lower()].split("*"):
            product *= int(re.sub(r"[ 'LU]", "", factor))
        assert value == product, name


# ---- Bad bytes -----------------------------------------------------------------------------------


def test_random_bytes_never_do_anything_but_be_refused() -> None:
    rng = random.Random(7)
    frames = [read_bytes(path) for path in GOLDEN]
    read = 0
    for _ in range(20_000):
        frame = bytearray(rng.choice(frames))
        for _ in range(rng.randint(1, 4)):
            frame[rng.randrange(len(frame))] = rng.randrange(256)
        if rng.random() < 0.2:
            del frame[rng.randrange(len(frame)) :]
        try:
            wire.decode_from_pool(bytes(frame))
            read += 1
        except (errors.MalformedFrame, errors.UnknownMessage):
            pass
    assert read > 100  # what was changed was often a text or a number


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x92",
        b"\x92\x40",
        b"\xc1",
        b"\x93\x40\x90\x90",
        b"\x92\xc3\x90",
        b"\x92\xcc\x80\x90",
        b"\x92\x00\x90",
        b"\x92\x40\xc0",
        b"\x92\x42\x91\xff",
        b"\x92\x42\x91\xa1x",
        b"\x92\x41\x92\x01\xce\x00\x01\x00\x00",
        b"\x92\x51\x91\x90",
        b"\x92\x47\x91\x05",
        b"\x92\x42\x91\x01\x00",
        b"\x92\x42" + b"\x91" * 200_000,
        b"\x92\x42\xdd\xff\xff\xff\xff",
        b"\x92\x42\xc6\xff\xff\xff\xff",
        b"\x92\x42\x81\x90\x01",
        b"\x92\x42\xd6\xff\x00\x00\x00\x00",
    ],
    ids=lambda frame: frame[:8].hex() or "empty",
)
def test_what_is_no_message_is_malformed(frame: bytes) -> None:
    with pytest.raises(errors.MalformedFrame) as refused:
        wire.decode_from_pool(frame)
    assert refused.value.have == len(frame)


def test_frames_are_bounded_both_ways() -> None:
    most = limits.FRAME_BYTES_MAX
    with pytest.raises(errors.FrameTooLarge) as refused:
        wire.decode_from_pool(b"\x92\x42\x91\x01" + bytes(most))
    assert (refused.value.want, refused.value.have) == (most + 4, most)
    with pytest.raises(errors.FrameTooLarge) as refused:
        wire.encode(questions.Hello(token="x" * most))
    assert refused.value.have == most


def test_an_unknown_type_is_told_apart() -> None:
    with pytest.raises(errors.UnknownMessage) as refused:
        wire.decode_from_pool(b"\x92\x7f\x90")
    assert refused.value.want == 127
    with pytest.raises(errors.UnknownMessage):
        wire.decode_from_pool(wire.encode(questions.Bye()))


def test_a_hello_of_another_version_is_told_apart() -> None:
    with pytest.raises(errors.VersionMismatch) as refused:
        wire.decode_from_client(wire.encode(questions.Hello(version=2)))
    assert (refused.value.want, refused.value.have) == (2, 1)


@pytest.mark.parametrize(
    "message",
    [
        questions.ClientQuota(query=-1),
        questions.ClientQuota(query=2**64),
        questions.ClientReceipts(limit=2**32),
        questions.ClientOperate(words=("\ud800",)),
        questions.ClientSubmit(body=messages.JobRequest(declared_ms=2**63)),
    ],
    ids=["negative", "65 bits", "33 bits", "lone surrogate", "64 bits signed"],
)
def test_what_a_field_cannot_hold_is_refused_before_it_is_sent(
    message: questions.FromClient,
) -> None:
    with pytest.raises(errors.BadRequest):
        wire.encode(message)


def test_numbers_that_only_a_newer_pool_has_names_for_stay_what_they_are() -> None:
    frame = wire.encode(questions.JobEvent(state=messages.JobState(9)))
    event = wire.decode_from_pool(frame)
    assert isinstance(event, questions.JobEvent)
    assert (event.state, event.state.name) == (9, "unknown_9")
    assert wire.encode(event) == frame
    slot = overview.SlotView(state=overview.SlotState(9))
    node = overview.NodeView(state=overview.NodeState(9), slots=(slot,))
    frame = wire.encode(questions.OverviewAnswer(overview=overview.Overview(nodes=(node,))))
    answer = wire.decode_from_pool(frame)
    assert isinstance(answer, questions.OverviewAnswer)
    (seen,) = answer.overview.nodes
    assert seen == node and (seen.state.name, seen.slots[0].state.name) == ("unknown_9",) * 2
    assert wire.encode(answer) == frame
    error = errors.error_of(999, "it is new")
    assert (type(error), error.number, error.code) == (errors.PoolError, 999, "error_999")


def test_bytes_that_are_no_text_pass_unchanged() -> None:
    content = bytes(range(256))
    chunk = wire.decode_from_pool(wire.encode(questions.ResultChunk(content=content)))
    assert isinstance(chunk, questions.ResultChunk)
    assert chunk.content == content


def test_a_request_id_is_two_halves_of_a_uuid() -> None:
    request = uuid.UUID("0190a6c1-2f3a-7b10-8c4d-5e6f70819293")
    frame = wire.encode(questions.ClientExplain(request=request))
    halves = msgpack.unpackb(frame)[1][2]
    assert halves == [0x0190A6C12F3A7B10, 0x8C4D5E6F70819293]
    message = wire.decode_from_client(frame)
    assert isinstance(message, questions.ClientExplain)
    assert message.request == request
