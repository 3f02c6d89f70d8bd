"""A pool that says what a test wants it to say, good or bad: a ROUTER socket in a thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from types import TracebackType

import zmq

from gpupool import errors, wire
from gpupool.questions import ClientPing, FromClient, FromPool, Hello, SessionPong, SessionWelcome

Answers = list[FromPool | bytes | list[bytes]]
HEARTBEAT_MS = 10_000  # no machine is so busy that three of them pass unanswered


def usual(message: FromClient) -> Answers:
    """A pool that welcomes, and answers pings and nothing else."""
    if isinstance(message, Hello):
        return [SessionWelcome(pool="fake", heartbeat_ms=HEARTBEAT_MS)]
    return [SessionPong(query=message.query)] if isinstance(message, ClientPing) else []


class FakePool:
    def __init__(self, answer: Callable[[FromClient], Answers] = usual) -> None:
        """`answer` gets what a client said, in the thread; bytes of its answers go out as they are,
        a list of them as one message of several frames."""
        self._answer = answer
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.setsockopt(zmq.LINGER, 0)
        self._router.setsockopt(zmq.SNDHWM, 0)  # a ROUTER drops what is more
        port = self._router.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint = f"tcp://127.0.0.1:{port}"
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._stopped.fileno(), zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._stopped.fileno() in ready:
                return
            client, frame = self._router.recv_multipart()[:2]
            try:
                message = wire.decode_from_client(frame)
            except errors.PoolError:
                continue
            for answer in self._answer(message):
                if isinstance(answer, list):
                    self._router.send_multipart([client, *answer])
                else:
                    frame = answer if isinstance(answer, bytes) else wire.encode(answer)
                    self._router.send_multipart([client, frame])

    def __enter__(self) -> FakePool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.send(b"s")
        self._thread.join()
        self._router.close()
        self._context.term()
        self._stop.close()
        self._stopped.close()
