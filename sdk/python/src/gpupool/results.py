"""The result of a finished job: fetched piece by piece and compared with its receipt."""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from gpupool import errors, limits
from gpupool.messages import Balance, Receipt
from gpupool.questions import ClientFetch, ResultChunk


class ResultReader:
    """Asks for one piece after the other; `whole()` is good only if all of them were."""

    def __init__(self, receipt: Receipt, bytes_max: int) -> None:
        """ResultGone if the job has no result; FileMalformed if it is larger than `bytes_max`."""
        self._wanted = receipt.result
        self._job = receipt.job
        self._pieces: list[bytes] = []
        self._offset = 0
        if not self._wanted.hash:
            raise errors.ResultGone("the job has no result")
        most = min(bytes_max, limits.RESULT_BYTES_MAX)
        if not 0 <= self._wanted.bytes <= most:
            raise errors.FileMalformed(
                "the result is larger than this client takes", want=self._wanted.bytes, have=most
            )

    def question(self) -> ClientFetch | None:
        """For the next piece; None: there is none."""
        if self._offset >= self._wanted.bytes:
            return None
        return ClientFetch(job=self._job, offset=self._offset)

    def take(self, chunk: ResultChunk) -> None:
        if chunk.error:
            raise errors.error_of(chunk.error)
        fits = (
            chunk.job == self._job
            and chunk.offset == self._offset
            and chunk.total == self._wanted.bytes
            and 0 < len(chunk.content) <= self._wanted.bytes - self._offset
        )
        if not fits:
            raise self._damaged()
        self._pieces.append(chunk.content)
        self._offset += len(chunk.content)

    def whole(self) -> bytes:
        content = b"".join(self._pieces)
        if hashlib.sha256(content).hexdigest() != self._wanted.hash:
            raise self._damaged()
        return content

    def _damaged(self) -> errors.FileMalformed:
        return errors.FileMalformed(
            "the result that the pool sent is not the one of the receipt", want=self._wanted.bytes
        )


@dataclass(frozen=True)
class Finished:
    """A job that succeeded: what it made, what it cost, what is left."""

    content: bytes = field(repr=False)
    receipt: Receipt
    balance: Balance

    @property
    def media_type(self) -> str:
        """Of the content, such as `"image/png"`."""
        return self.receipt.result.media_type

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the content; the file is there whole or not at all. OSError."""
        write_whole(path, self.content)


@dataclass(frozen=True)
class Picture(Finished):
    """A picture, and the seed that makes it again."""

    seed: int


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    target = Path(path)
    # Not tempfile's: its files are for their owner alone, and the umask, which says whose any other
    # new file is, cannot be read without changing it under other threads.
    partial = target.parent / f".{target.name}.{secrets.token_hex(8)}"
    try:
        with partial.open("xb") as out:
            out.write(content)
        os.replace(partial, target)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):  # of the file that was asked for
            raise OSError(error.errno, error.strerror, os.fspath(target)) from None
        raise
