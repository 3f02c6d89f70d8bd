"""The thread behind a `Pool` or `AsyncPool`: it owns the sockets, reads the clock, and carries
out what the `Conversation` wants. It pings while the program does something else, so a queued
job keeps its place. What is handed in from any thread is done in order."""

from __future__ import annotations

import logging
import os
import random
import select
import socket
import threading
import time
import weakref
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Callable, TypeVar

import zmq

from gpupool import errors
from gpupool.conversation import Conversation, Surroundings
from gpupool.link import Link
from gpupool.pending import Close, News, Open, Send, Times
from gpupool.questions import ClientSubmit, ClientWatch, JobDone, SessionWelcome

FRAMES_PER_ROUND = 256  # then what is due is done first
WAIT_MS_MAX = 3_600_000  # fits every poll's argument
COMMANDS_MAX = 10_000  # that wait for the thread
END_S_MAX = 5.0  # of the thread, once it was told to end

Answer = TypeVar("Answer")
Command = Callable[[Conversation, int], None]


@dataclass(frozen=True)
class Options:
    """Where the pool is, who asks, and how long to wait."""

    endpoint: str
    token: str = field(default="", repr=False)
    server_key: str = ""  # Z85; empty: not encrypted
    program: str = "gpupool-python"
    times: Times = Times()
    announced: Callable[[str], None] | None = None


def steady_ms() -> int:
    """Milliseconds that go on while the machine sleeps, where there is such a clock."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    if boot_time is None:
        return time.monotonic_ns() // 1_000_000
    return time.clock_gettime_ns(boot_time) // 1_000_000


def new_future() -> Future[Any]:
    """One that nobody can cancel: what it stands for was sent."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future


def contained(announced: Callable[[str], None] | None) -> Callable[[str], None] | None:
    """What the caller's function raises is logged, and costs nobody the connection."""
    if announced is None:
        return None
    told = announced

    def tell(text: str) -> None:
        try:
            told(text)
        except Exception:
            logging.getLogger("gpupool").exception("what hears announcements failed")

    return tell


class Engine:
    """A handle of the thread, which ends with it, or with the program."""

    def __init__(self, options: Options) -> None:
        """Begins to connect. NotConnected for an endpoint that is none."""
        self.times = options.times
        self._loop = _Loop(options)
        self._finish = weakref.finalize(self, self._loop.stop)
        self._loop.thread.start()

    @property
    def welcomed(self) -> Future[None]:
        """Done with the first welcome, or NotConnected, Unauthenticated, VersionMismatch,
        Overloaded."""
        return self._loop.conversation.welcomed

    @property
    def welcome(self) -> SessionWelcome:
        """The latest one. NotConnected before the first."""
        welcome = self._loop.conversation.welcome
        if welcome is None:
            raise errors.NotConnected("there was no welcome yet")
        return welcome

    @property
    def endpoint(self) -> str:
        return self._loop.conversation.endpoint

    @property
    def has_failed(self) -> bool:
        """For good: it was closed, or a lost pool did not come back."""
        return self._loop.conversation.failed is not None

    def ask(self, message: object, kind: type[Answer]) -> Future[Answer]:
        """The answer to a question, or the pool's error, within Times.answer_ms."""
        answer: Future[Answer] = new_future()
        self._loop.take(lambda conversation, now: conversation.ask(now, message, kind, answer))
        return answer

    def cancel(self, job: int) -> Future[JobDone]:
        """The job's end, also if it was over already."""
        answer: Future[JobDone] = new_future()
        self._loop.take(lambda conversation, now: conversation.cancel(now, job, answer))
        return answer

    def follow(self, message: ClientSubmit | ClientWatch, tell: Callable[[News], None]) -> None:
        """`tell` is called in the engine's thread."""
        self._loop.take(lambda conversation, now: conversation.follow(now, message, tell))

    def ensure_can_wait(self) -> None:
        """NotConnected in another process, where nothing would ever come; RuntimeError in the
        engine's own thread, which would wait for itself."""
        self._loop.ensure_can_wait()

    def close(self) -> None:
        """Says goodbye; what still waits ends with NotConnected. May be repeated."""
        self._finish()


class _Loop:
    """What the thread has; it must not know the Engine, whose end is its own."""

    def __init__(self, options: Options) -> None:
        self._server_key = options.server_key
        around = Surroundings(
            endpoint=options.endpoint,
            token=options.token,
            has_key=bool(options.server_key),
            program=options.program,
            times=options.times,
            rng=random.Random(),
            announced=contained(options.announced),
        )
        self.conversation = Conversation(around, steady_ms())
        self.conversation.welcomed.set_running_or_notify_cancel()
        self.thread = threading.Thread(target=self._run, name="gpupool", daemon=True)
        self._pid = os.getpid()
        self._commands: deque[Command] = deque()
        self._lock = threading.Lock()  # of the commands, and of whether more are taken
        self._is_open = True
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        self._link: Link | None = None

    # ---- In any thread ---------------------------------------------------------------------------

    def take(self, command: Command) -> None:
        """NotConnected if the pool was closed; Overloaded; errors as ensure_can_wait()."""
        self.ensure_can_wait()
        with self._lock:
            if not self._is_open:
                raise _closed()
            if len(self._commands) >= COMMANDS_MAX:
                raise errors.Overloaded(want=COMMANDS_MAX + 1, have=COMMANDS_MAX)
            self._commands.append(command)
        self._wake_up()

    def ensure_can_wait(self) -> None:
        if os.getpid() != self._pid:
            raise errors.NotConnected("a pool does not go through fork(): make another one here")
        if threading.current_thread() is self.thread:
            raise RuntimeError("what hears announcements may close the pool, but not wait for it")

    def stop(self) -> None:
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._is_open = False
        self._wake_up()
        # It may be the thread itself that lets go of the last handle.
        if threading.current_thread() is not self.thread and self.thread.ident is not None:
            self.thread.join(END_S_MAX)

    def _wake_up(self) -> None:
        try:
            self._wake.send(b"w")
        except OSError:
            pass  # full: it is awake; or closed: it has ended

    # ---- The thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            while self._is_open:
                self._work(context)
            self._take_commands()
            self.conversation.say_goodbye()
            self.conversation.fail(_closed())
            self._perform(context)
        except BaseException as error:
            # Our own bug: nobody is to wait for ever because of it.
            self.conversation.fail(errors.NotConnected(f"the client failed: {error!r}"))
            raise
        finally:
            with self._lock:
                self._is_open = False
            self._take_commands()
            if self._link:
                self._link.close()
            context.term()
            self._woken.close()
            self._wake.close()

    def _work(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._take_commands()
        is_drained = self._receive()
        now = steady_ms()
        # What arrived before the end of a connection counts before the end does.
        if is_drained:
            if self._link and self._link.is_lost():
                self.conversation.lost(now, "the connection was closed", self._link.end)
            self.conversation.tick(now)
        if self.conversation.effects:
            self._perform(context)
            return  # what was sent may have failed, and then there is more to do
        self._wait(self.conversation.next_deed() - steady_ms() if is_drained else 0)

    def _take_commands(self) -> None:
        while self._commands:
            self._commands.popleft()(self.conversation, steady_ms())

    def _receive(self) -> bool:
        """True if nothing more is there to read."""
        for _ in range(FRAMES_PER_ROUND):
            frame = self._link.receive() if self._link else None
            if frame is None:
                return True
            self.conversation.take(steady_ms(), frame)
            if self.conversation.effects:
                return False  # they come first: one of them may be the connection's end
        return False

    def _perform(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        effects, self.conversation.effects = self.conversation.effects, []
        for effect in effects:
            if isinstance(effect, Close):
                self._close_link()
            elif isinstance(effect, Open):
                self._close_link()
                try:
                    self._link = Link(context, effect.endpoint, self._server_key)
                except errors.PoolError as error:
                    self.conversation.fail(error)
                    return
            elif isinstance(effect, Send) and self._link and not self._link.send(effect.frame):
                # The rest was for the same connection; the next welcome sends it again. One that
                # was closed before the hello was written has said why.
                reason = "was closed" if self._link.is_lost() else "takes no more"
                self.conversation.lost(steady_ms(), f"the connection {reason}", self._link.end)
                return

    def _close_link(self) -> None:
        if self._link:
            self._link.close()
        self._link = None

    def _wait(self, milliseconds: int) -> None:
        bounded = max(0, min(milliseconds, WAIT_MS_MAX))
        if self._link:
            self._link.wait(self._woken.fileno(), bounded)
        else:
            select.select([self._woken], [], [], bounded / 1000)
        try:
            while self._woken.recv(4096):
                pass
        except OSError:
            pass


def _closed() -> errors.NotConnected:
    return errors.NotConnected("this pool was closed")
