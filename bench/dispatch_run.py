"""`bench/run dispatch`: jobs a second through the whole pool, every hold and settle durable.

A real gpupoold with 256 warm no-op slots and a client program over loopback; in the same rounds a
bare ZeroMQ relay (DEALER to ROUTER to DEALER and back) and the disk's fdatasync. One job at a time
is measured with everything on one core, since an idle machine of few cores wakes a sleeping core at
every hop. Then the daemon is weighed: idle, and with 1,000 clients and 100,000 waiting jobs.
"""
import contextlib
import json
import os
import pathlib
import resource
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from common import BUILD, ROOT, build, command, machine, tell, today

ACCOUNTS = 16
CONFIG = """
[broker]
client_endpoint = "tcp://127.0.0.1:*"
ready_file = "ready"
queue_max = 200000
[ledger]
path = "ledger.sqlite"
[worker]
folder = "worker"
devices = [{{kind = "cpu", threads = 1, slots = {slots}}}]
[identity]
anonymous_tier = "bench"
default_tier = "bench"
[[identity.keys]]
kid = "bench"
secret_file = "bench.secret"
[rates]
account_per_s = 0
address_per_s = 0
[log]
level = "warn"
[[tiers]]
name = "bench"
allowance_s = 100000000
longest_s = 300
rank = 0
jobs_max = 100000
{apps}
[[apps]]
name = "nothing"
executor = "noop"
"""
EMOJI = """
[[apps]]
name = "emoji"
model = "{model}"
"""


class Pool:
    """A gpupoold in a folder of its own, on the disk of the build folder."""

    def __init__(self, slots, apps="", core=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="dispatch-", dir=ROOT / "build"))
        secret = self.folder / "bench.secret"
        secret.touch(mode=0o600)
        secret.write_text(secrets.token_hex(32), encoding="ascii")
        config = self.folder / "pool.toml"
        config.write_text(CONFIG.format(slots=slots, apps=apps), encoding="utf-8")
        with open(self.folder / "log", "wb") as log:
            self.daemon = subprocess.Popen(
                pinned(core) + [str(BUILD / "gpupoold"), "--config", str(config)], stderr=log
            )
        self.endpoint = self.wait_ready()
        tokens = [
            command(BUILD / "gpupool", "token", "mint", "--config", config, "--user", f"user{i}")
            for i in range(ACCOUNTS)
        ]
        self.tokens = self.folder / "tokens"
        self.tokens.write_text("".join(tokens), encoding="ascii")

    def wait_ready(self):
        ready = self.folder / "ready"
        for _ in range(600):
            if ready.exists() and "state = ready" in ready.read_text(encoding="utf-8"):
                lines = dict(line.split(" = ") for line in ready.read_text().splitlines())
                return lines["client"]
            time.sleep(0.05)
        sys.exit("bench/run: the pool did not start: " + (self.folder / "log").read_text())

    def memory_mb(self):
        for line in pathlib.Path(f"/proc/{self.daemon.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def core_seconds(self):
        fields = pathlib.Path(f"/proc/{self.daemon.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self):
        self.daemon.send_signal(signal.SIGTERM)
        try:
            self.daemon.wait(10)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()
        shutil.rmtree(self.folder)


def pinned(core):
    return [] if core is None else ["taskset", "-c", str(core)]


def measure(*words, core=None):
    return json.loads(command(*pinned(core), BUILD / "bench_dispatch", *words))


def measure_round(seconds):
    """One turn of everything: {name: {jobs_per_s, p50_us, p99_us}}."""
    last = os.cpu_count() - 1
    found = {"relay": measure("relay", 1024, seconds), "relay_1": measure("relay", 1, seconds, core=last)}
    with contextlib.closing(Pool(slots=256)) as pool:
        found["fdatasync"] = measure("fdatasync", pool.folder, seconds)
        for outstanding in (256, 1024):
            found[f"n{outstanding}"] = measure(
                "jobs", pool.endpoint, pool.tokens, outstanding, seconds
            )
    with contextlib.closing(Pool(slots=256, core=last)) as pool:
        found["n1"] = measure("jobs", pool.endpoint, pool.tokens, 1, seconds, core=last)
    return found


def weigh_idle(seconds=10):
    """Percent of a core that a pool without clients takes, and its memory."""
    with contextlib.closing(Pool(slots=256)) as pool:
        time.sleep(2)
        before = pool.core_seconds()
        time.sleep(seconds)
        return 100 * (pool.core_seconds() - before) / seconds, pool.memory_mb()


def weigh_crowd(clients=1000, jobs=100_000):
    """Memory with so many clients and waiting jobs, behind one long run on the only slot."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    apps = EMOJI.format(model=ROOT / "models" / "emoji")
    with contextlib.closing(Pool(slots=1, apps=apps)) as pool:
        environment = dict(os.environ, GPUPOOL_TOKEN=pool.tokens.read_text().split()[0])
        words = ["generate", "a clock", "--steps", "10000", "--duration", "290"]
        words += ["--endpoint", pool.endpoint, "-o", str(pool.folder / "clock.png")]
        with subprocess.Popen(
            [str(BUILD / "gpupool"), *words], env=environment, stderr=subprocess.DEVNULL
        ) as blocker, subprocess.Popen(
            [str(BUILD / "bench_dispatch"), "crowd", pool.endpoint, str(pool.tokens)]
            + [str(jobs), "60", str(clients)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as crowd:
            try:
                queued = json.loads(crowd.stdout.readline())["queued"]
                time.sleep(5)
                memory = pool.memory_mb()
            finally:
                crowd.stdin.close()
                blocker.kill()
    if queued != jobs:
        sys.exit(f"bench/run: only {queued} of {jobs} jobs were queued")
    return memory


def dispatch(args):
    build("gpupoold"), build("gpupool"), build("bench_dispatch")
    build("gpupool_supervisor"), build("gpupool_diffusion")
    rounds = []
    for turn in range(args.rounds):
        tell(f"round {turn + 1} of {args.rounds}")
        rounds.append(measure_round(args.seconds))

    def median(name, key):
        return statistics.median(one[name][key] for one in rounds)

    def spread(name, key):
        return [min(one[name][key] for one in rounds), max(one[name][key] for one in rounds)]

    tell("idle, then with 1,000 clients and 100,000 waiting jobs")
    idle_percent, idle_mb = weigh_idle()
    crowd_mb = weigh_crowd()
    loads = ("n1", "n256", "n1024")
    keys = ("jobs_per_s", "p50_us", "p99_us")
    report = {
        "relay_per_s": median("relay", "jobs_per_s"),
        "relay_p50_us": median("relay_1", "p50_us"),
        "fdatasync_us": median("fdatasync", "p50_us"),
        **{load: {key: median(load, key) for key in keys} for load in loads},
        "spread": {load: spread(load, "jobs_per_s") for load in (*loads, "relay")},
        "over_relay": median("n1024", "jobs_per_s") / median("relay", "jobs_per_s"),
        "p50_limit_us": 2 * median("fdatasync", "p50_us") + 6 * median("relay_1", "p50_us"),
        "idle_core_percent": idle_percent,
        "idle_mb": idle_mb,
        "crowd_mb": crowd_mb,
        "rounds": args.rounds,
        "machine": machine(),
        "date": today(),
    }
    print(json.dumps(report) if args.json else table_of(report))


def table_of(report):
    lines = [
        "Jobs through the whole pool: submit to receipt, no-op app, 256 warm slots, every hold and",
        f"settle durable in SQLite; medians of {report['rounds']} rounds, all in turn.",
        "",
        f"{'outstanding':24} {'jobs/s':>10} {'lowest':>10} {'highest':>10} {'p50 us':>9} {'p99 us':>9}",
    ]
    for load, name in (("n1", "1, on one core"), ("n256", "256"), ("n1024", "1,024")):
        one, (low, high) = report[load], report["spread"][load]
        lines.append(
            f"{name:24} {one['jobs_per_s']:10,.0f} {low:10,.0f} {high:10,.0f}"
            f" {one['p50_us']:9,.0f} {one['p99_us']:9,.0f}"
        )
    low, high = report["spread"]["relay"]
    lines += [
        f"{'bare relay, 1,024':24} {report['relay_per_s']:10,.0f} {low:10,.0f} {high:10,.0f}",
        "",
        f"1,024 outstanding: {report['over_relay']:.4f} of the relay (wanted: 0.03)",
        f"1 outstanding: p50 {report['n1']['p50_us']:,.0f} us; 2 fdatasyncs of"
        f" {report['fdatasync_us']:,.0f} us and 6 relays of {report['relay_p50_us']:,.0f} us"
        f" are {report['p50_limit_us']:,.0f} us (wanted: at most that)",
        f"idle: {report['idle_core_percent']:.2f} % of a core, {report['idle_mb']:.0f} MB (wanted: under 1 %)",
        f"1,000 clients and 100,000 waiting jobs: {report['crowd_mb']:.0f} MB (wanted: under 400)",
        "",
        f"{report['machine']}; {report['date']}",
    ]
    return "\n".join(lines)
