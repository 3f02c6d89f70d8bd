"""A node's device API that answers what a test wants, in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

from pool_process import PREFIX


class FakeNode:
    def __init__(self, answer: Callable[[str], int | bytes] = lambda path: 200) -> None:
        """`answer` gets the path behind the prefix, and gives a status, or raw bytes that are sent
        instead of an answer."""
        self.asked: list[tuple[str, dict[str, str]]] = []
        node = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                path = parts.path.removeprefix(PREFIX)
                node.asked.append((path, query))
                said = answer(path)
                if isinstance(said, bytes):
                    self.wfile.write(said)
                    self.close_connection = True
                    return
                self.send_response(said)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{PREFIX}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def __enter__(self) -> FakeNode:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
