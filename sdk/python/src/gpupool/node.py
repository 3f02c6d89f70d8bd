"""The device API of the node that this program runs on (net/device_api.h), as far as a lease needs
it: which process uses the slot, and when it is given back. HTTP of the standard library; blocks;
any thread. The prefix of its address is a secret, and so is a lease's token: no text has them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

from gpupool import errors

ANSWER_S_MAX = 10.0  # the node gives its worker 5
RELEASE_ATTEMPTS = 2  # the same release again gets the same answer

WHAT_TO_SET = (
    "set GPUPOOL_NODE_HTTP, or node_http=, to the device API of this machine's node and the prefix "
    "of one of its [[spaces]], such as http://127.0.0.1:7480/s/3f1c9a5be07d42c6"
)

# What a node answers to a release: 200, "later" (202: by the deadline at the latest), "unused"
# (204), "unknown" (404: it ended in another way, or is another node's).
RELEASE_ANSWERS = (200, 202, 204, 404)

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Node:
    host: str
    port: int
    prefix: str = field(repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def connect(self) -> HTTPConnection:
        """NotConnected, TimedOut."""
        connection = HTTPConnection(self.host, self.port, timeout=ANSWER_S_MAX)
        self._attempt(connection.connect)
        # The process that is allowed is recognised by this connection: it must not be made anew.
        connection.auto_open = 0
        return connection

    def allow(self, connection: HTTPConnection, token: str, pid: int) -> None:
        """Lets the process in, which has this connection open; its run begins here.

        Forbidden: the node may not let it in. NotConnected: it does not know the lease. TimedOut.
        """
        status = self._post(connection, "/allow", {"allowToken": token, "pid": str(pid)})
        if status == 403:
            raise errors.Forbidden(
                f"the node at {self} does not let process {pid} in: it must run on that node, as "
                "the user and in the cgroup that its [[spaces]] asks for, where the pool may end it"
            )
        if status == 404:
            raise errors.NotConnected(
                f"{self} does not know this lease: it is another node's, or was taken back, or "
                f"the address lacks its prefix; {WHAT_TO_SET}"
            )
        if status != 200:
            raise errors.NotConnected(f"the node at {self} answered {status} to /allow")

    def release(self, token: str, *, failed: bool) -> int:
        """Gives the lease back; one of RELEASE_ANSWERS. NotConnected, TimedOut."""
        query = {"allowToken": token, "fail": "true" if failed else "false"}
        for left in reversed(range(RELEASE_ATTEMPTS)):
            try:
                connection = self.connect()
                try:
                    status = self._post(connection, "/release", query)
                finally:
                    connection.close()
                break
            except errors.NotConnected:
                if left == 0:
                    raise
        if status not in RELEASE_ANSWERS:
            raise errors.NotConnected(f"the node at {self} answered {status} to /release")
        return status

    def _post(self, connection: HTTPConnection, path: str, query: dict[str, str]) -> int:
        target = f"{self.prefix}{path}?{urlencode(query)}"

        def ask() -> int:
            connection.request("POST", target, headers={"Content-Length": "0"})
            answer = connection.getresponse()
            answer.read(1)
            return answer.status

        return self._attempt(ask)

    def _attempt(self, what: Callable[[], Answer]) -> Answer:
        try:
            return what()
        except TimeoutError:
            waited = int(ANSWER_S_MAX * 1000)
            raise errors.TimedOut(f"the node at {self} does not answer", want=waited) from None
        except HTTPException as error:
            what_it_is = f"what answers at {self} is no device API ({type(error).__name__})"
            raise errors.NotConnected(f"{what_it_is}; {WHAT_TO_SET}") from None
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise errors.NotConnected(f"no node answers at {self} ({why}); {WHAT_TO_SET}") from None


def node_of(node_http: str | None) -> Node:
    """Of the argument, or else of GPUPOOL_NODE_HTTP. ValueError, which says what to set."""
    text = os.environ.get("GPUPOOL_NODE_HTTP", "") if node_http is None else node_http
    if not text.strip():
        raise ValueError(f"it is not known where this machine's node is: {WHAT_TO_SET}")
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme != "http" or not host or parts.query or parts.fragment or parts.username:
        raise ValueError(f"the address of a node begins with http:// and a host: {WHAT_TO_SET}")
    return Node(host, port if port is not None else 80, parts.path.rstrip("/"))


def descriptor_of(connection: HTTPConnection) -> int:
    sock: socket.socket | None = connection.sock
    if sock is None:
        raise errors.NotConnected("the connection to the node was closed")
    return sock.fileno()
