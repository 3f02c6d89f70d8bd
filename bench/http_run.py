"""`bench/run http`: what visitors of a Space wait for the pool itself, and what those who queue weigh.

A real gpupoold with the device API and 256 slots. First 256 kept connections, each a visitor of its
own, ask for a slot and give it back, at a rate that leaves the machine idle in between: from the
request to the grant, hold and lease durable. Then the same as fast as it goes. Then one slot and
2,000 visitors in the queue, each with a stream; the daemon's memory is that of the whole pool.
"""
import base64
import contextlib
import hashlib
import hmac
import json
import pathlib
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from common import BUILD, ROOT, build, command, machine, tell, today

CONNECTIONS = 256
STREAMS = 2_000
RATE = 200  # a second
PREFIX = "/s/0123456789abcdef"
CONFIG = """
[broker]
client_endpoint = "tcp://127.0.0.1:*"
ready_file = "ready"
[ledger]
path = "ledger.sqlite"
[worker]
folder = "worker"
devices = [{{kind = "cpu", threads = 1, slots = {slots}, partition = "own"}},
           {{kind = "cpu", threads = 1, slots = 1}}]
[http]
endpoint = "127.0.0.1:0"
[web]
endpoint = "127.0.0.1:0"
[[identity.keys]]
kid = "bench"
secret_file = "bench.secret"
[identity]
anonymous_tier = "bench"
default_tier = "bench"
[rates]
account_per_s = 0
address_per_s = 0
[log]
level = "warn"
[[tiers]]
name = "bench"
allowance_s = 100000000
longest_s = 300
jobs_max = 1000
[[apps]]
name = "own"
executor = "external"
partition = "own"
[[apps]]
name = "nothing"
executor = "noop"
[[spaces]]
name = "bench"
prefix = "{prefix}"
app = "own"
"""


class Pool:
    """A gpupoold in a folder of its own, on the disk of the build folder."""

    def __init__(self, slots):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="http-", dir=ROOT / "build"))
        secret = self.folder / "bench.secret"
        secret.touch(mode=0o600)
        secret.write_text(secrets.token_hex(32), encoding="ascii")
        config = self.folder / "pool.toml"
        config.write_text(CONFIG.format(slots=slots, prefix=PREFIX), encoding="utf-8")
        with open(self.folder / "log", "wb") as log:
            self.daemon = subprocess.Popen(
                [str(BUILD / "gpupoold"), "--config", str(config)], stderr=log)
        self.ready = self.wait_ready()
        self.host, self.port = self.ready["http"].rsplit(":", 1)
        key = secret.read_bytes()
        self.tokens = self.folder / "tokens"
        self.tokens.write_text("".join(f"{mint(key, i)}\n" for i in range(STREAMS)), "ascii")

    def wait_ready(self):
        ready = self.folder / "ready"
        for _ in range(600):
            if ready.exists() and "state = ready" in (text := ready.read_text(encoding="utf-8")):
                return dict(line.split(" = ") for line in text.splitlines())
            time.sleep(0.05)
        sys.exit("bench/run: the pool did not start: " + (self.folder / "log").read_text())

    def words(self, mode, connections, rate, seconds):
        return [str(word) for word in (BUILD / "bench_http", mode, self.host, self.port, PREFIX,
                                       self.tokens, connections, rate, seconds)]

    def memory_mb(self):
        for line in pathlib.Path(f"/proc/{self.daemon.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def close(self):
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()
        shutil.rmtree(self.folder)


def mint(key, number, role=None):
    encode = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=").decode()  # noqa: E731
    header = {"alg": "HS256", "kid": "bench"}
    body = {"sub": f"user{number}", "aud": "gpupool", "exp": int(time.time()) + 3600}
    if role:
        body["role"] = role
    text = ".".join(encode(json.dumps(part).encode()) for part in (header, body))
    return f"{text}.{encode(hmac.new(key, text.encode(), hashlib.sha256).digest())}"


def measure(rate, seconds):
    with contextlib.closing(Pool(CONNECTIONS)) as pool:
        found = json.loads(command(*pool.words("schedule", CONNECTIONS, rate, seconds)))
    if found["other"]:
        sys.exit(f"bench/run: {found['other']} answers were no grant: {found['first_other']}")
    return found


def weigh():
    """Memory of the daemon with nobody there, and with all streams open; how many were."""
    with contextlib.closing(Pool(1)) as pool:
        idle = pool.memory_mb()
        # One more: one of them has the slot. Who leaves it unused loses it after 5 s to the next.
        waiting = subprocess.Popen(pool.words("streams", STREAMS + 1, 0, 20), cwd=ROOT,
                                   stdout=subprocess.PIPE, text=True)
        most = 0.0
        while waiting.poll() is None:
            most = max(most, pool.memory_mb())
            time.sleep(0.2)
        found = json.loads(waiting.stdout.read())
    return idle, most, found


def http(args):
    build("gpupoold")
    build("gpupool_supervisor")
    build("bench_http")
    calm, full = [], []
    for turn in range(args.rounds):
        tell(f"round {turn + 1} of {args.rounds}")
        calm.append(measure(RATE, args.seconds))
        full.append(measure(0, args.seconds))
    tell(f"{STREAMS} visitors wait")
    idle, most, found = weigh()

    def middle(rounds, key):
        return round(statistics.median(one[key] for one in rounds), 2)

    numbers = {
        "machine": machine(), "date": today(),
        "schedule": {"p50_ms": middle(calm, "p50_ms"), "p99_ms": middle(calm, "p99_ms"),
                     "per_s": RATE, "connections": CONNECTIONS},
        "schedule_full": {"p50_ms": middle(full, "p50_ms"), "p99_ms": middle(full, "p99_ms"),
                          "per_s": round(middle(full, "answers") / args.seconds, 1)},
        "streams": found["streaming"], "streams_2000_mb": round(most, 1), "idle_mb": round(idle, 1),
    }
    if args.json:
        print(json.dumps(numbers))
        return
    print(f"\n{machine()}, {today()}; every hold and lease durable in SQLite; "
          f"median of {args.rounds} rounds of {args.seconds:g} s\n")
    print("| /schedule to its answer, on a free slot | p50 | p99 |\n|---|---|---|")
    spread = [one["p99_ms"] for one in calm]
    print(f"| {CONNECTIONS} connections, {RATE} a second | {numbers['schedule']['p50_ms']} ms | "
          f"{numbers['schedule']['p99_ms']} ms ({min(spread):.1f} to {max(spread):.1f}) |")
    print(f"| the same, as fast as it goes: {numbers['schedule_full']['per_s']} a second | "
          f"{numbers['schedule_full']['p50_ms']} ms | {numbers['schedule_full']['p99_ms']} ms |")
    print(f"\n{found['streaming']:,} visitors in open streams: {most:.0f} MB of the whole daemon, "
          f"{idle:.0f} MB without any")
