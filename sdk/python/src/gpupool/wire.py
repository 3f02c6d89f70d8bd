"""The client protocol's bytes (net/PROTOCOL.md): frames <-> the structs of gpupool.questions.

A frame is the msgpack array [type, body]; bodies are append-only lists of fields, which is how
releases understand each other: what is missing has its default, what is unknown is passed over.
Reading raises `MalformedFrame`, `FrameTooLarge` or `UnknownMessage` and nothing else, whatever the
bytes are. Pure; any thread.
"""

from __future__ import annotations

import dataclasses
import enum
import typing
import uuid
from typing import Annotated, Any, Callable

import msgpack

from gpupool import errors, limits
from gpupool.messages import BoxedText, Whole
from gpupool.questions import TYPES, FromClient, FromPool, Hello
from gpupool.values import Instant

CLIENT_TYPE_MAX = 63  # larger ones come from the pool
TYPE_MAX = 127
WIDE = Whole(0, 2**64 - 1)
NUMBERS = {kind: number for number, kind in TYPES.items()}

Pack = Callable[[Any], Any]
Unpack = Callable[[Any], Any]


class Codec(typing.NamedTuple):
    """From a value to what msgpack writes, and back; reading raises ValueError."""

    pack: Pack
    unpack: Unpack


def encode(message: FromClient | FromPool) -> bytes:
    """The frame of a message. FrameTooLarge; BadRequest for text that is no UTF-8, an integer
    that its field cannot hold, or a value of another type."""
    try:
        body = codec_of(type(message)).pack(message)
    except (ValueError, TypeError, AttributeError) as error:
        raise errors.BadRequest(f"{type(message).__name__}: {error}") from None
    # Bytes that are no text are msgpack strings too, so they pass through as one.
    frame: bytes = msgpack.packb(
        [NUMBERS[type(message)], body], use_bin_type=True, unicode_errors="surrogateescape"
    )
    if len(frame) > limits.FRAME_BYTES_MAX:
        raise errors.FrameTooLarge(want=len(frame), have=limits.FRAME_BYTES_MAX)
    return frame


def decode_from_pool(frame: bytes) -> FromPool:
    """What the pool sent to a client."""
    number, body = _opened(frame)
    if number <= CLIENT_TYPE_MAX or number not in TYPES:
        raise errors.UnknownMessage(want=number)
    return typing.cast(FromPool, _body(frame, number, body))


def decode_from_client(frame: bytes) -> FromClient:
    """What a client sent to the pool; for tests and tools."""
    number, body = _opened(frame)
    if number > CLIENT_TYPE_MAX or number not in TYPES:
        raise errors.UnknownMessage(want=number)
    message = typing.cast(FromClient, _body(frame, number, body))
    if isinstance(message, Hello) and message.version != Hello().version:
        raise errors.VersionMismatch(want=message.version, have=Hello().version)
    return message


def _opened(frame: bytes) -> tuple[int, Any]:
    if len(frame) > limits.FRAME_BYTES_MAX:
        raise errors.FrameTooLarge(want=len(frame), have=limits.FRAME_BYTES_MAX)
    try:
        # No part is longer than the frame: unpackb sets its own bounds by the length of its input.
        whole = msgpack.unpackb(frame, raw=True, use_list=True, strict_map_key=False)
    except Exception:  # one of many kinds of msgpack, or what a map's odd key raises
        raise errors.MalformedFrame("no msgpack", have=len(frame)) from None
    if not isinstance(whole, list) or len(whole) != 2:
        raise errors.MalformedFrame("no array of a type and a body", have=len(frame))
    number = whole[0]
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= TYPE_MAX:
        raise errors.MalformedFrame("a type is from 1 to 127", have=len(frame))
    return number, whole[1]


def _body(frame: bytes, number: int, body: Any) -> object:
    kind = TYPES[number]
    try:
        return codec_of(kind).unpack(body)
    except ValueError as error:
        raise errors.MalformedFrame(f"{kind.__name__}: {error}", have=len(frame)) from None


# ---- One codec for each type of field ------------------------------------------------------------


_codecs: dict[Any, Codec] = {}


def codec_of(kind: Any) -> Codec:
    """Of a struct, a list of one type, or a scalar with what its annotation says."""
    found = _codecs.get(kind)
    if found is None:
        found = _codecs[kind] = _make_codec(kind)
    return found


def _make_codec(kind: Any) -> Codec:
    if typing.get_origin(kind) is Annotated:
        rule = kind.__metadata__[0]
        return _boxed_text() if isinstance(rule, BoxedText) else _whole(rule, int)
    if typing.get_origin(kind) is tuple:
        return _many(codec_of(typing.get_args(kind)[0]))
    if dataclasses.is_dataclass(kind):
        return _struct(typing.cast(type, kind))
    if kind is Instant:
        return _whole(Whole(-(2**63), 2**63 - 1, boxed=True), Instant)
    if kind is uuid.UUID:
        return _uuid()
    if isinstance(kind, type) and issubclass(kind, enum.IntEnum):
        return _whole(Whole(0, 255), kind)
    return _scalars[kind]


def _struct(kind: type) -> Codec:
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = [(field.name, codec_of(hints[field.name])) for field in dataclasses.fields(kind)]

    def pack(value: Any) -> Any:
        return [codec.pack(getattr(value, name)) for name, codec in fields]

    def unpack(value: Any) -> Any:
        if not isinstance(value, list):
            raise ValueError(f"{kind.__name__} is no array")
        read = {}
        for (name, codec), item in zip(fields, value):
            try:
                read[name] = codec.unpack(item)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return kind(**read)

    return Codec(pack, unpack)


def _many(item: Codec) -> Codec:
    def unpack(value: Any) -> Any:
        if not isinstance(value, list):
            raise ValueError("no array")
        return tuple([item.unpack(one) for one in value])

    return Codec(lambda value: [item.pack(one) for one in value], unpack)


def _only(value: Any) -> Any:
    """What stands alone in an array; a newer pool may have put more behind it, an older one
    nothing."""
    if not isinstance(value, list):
        raise ValueError("no array of one")
    return value[0] if value else None


def _whole(rule: Whole, kind: Callable[[int], Any]) -> Codec:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("no integer")
        if not rule.least <= value <= rule.most:
            raise ValueError(f"{int(value)} is not from {rule.least} to {rule.most}")
        return int(value)

    def unpack_boxed(value: Any) -> Any:
        only = _only(value)
        return kind(0 if only is None and not value else check(only))

    if rule.boxed:
        return Codec(lambda value: [check(value)], unpack_boxed)
    return Codec(check, lambda value: kind(check(value)))


def _uuid() -> Codec:
    half = _whole(WIDE, int)

    def unpack(value: Any) -> Any:
        if not isinstance(value, list):
            raise ValueError("a request id is no array")
        high, low = ([half.unpack(one) for one in value[:2]] + [0, 0])[:2]
        return uuid.UUID(int=high << 64 | low)

    def pack(value: Any) -> Any:
        if not isinstance(value, uuid.UUID):
            raise ValueError(f"no request id: {value!r}")
        return [value.int >> 64, value.int & WIDE.most]

    return Codec(pack, unpack)


def _pack_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"no text: {value!r}")
    value.encode()  # a lone surrogate would pass for the bytes of something else
    return value


def _unpack_text(value: Any) -> str:
    if not isinstance(value, bytes):
        raise ValueError("no text")
    return value.decode(errors="replace")


def _boxed_text() -> Codec:
    def unpack(value: Any) -> str:
        only = _only(value)
        return "" if only is None and not value else _unpack_text(only)

    return Codec(lambda value: [_pack_text(value)], unpack)


def _unpack_bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("no bytes")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("no truth value")
    return value


_scalars: dict[Any, Codec] = {
    str: Codec(_pack_text, _unpack_text),
    bytes: Codec(lambda value: value.decode(errors="surrogateescape"), _unpack_bytes),
    bool: Codec(_truth, _truth),
}
