"""`bench/run cluster`: a thousand nodes of eight slots on one broker, all on this machine.

A real gpupoold with the broker's role alone and its SQLite ledger, every hold and settle durable; 20
processes of 50 real workers each (the shell that a worker's process has, its store of results and
the thread of its executors' host; only CAF's threads and the connection are shared by 50), which
dial it over loopback and run no-op jobs in the worker; and a client program. Measured: the broker
with nothing but heartbeats; 2,000 jobs a second, due one by one whatever became of the others; as
many jobs as there are slots, at all times; the loss of a process of workers while every slot is
lent (all stand still for that, as runs take no time), from when it falls silent. The peer is the same broker with as many slots on 32 nodes. Last, memory: of the nodes, and of jobs that wait.
"""
import contextlib
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from common import BUILD, ROOT, build, command, machine, tell, today

PROCESSES = 20
NODES_EACH = 50
SLOTS = 8
FEW_NODES = 32
RATE = 2_000
ACCOUNTS = 16
WAITING = 100_000
CONFIG = """
[pool]
roles = ["broker"]
[broker]
client_endpoint = "tcp://127.0.0.1:*"
worker_address = "127.0.0.1:0"
ready_file = "ready"
queue_max = 200000
rejoin_grace_s = {grace}
[ledger]
path = "ledger.sqlite"
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
[[apps]]
name = "nothing"
executor = "noop"
"""


class Cluster:
    """A broker in a folder of its own, on the disk of the build folder, and its workers."""

    def __init__(self, grace=5, disk=ROOT / "build"):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="cluster-", dir=disk))
        self.workers = {}  # processes, by the number of their first node
        secret = self.folder / "bench.secret"
        secret.touch(mode=0o600)
        secret.write_text(secrets.token_hex(32), encoding="ascii")
        config = self.folder / "pool.toml"
        config.write_text(CONFIG.format(grace=grace), encoding="utf-8")
        with open(self.folder / "log", "wb") as log:
            self.broker = subprocess.Popen(
                [str(BUILD / "gpupoold"), "--config", str(config)], stderr=log
            )
        self.ready = self.wait_for_ready_file()
        mint = [BUILD / "gpupool", "token", "mint", "--config", config]
        tokens = [command(*mint, "--user", f"user{i}") for i in range(ACCOUNTS)]
        self.operator = command(*mint, "--user", "root", "--role", "operator").strip()
        self.tokens = self.folder / "tokens"
        self.tokens.write_text("".join(tokens), encoding="ascii")

    def wait_for_ready_file(self):
        ready = self.folder / "ready"
        for _ in range(600):
            if ready.exists() and "worker = " in ready.read_text(encoding="utf-8"):
                return dict(line.split(" = ") for line in ready.read_text().splitlines())
            time.sleep(0.05)
        sys.exit("bench/run: the broker did not start: " + (self.folder / "log").read_text())

    def add_workers(self, first, count, slots=SLOTS):
        words = ["workers", self.ready["build"], self.ready["worker"], self.folder, first, count, slots]
        process = subprocess.Popen(
            [str(BUILD / "bench_cluster"), *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.workers[first] = process
        if b"workers" not in process.stdout.readline():
            sys.exit("bench/run: workers did not start")
        return process

    def wait_for_slots(self, slots):
        """Until so many are free, as the broker sees it."""
        environment = dict(os.environ, GPUPOOL_TOKEN=self.operator)
        words = [str(BUILD / "gpupool"), "nodes", "--json", "--endpoint", self.ready["client"]]
        for _ in range(240):
            done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
            found = re.search(r"(\d+) with a job, (\d+) free", done.stdout)
            if found and int(found.group(2)) >= slots:
                return
            time.sleep(0.25)
        sys.exit(f"bench/run: {slots} slots did not become free: {done.stdout[-500:]} {done.stderr}")

    def load(self, what, *words):
        client = [BUILD / "bench_cluster", what, self.ready["client"], self.tokens, *words]
        return json.loads(command(*client))

    def disk(self):
        return json.loads(command(BUILD / "bench_dispatch", "fdatasync", self.folder, 1))

    def memory_kb(self):
        for line in pathlib.Path(f"/proc/{self.broker.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0

    def core_seconds(self):
        fields = pathlib.Path(f"/proc/{self.broker.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def idle_percent(self, seconds):
        begin, before = time.monotonic(), self.core_seconds()
        time.sleep(seconds)
        return 100 * (self.core_seconds() - before) / (time.monotonic() - begin)

    def close(self):
        for process in self.workers.values():
            process.kill()
            process.wait()
        self.broker.send_signal(signal.SIGKILL)
        self.broker.wait()
        shutil.rmtree(self.folder)


def summary(found):
    offer, keep = found["offer"][-1], found["keep"][-1]
    return (
        f"{offer['jobs_per_s']:,.0f} jobs/s offered, p99 {offer['dispatch_p99_ms']:.1f} ms;"
        f" {keep['jobs_per_s']:,.0f} jobs/s on all slots"
    )


def start_nodes(cluster, processes, each, slots):
    begin = time.monotonic()
    for i in range(processes):
        cluster.add_workers(i * each, each, slots)
    cluster.wait_for_slots(processes * each * slots)
    return time.monotonic() - begin


def measure_thousand(rounds, seconds):
    """Everything that is measured on 1,000 nodes."""
    found = {"heartbeats": [], "disk": [], "offer": [], "keep": [], "moved_s": [], "failed": 0}
    with contextlib.closing(Cluster()) as cluster:
        time.sleep(2)
        empty_kb = cluster.memory_kb()
        tell("1,000 nodes join")
        found["joined_s"] = start_nodes(cluster, PROCESSES, NODES_EACH, SLOTS)
        time.sleep(5)
        found["node_kb"] = (cluster.memory_kb() - empty_kb) / (PROCESSES * NODES_EACH)
        for turn in range(rounds):
            tell(f"round {turn + 1} of {rounds}")
            found["heartbeats"].append(cluster.idle_percent(seconds))
            found["disk"].append(cluster.disk())
            found["offer"].append(cluster.load("offer", RATE, seconds))
            found["keep"].append(cluster.load("keep", PROCESSES * NODES_EACH * SLOTS, seconds))
            first = turn % PROCESSES * NODES_EACH
            victim = cluster.workers[first]
            others = [one.pid for one in cluster.workers.values() if one is not victim]
            jobs = PROCESSES * NODES_EACH * SLOTS
            lost = cluster.load("lose", jobs, victim.pid, *others)
            victim.wait()
            names = {f"node-{first + i}" for i in range(NODES_EACH)}
            found["moved_s"] += [after for node, after in lost["moved_s"].items() if node in names]
            found["failed"] += lost["failed"]
            tell(f"  {lost['started']:,} jobs on their slots, {len(found['moved_s'])} nodes lost")
            cluster.add_workers(first, NODES_EACH)
            cluster.wait_for_slots(PROCESSES * NODES_EACH * SLOTS)
            tell(f"  {found['heartbeats'][-1]:.1f} % of a core, {summary(found)}")
    return found


def measure_peer(rounds, seconds):
    """As many slots on a few large nodes, in one process."""
    found = {"heartbeats": [], "offer": [], "keep": []}
    nodes, slots = FEW_NODES, PROCESSES * NODES_EACH * SLOTS // FEW_NODES
    with contextlib.closing(Cluster()) as cluster:
        start_nodes(cluster, 1, nodes, slots)
        time.sleep(3)
        for turn in range(rounds):
            tell(f"{nodes} nodes: round {turn + 1} of {rounds}")
            found["heartbeats"].append(cluster.idle_percent(seconds))
            found["offer"].append(cluster.load("offer", RATE, seconds))
            found["keep"].append(cluster.load("keep", nodes * slots, seconds))
            tell(f"  {found['heartbeats'][-1]:.1f} % of a core, {summary(found)}")
    return found


def measure_in_memory(rounds, seconds):
    """What the disk's part is: the offered load with the ledger on a tmpfs, durable no more."""
    found = {"offer": []}
    with contextlib.closing(Cluster(disk="/dev/shm")) as cluster:
        start_nodes(cluster, PROCESSES, NODES_EACH, SLOTS)
        for _ in range(rounds):
            found["offer"].append(cluster.load("offer", RATE, seconds))
    return found


def weigh_waiting():
    """Memory of each of so many jobs that wait, while no node has come yet."""
    with contextlib.closing(Cluster(grace=300)) as cluster:
        time.sleep(2)
        before = cluster.memory_kb()
        words = ["gather", cluster.ready["client"], cluster.tokens, WAITING, 200]
        with subprocess.Popen(
            [str(BUILD / "bench_cluster"), *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as crowd:
            queued = json.loads(crowd.stdout.readline())["queued"]
            time.sleep(4)
            after = cluster.memory_kb()
            crowd.stdin.close()
        return (after - before) / queued


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def cluster(args):
    build("gpupoold"), build("gpupool"), build("bench_cluster"), build("bench_dispatch")
    found = measure_thousand(args.rounds, args.seconds)
    if not found["moved_s"]:
        sys.exit("bench/run: no job of a lost node started elsewhere")
    peer = measure_peer(args.rounds, args.seconds)
    tell("the ledger in memory")
    memory = measure_in_memory(args.rounds, args.seconds)
    tell(f"{WAITING:,} waiting jobs")
    waiting_kb = weigh_waiting()

    def median(rounds, what, key):
        return statistics.median(one[key] for one in rounds[what])

    def spread(what, key):
        return [min(one[key] for one in found[what]), max(one[key] for one in found[what])]

    report = {
        "nodes": PROCESSES * NODES_EACH,
        "slots": PROCESSES * NODES_EACH * SLOTS,
        "jobs_per_s": median(found, "offer", "jobs_per_s"),
        "dispatch_p50_ms": median(found, "offer", "dispatch_p50_ms"),
        "dispatch_p99_ms": median(found, "offer", "dispatch_p99_ms"),
        "memory_dispatch_p99_ms": median(memory, "offer", "dispatch_p99_ms"),
        "done_p99_ms": median(found, "offer", "done_p99_ms"),
        "full_jobs_per_s": median(found, "keep", "jobs_per_s"),
        "fdatasync_p50_ms": median(found, "disk", "p50_us") / 1e3,
        "fdatasync_p99_ms": median(found, "disk", "p99_us") / 1e3,
        "heartbeat_core_percent": statistics.median(found["heartbeats"]),
        "loss_p50_s": percentile(found["moved_s"], 0.5),
        "loss_p99_s": percentile(found["moved_s"], 0.99),
        "lost_nodes": len(found["moved_s"]),
        "lost_jobs_failed": found["failed"],
        "joined_s": found["joined_s"],
        "node_kb": found["node_kb"],
        "waiting_job_kb": waiting_kb,
        "spread": {
            "jobs_per_s": spread("offer", "jobs_per_s"),
            "dispatch_p99_ms": spread("offer", "dispatch_p99_ms"),
            "full_jobs_per_s": spread("keep", "jobs_per_s"),
            "heartbeat_core_percent": [min(found["heartbeats"]), max(found["heartbeats"])],
            "loss_s": [min(found["moved_s"], default=None), max(found["moved_s"], default=None)],
        },
        "few_nodes": {
            "nodes": FEW_NODES,
            "jobs_per_s": median(peer, "offer", "jobs_per_s"),
            "dispatch_p99_ms": median(peer, "offer", "dispatch_p99_ms"),
            "full_jobs_per_s": median(peer, "keep", "jobs_per_s"),
            "heartbeat_core_percent": statistics.median(peer["heartbeats"]),
        },
        "load_average": os.getloadavg()[1],
        "rounds": args.rounds,
        "machine": machine(),
        "date": today(),
    }
    print(json.dumps(report) if args.json else table_of(report))


def table_of(report):
    few = report["few_nodes"]
    lines = [
        f"{report['nodes']:,} nodes of {SLOTS} slots on one broker, no-op jobs, every hold and settle",
        f"durable in SQLite; medians of {report['rounds']} rounds.",
        "",
        f"{'':34} {'1,000 nodes':>12} {'lowest':>9} {'highest':>9} {'32 nodes':>9}  wanted",
    ]

    def row(name, key, wanted, digits=1):
        low, high = report["spread"][key]
        lines.append(
            f"{name:34} {report[key]:12,.{digits}f} {low:9,.{digits}f} {high:9,.{digits}f}"
            f" {few[key]:9,.{digits}f}  {wanted}"
        )

    row("heartbeats, % of a core", "heartbeat_core_percent", "under 10")
    row(f"{RATE:,} jobs/s offered: ended a second", "jobs_per_s", f"{RATE:,}", 0)
    row("  due to told to start, p99 ms", "dispatch_p99_ms", "under 50")
    row("all slots in use: jobs/s", "full_jobs_per_s", "", 0)
    low, high = report["spread"]["loss_s"]
    lines += [
        "",
        f"loss of {NODES_EACH} nodes at once, until the first of a node's jobs starts elsewhere: p50"
        f" {report['loss_p50_s']:.2f} s, p99 {report['loss_p99_s']:.2f} s, {low:.2f} to {high:.2f} s over"
        f" {report['lost_nodes']} nodes (wanted: p99 under 6); {report['lost_jobs_failed']} jobs failed",
        f"offered load: dispatch p50 {report['dispatch_p50_ms']:.1f} ms, to the receipt p99"
        f" {report['done_p99_ms']:.1f} ms; all nodes joined {report['joined_s']:.1f} s after the first",
        f"the disk beside it: fdatasync p50 {report['fdatasync_p50_ms']:.1f} ms, p99"
        f" {report['fdatasync_p99_ms']:.1f} ms; with the ledger on a"
        f" tmpfs instead, dispatch p99 {report['memory_dispatch_p99_ms']:.1f} ms",
        f"memory of the broker: {report['node_kb']:.1f} KB a node, {report['waiting_job_kb']:.2f} KB a"
        " waiting job",
        "",
        f"{report['machine']}; load average {report['load_average']:.1f} (of this: about 2); {report['date']}",
    ]
    return "\n".join(lines)
