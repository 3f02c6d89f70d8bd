"""A process of its own for one call of a function: it shows the lease's token, runs the call on the
slot, and hands over what comes of it.

It is forked, so the function and its arguments are there as they are; what it gives is pickled. The
pool ends it at the deadline, its parent after the release, and the system with its parent. Always:
a child is reaped. One thread uses one.
"""

from __future__ import annotations

import ctypes
import enum
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from gpupool.keeper import VISIBLE
from gpupool.messages import Grant
from gpupool.node import ANSWER_S_MAX, Node

PR_SET_PDEATHSIG = 1  # prctl(2)
LET_IN_S_MAX = 3 * ANSWER_S_MAX  # to the first word; a fork beside threads may come to nothing

# Gives each value on its way; what it returns is the call's.
Work = Callable[[Callable[[object], None]], object]


class Said(enum.Enum):
    let_in = 0  # the first word: the run begins
    value = 1  # of a generator
    end = 2  # what the call returned
    error = 3  # what it raised, and its traceback as text


class ChildTraceback(Exception):
    """The traceback of an error in the process of its call, as its cause."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class Inside:
    """Whether this process is one of these children: it has its slot, and asks for no other."""

    is_child = False


_forking = threading.Lock()  # no child has the end of another one's pipe


class Child:
    def __init__(self, node: Node, grant: Grant, work: Work) -> None:
        with _forking:
            self._from, there = multiprocessing.Pipe(duplex=False)
            parent = os.getpid()
            _flush_all()  # or it would be written twice
            self.pid = os.fork()
            if self.pid == 0:
                _run(node, grant, work, there, parent)
            there.close()
        self._is_reaped = False

    def fileno(self) -> int:
        return self._from.fileno()

    def has_said(self, within_s: float) -> bool:
        """Waits until there is something to read."""
        return self._from.poll(within_s)

    def read(self) -> tuple[Said, Any] | None:
        """What it said next; None: it is gone. What it raised is raised."""
        try:
            said, what, text = self._from.recv()
        except (EOFError, OSError):
            return None
        if said is Said.error:
            raise what from ChildTraceback(text)
        return said, what

    def leave(self) -> None:
        """As a guest of `gpupool.lease`."""

    def end(self) -> None:
        self._from.close()
        if not self._is_reaped:
            self._is_reaped = True
            try:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass  # the program reaps children itself


def _run(node: Node, grant: Grant, work: Work, there: Connection, parent: int) -> NoReturn:
    try:
        _settle_in(parent)
        connection = node.connect()
        node.allow(connection, grant.token, os.getpid())
        connection.close()
        os.environ[VISIBLE] = grant.device
        _say(there, Said.let_in, None)
        end = work(lambda value: _say(there, Said.value, value))
        _flush_all()  # after its last word its parent ends it
        _say(there, Said.end, end)
    except BaseException as error:
        _flush_all()
        _say_error(there, error)
    finally:
        try:
            while True:  # its end before the release would be the lease's, and a failure
                signal.pause()
        finally:
            os._exit(1)


def _settle_in(parent: int) -> None:
    Inside.is_child = True
    os.setsid()  # Ctrl-C in the terminal is for the parent
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _say(there: Connection, said: Said, what: object) -> None:
    there.send((said, what, ""))


def _say_error(there: Connection, error: BaseException) -> None:
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        pickle.loads(pickle.dumps(error))  # many an exception can be written and not be read
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    if not isinstance(error, Exception):
        error = RuntimeError(f"the function ended with {type(error).__name__}: {error}")
    try:
        there.send((Said.error, error, text))
    except OSError:
        pass  # its parent went on without it


def _flush_all() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass  # there is none, or nobody reads it
