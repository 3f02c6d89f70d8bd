"""What the pool lets in for a program that has a slot by `Pool.lease()`.

The pool ends the process that it let in: at the deadline, after a run that failed, and before the
slot is lent to another task. A program that goes on after its lease would be ended by the next one.
So it lets in a keeper, a process that does nothing, and which is gone when the lease is over.
Always: a keeper that the pool ends takes this program with it, so that nothing computes without a
lease; one that was told of the end does not. One is used by one thread, and watched by another.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading

from gpupool.messages import Grant
from gpupool.node import Node, descriptor_of

VISIBLE = "CUDA_VISIBLE_DEVICES"
END_S_MAX = 5.0  # of a keeper that was killed


class VisibleDevices:
    """CUDA_VISIBLE_DEVICES of this process: that of the lease that began last, and after all of
    them what it was before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._before: str | None = None
        self._devices: dict[object, str] = {}  # in the order in which they began

    def enter(self, who: object, device: str) -> None:
        with self._lock:
            if not self._devices:
                self._before = os.environ.get(VISIBLE)
            self._devices[who] = device
            os.environ[VISIBLE] = device

    def leave(self, who: object) -> None:
        with self._lock:
            if self._devices.pop(who, None) is None:
                return
            last = next(reversed(self._devices.values()), self._before)
            if last is None:
                os.environ.pop(VISIBLE, None)
            else:
                os.environ[VISIBLE] = last


visible_devices = VisibleDevices()  # the environment is one for the process, too


class Keeper:
    def __init__(self, node: Node, grant: Grant, job: int) -> None:
        """Lets it in: the run begins. Errors of `Node.allow()`; OSError if nothing can be
        started."""
        self._job = job
        self._lock = threading.Lock()
        self._is_over = False
        connection = node.connect()
        try:
            # It ends with this program, whose end closes its input; a Ctrl-C in the terminal is
            # not for it.
            self._process = subprocess.Popen(
                ["cat"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[descriptor_of(connection)],
                start_new_session=True,
            )
            self._watch = threading.Thread(target=self._wait, name="gpupool-lease", daemon=True)
            try:
                node.allow(connection, grant.token, self._process.pid)
                visible_devices.enter(self, grant.device)
                self._watch.start()
            except BaseException:
                visible_devices.leave(self)
                self._process.kill()
                self._process.communicate()
                raise
        finally:
            connection.close()

    def leave(self) -> None:
        """The lease is given back now: from here on its end is nobody's."""
        visible_devices.leave(self)
        with self._lock:
            self._is_over = True

    def end(self) -> None:
        """After the release. May be repeated."""
        self._process.kill()
        self._watch.join(END_S_MAX)
        if self._process.stdin:
            self._process.stdin.close()

    def _wait(self) -> None:
        self._process.wait()
        with self._lock:
            if not self._is_over:
                end_this_process(self._job)


def end_this_process(job: int) -> None:
    """As the pool would end it, if it had let it in itself."""
    text = (
        f"gpupool: the pool took back the slot of job {job}, at its deadline or because it was "
        f"cancelled or lost; this process, {os.getpid()}, ends with it\n"
    )
    try:
        os.write(2, text.encode())
    except OSError:
        pass
    os.kill(os.getpid(), signal.SIGKILL)
