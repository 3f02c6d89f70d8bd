"""Where the pool is and who asks: from arguments, or the environment variables of the `gpupool`
program (GPUPOOL_ENDPOINT, GPUPOOL_TOKEN, GPUPOOL_SERVER_KEY); and which app lends slots
(GPUPOOL_APP)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from gpupool import errors, limits
from gpupool.engine import Options
from gpupool.pending import Times
from gpupool.values import milliseconds_of

DEFAULT_ENDPOINT = "tcp://127.0.0.1:7400"
DEFAULT_APP = "gpu"  # of leases
# Of a pool with several brokers one may just be taking over: that takes it about five seconds.
_TAKEOVER_CONNECT_MS = 10_000
_TAKEOVER_ANSWER_MS = 30_000
_KEY_FILE_BYTES_MAX = 4096  # its first line has 40

_CURVE_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


def options_of(
    *,
    endpoint: str | Sequence[str] | None,
    token: str | None,
    token_file: str | os.PathLike[str] | None,
    server_key: str | None,
    connect_timeout_s: float | None,
    answer_timeout_s: float | None,
    reconnect_for_s: float | None,
    announced: Callable[[str], None] | None,
) -> Options:
    """FileUnreadable for a token's or key's file; ValueError for what makes no sense."""
    if endpoint is None:
        endpoint = os.environ.get("GPUPOOL_ENDPOINT") or DEFAULT_ENDPOINT
    text = endpoint if isinstance(endpoint, str) else ",".join(endpoint)
    usual = Times(_TAKEOVER_CONNECT_MS, _TAKEOVER_ANSWER_MS) if "," in text else Times()
    times = Times(
        milliseconds_of("connect_timeout_s", connect_timeout_s) or usual.connect_ms,
        milliseconds_of("answer_timeout_s", answer_timeout_s) or usual.answer_ms,
        milliseconds_of("reconnect_for_s", reconnect_for_s) or usual.reconnect_ms,
    )
    return Options(
        endpoint=text,
        token=_token(token, token_file),
        server_key=_server_key(server_key),
        program=f"gpupool-python/{metadata.version('gpupool')}",
        times=times,
        announced=announced,
    )


def app_of(app: str | None) -> str:
    """The app whose slots are lent."""
    return os.environ.get("GPUPOOL_APP", "").strip() or DEFAULT_APP if app is None else app


def _token(token: str | None, token_file: str | os.PathLike[str] | None) -> str:
    if token is not None and token_file is not None:
        raise ValueError("give the token or its file, not both")
    if token is not None:
        return token.strip()
    if token_file is None:
        return os.environ.get("GPUPOOL_TOKEN", "").strip()
    most = limits.TOKEN_BYTES_MAX
    content = _read(f"the token file {os.fspath(token_file)}", Path(token_file), most + 1)
    if len(content) > most:
        raise errors.FileUnreadable(
            f"the token file {os.fspath(token_file)}: it has more than {most} bytes, and no token "
            "has so many"
        )
    text = content.decode(errors="replace").strip()
    if not text:
        raise errors.FileUnreadable(f"the token file {os.fspath(token_file)}: it holds no token")
    return text


def _server_key(server_key: str | None) -> str:
    key = os.environ.get("GPUPOOL_SERVER_KEY", "") if server_key is None else server_key
    if key.startswith("@"):
        name = key[1:]
        content = _read(f"the server key's file {name}", Path(name), _KEY_FILE_BYTES_MAX)
        key = content.decode(errors="replace").partition("\n")[0].strip()
        if not key:
            raise errors.FileUnreadable(f"the server key's file {name}: it is empty")
    key = key.strip()
    if key and not _CURVE_KEY.fullmatch(key):
        raise ValueError("server_key is 40 characters of Z85, or @FILE that holds them")
    return key


def _read(what: str, path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise errors.FileUnreadable(f"{what}: {error.strerror}") from None
