"""A thousand open pages at one pool: each is told what happens, and others need not wait for them.

`python3 test_many_pages.py` makes the environment that it needs and runs pytest on this file."""

import sys

if __name__ == "__main__":
    import environment

    sys.exit(environment.main(__file__))

import resource
import selectors
import socket
import time

import pytest
from pool_and_page import Pool

PAGES = 1_000
GIVE_UP_S = 60
MEMORY_MB_MAX = 300  # a fifth of it was seen


class BusyPool(Pool):
    """One that lets a thousand come from one address."""

    def __init__(self):
        super().__init__(more="[rates]\naddress_per_s = 0\naccount_per_s = 0")

    def memory_mb(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) / 1024


class Pages:
    """So many streams, and what each of them was told."""

    def __init__(self, url, tokens):
        host, port = url.removeprefix("http://").strip("/").rsplit(":", 1)
        self.selector = selectors.DefaultSelector()
        self.told = {}
        for token in tokens:
            page = socket.create_connection((host, int(port)), timeout=20)
            page.sendall(f"GET /v1/events HTTP/1.1\r\nHost: {host}:{port}\r\n"
                         f"Authorization: Bearer {token}\r\n\r\n".encode())
            page.setblocking(False)
            self.told[page] = b""
            self.selector.register(page, selectors.EVENT_READ)

    def wait_for(self, what):
        """Until every page was told this; how many were, if that takes too long."""
        give_up = time.monotonic() + GIVE_UP_S
        missing = {page for page, told in self.told.items() if what not in told}
        while missing and time.monotonic() < give_up:
            for key, _ in self.selector.select(1):
                piece = key.fileobj.recv(65_536)
                assert piece, f"a stream ended: {self.told[key.fileobj][-300:]}"
                self.told[key.fileobj] += piece
                if what in self.told[key.fileobj]:
                    missing.discard(key.fileobj)
        return len(self.told) - len(missing)

    def close(self):
        for page in self.told:
            page.close()
        self.selector.close()


@pytest.fixture
def busy_pool():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < PAGES * 2:
        pytest.skip(f"this system gives a process {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    found = BusyPool()
    yield found
    found.end()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_thousand_pages_hear_what_is_announced_and_nobody_else_waits_for_them(busy_pool):
    ada = busy_pool.token("ada")
    tokens = [busy_pool.token(f"user{number}") for number in range(20)]
    pages = Pages(busy_pool.url, [tokens[number % 20] for number in range(PAGES)])
    try:
        assert pages.wait_for(b"event: hello") == PAGES
        assert pages.wait_for(b"event: quota") == PAGES
        # What else is asked is answered, and jobs run.
        quota = busy_pool.ask(ada, "v1/quota")
        assert quota["balance"]["left_ms"] == quota["balance"]["allowance_ms"]
        made = busy_pool.gpupool(ada, "submit", "emoji", "prompt=a star", "steps=2")
        assert made["receipt"]["outcome"] == "succeeded"
        busy_pool.gpupool(busy_pool.operator_token(), "announce", "maintenance at noon")
        assert pages.wait_for(b"maintenance at noon") == PAGES
        assert busy_pool.memory_mb() < MEMORY_MB_MAX
    finally:
        pages.close()
    # Those who went leave nothing behind.
    give_up = time.monotonic() + GIVE_UP_S
    while time.monotonic() < give_up:
        text = metrics(busy_pool)
        if "\ngpupool_sessions 1\n" in text:
            break
    assert "\ngpupool_sessions 1\n" in text  # that of this very question


def metrics(pool):
    import urllib.request

    with urllib.request.urlopen(pool.url + "metrics", timeout=20) as answer:
        return answer.read().decode()
