"""One attempt at a connection from a client to a pool: a ZeroMQ DEALER socket that never
reconnects by itself, and its monitor, which tells at once that the connection was refused or
closed. One thread."""

from __future__ import annotations

import struct

import zmq

from gpupool import errors, limits
from gpupool.endpoints import Failure

_LINGER_MS = 200  # for a goodbye
_HANDSHAKE_MS = 5_000
_WATCHED = (
    zmq.EVENT_CLOSED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_EVENT = struct.Struct("=HI")  # what the monitor's first frame says (zmq_socket_monitor(3))


class Link:
    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, key: str) -> None:
        """Starts to connect, encrypted if `key` is a pool's public one (Z85). NotConnected for an
        endpoint or key that ZeroMQ cannot read."""
        self.end = Failure.silent  # of a lost link
        self._is_lost = False
        self.dealer = context.socket(zmq.DEALER)
        self.monitor = context.socket(zmq.PAIR)
        try:
            self._configure(endpoint, key)
            events = f"inproc://link-{id(self.dealer)}"
            self.dealer.monitor(events, _WATCHED)
            self.monitor.connect(events)
            self.dealer.connect(endpoint)
        except (zmq.ZMQError, ValueError) as error:
            self.close()
            raise errors.NotConnected(f"cannot connect to {endpoint}: {error}") from None

    def _configure(self, endpoint: str, key: str) -> None:
        self.monitor.setsockopt(zmq.LINGER, 0)
        self.dealer.setsockopt(zmq.LINGER, _LINGER_MS)
        self.dealer.setsockopt(zmq.IPV6, 1 if "[" in endpoint else 0)
        self.dealer.setsockopt(zmq.RECONNECT_IVL, -1)
        self.dealer.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
        self.dealer.setsockopt(zmq.MAXMSGSIZE, limits.FRAME_BYTES_MAX)
        if key:
            # The client's own key is for one connection: the pool knows callers by their tokens.
            own_public, own_secret = zmq.curve_keypair()
            self.dealer.setsockopt(zmq.CURVE_SERVERKEY, key.encode())
            self.dealer.setsockopt(zmq.CURVE_PUBLICKEY, own_public)
            self.dealer.setsockopt(zmq.CURVE_SECRETKEY, own_secret)

    def send(self, frame: bytes) -> bool:
        """False if the connection has no room or is gone."""
        if self._is_lost:
            return False
        try:
            self.dealer.send(frame, zmq.DONTWAIT)
        except zmq.ZMQError:
            return False
        return True

    def receive(self) -> bytes | None:
        """The next frame that has arrived, if any. The protocol has one frame a message; what
        follows in a longer one is passed over."""
        try:
            frame = self.dealer.recv(zmq.DONTWAIT)
            while self.dealer.getsockopt(zmq.RCVMORE):
                self.dealer.recv(zmq.DONTWAIT)
        except zmq.ZMQError:
            return None
        return frame

    def is_lost(self) -> bool:
        """Whether the connection was refused or closed. The first end counts, others follow."""
        while not self._is_lost:
            try:
                event = self.monitor.recv_multipart(zmq.DONTWAIT)[0]
            except zmq.ZMQError:
                break
            if len(event) < _EVENT.size:
                continue
            kind, value = _EVENT.unpack(event[: _EVENT.size])
            self._is_lost = True
            if kind == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                self.end = Failure.no_handshake
            mismatch = zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH
            if kind == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and value == mismatch:
                self.end = Failure.other_language
        return self._is_lost

    def wait(self, wake_up: int, milliseconds: int) -> None:
        """Until something arrived, the link was lost, the descriptor can be read or the time is
        over."""
        poller = zmq.Poller()
        poller.register(wake_up, zmq.POLLIN)
        # A lost link's monitor still has something to read and would make this spin.
        if not self._is_lost:
            poller.register(self.dealer, zmq.POLLIN)
            poller.register(self.monitor, zmq.POLLIN)
        poller.poll(milliseconds)

    def close(self) -> None:
        # The dealer lingers for its last frames, and so do its events. One that nobody is there to
        # take stops ZeroMQ's thread for good, so there are to be none any more.
        try:
            self.dealer.monitor(None, 0)
        except zmq.ZMQError:
            pass
        self.monitor.close()
        self.dealer.close()
