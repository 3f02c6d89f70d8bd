"""A program in a process of its own, as a person would run it: watched, interrupted, ended."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time

from pool_process import PATIENCE_S

BEGIN = """
import asyncio, gpupool, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where these tests run unattended
long = {"prompt": "a red heart", "steps": 10_000, "seed": 7}
def show(event):
    if isinstance(event, gpupool.JobEvent):
        print(event.job, event.state.name, flush=True)
"""


class Program:
    def __init__(self, text: str, endpoint: str, token: str, node_http: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", BEGIN + text],
            env={
                **os.environ,
                "GPUPOOL_ENDPOINT": endpoint,
                "GPUPOOL_TOKEN": token,
                "GPUPOOL_NODE_HTTP": node_http,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._said = b""

    def until_it_says(self, word: str) -> str:
        """The line with the word."""
        assert self.process.stdout
        give_up = time.monotonic() + PATIENCE_S
        while True:
            for line in self._said.decode().splitlines(keepends=True):
                if word in line and line.endswith("\n"):
                    return line
            left = give_up - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise AssertionError(f"it did not say {word}: {self._said.decode()}")
            more = os.read(self.process.stdout.fileno(), 4096)
            if not more:
                raise AssertionError(f"it ended: {self.process.communicate()}")
            self._said += more

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str, str]:
        out, error = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, (self._said + out).decode(), error.decode()
