"""`bench/run pages`: what 1,000 open pages cost, and what whoever asks meanwhile waits.

A real gpupoold with its web front. 1,000 streams of 1,000 accounts, as the page opens them, ten of
them operators'. At rest: the daemon's memory and its share of a core. Then one client asks for its
quota, and submits jobs of no work through a stream of its own: from the request to the answer, and
to the job's end in the stream.
"""
import asyncio
import contextlib
import json
import os
import pathlib
import statistics
import time

from common import build, machine, tell, today
from http_run import STREAMS, Pool, mint

PAGES = 1_000
OPERATORS = 10
ASKED = 200


class Http:
    """One connection that is kept open."""

    def __init__(self, endpoint, token):
        self.host, self.port = endpoint.rsplit(":", 1)
        self.token = token

    async def connect(self):
        self.reader, self.writer = await asyncio.open_connection(self.host, int(self.port))
        return self

    async def ask(self, method, path, body=None):
        data = json.dumps(body).encode() if body is not None else b""
        self.writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
            f"Authorization: Bearer {self.token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.decode().split("\r\n"):
            if line.lower().startswith("content-length:"):
                length = int(line.split(":")[1])
        text = await self.reader.readexactly(length) if length else b""
        return int(head.split()[1]), text

    async def stream(self):
        self.writer.write(f"GET /v1/events HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
                          f"Authorization: Bearer {self.token}\r\n\r\n".encode())
        await self.reader.readuntil(b"\r\n\r\n")

    async def event(self):
        """(name, data) of the next one; chunks and their sizes are passed over."""
        name = ""
        while True:
            line = (await self.reader.readline()).decode()
            if not line:
                raise ConnectionError("the stream ended")
            if line.startswith("event: "):
                name = line[7:].strip()
            if line.startswith("data: ") and name:
                return name, line[6:]


def processor_s(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def drain(page):
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while await page.reader.read(65_536):
            pass


async def ask_quota(client):
    took = []
    for _ in range(ASKED):
        asked = time.perf_counter()
        status, _ = await client.ask("GET", "/v1/quota")
        took.append((time.perf_counter() - asked) * 1e3)
        assert status == 200, status
        await asyncio.sleep(0.01)
    return took


async def run_jobs(endpoint, token):
    page = await Http(endpoint, token).connect()
    await page.stream()
    _, hello = await page.event()
    stream = json.loads(hello)["stream"]
    client = await Http(endpoint, token).connect()
    answered, ended = [], []
    for _ in range(ASKED):
        asked = time.perf_counter()
        status, text = await client.ask("POST", f"/v1/jobs?stream={stream}",
                                        {"app": "nothing", "duration_s": 1})
        answered.append((time.perf_counter() - asked) * 1e3)
        assert status in (200, 202), text
        while (await page.event())[0] != "done":
            pass
        ended.append((time.perf_counter() - asked) * 1e3)
    return answered, ended


async def measure(pool, pages, seconds):
    endpoint = pool.ready["web"]
    tokens = pool.tokens.read_text("ascii").split()
    secret = (pool.folder / "bench.secret").read_bytes()
    idle = pool.memory_mb()
    readers = []
    for number in range(pages):
        token = mint(secret, number, "operator") if number < OPERATORS else tokens[number]
        page = await Http(endpoint, token).connect()
        await page.stream()
        readers.append(asyncio.create_task(drain(page)))
    await asyncio.sleep(2)  # what each is told first is no part of the rest
    before, began = processor_s(pool.daemon.pid), time.perf_counter()
    await asyncio.sleep(seconds)
    share = (processor_s(pool.daemon.pid) - before) / (time.perf_counter() - began) * 100
    open_pages = sum(not one.done() for one in readers)
    quota = await ask_quota(await Http(endpoint, tokens[STREAMS - 1]).connect())
    answered, ended = await run_jobs(endpoint, tokens[STREAMS - 2])
    found = {"pages": open_pages, "idle_mb": idle, "pages_mb": pool.memory_mb(), "core_percent": share,
             "quota": quota, "submit": answered, "done": ended}
    for one in readers:
        one.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    return found


def percentile(values, share):
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def pages(args):
    for target in ("gpupoold", "gpupool_supervisor"):
        build(target)
    rounds = {0: [], PAGES: []}
    for turn in range(args.rounds):
        tell(f"round {turn + 1} of {args.rounds}")
        for count, found in rounds.items():
            with contextlib.closing(Pool(1)) as pool:
                found.append(asyncio.run(measure(pool, count, args.seconds)))

    def middle(count, pick):
        return round(statistics.median(pick(one) for one in rounds[count]), 2)

    numbers = {"machine": machine(), "date": today()}
    for count in rounds:
        numbers[f"n{count}"] = {
            "pages": min(one["pages"] for one in rounds[count]),
            "mb": middle(count, lambda one: one["pages_mb"]),
            "core_percent": middle(count, lambda one: one["core_percent"]),
            **{f"{what}_{name}_ms": middle(count, lambda one, w=what, s=share: percentile(one[w], s))
               for what in ("quota", "submit", "done")
               for name, share in (("p50", 0.5), ("p99", 0.99))}}
    if args.json:
        print(json.dumps(numbers))
        return
    print(f"\n{machine()}, {today()}; medians of {args.rounds} rounds\n")
    print("| | no page | 1,000 pages |\n|---|---|---|")
    for key, text in (("mb", "memory of the daemon, MB"), ("core_percent", "at rest, % of a core"),
                      ("quota_p50_ms", "GET /v1/quota p50, ms"), ("quota_p99_ms", "p99"),
                      ("submit_p50_ms", "POST /v1/jobs p50, ms"), ("submit_p99_ms", "p99"),
                      ("done_p50_ms", "to the receipt in the stream p50, ms"), ("done_p99_ms", "p99")):
        print(f"| {text} | {numbers['n0'][key]} | {numbers[f'n{PAGES}'][key]} |")
    print(f"\n{numbers[f'n{PAGES}']['pages']} of {PAGES} pages were open to the end")
