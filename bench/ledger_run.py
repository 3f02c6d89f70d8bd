"""`bench/run ledger`: durable holds and settles a second, through the ledger's actor.

10,000 accounts, requests of 200 bytes; an operation is a hold or a settle. Beside it in the same
rounds: the same over PostgreSQL, the ledger's core alone, the disk's fdatasync, SQLite with a row
per command, and PostgreSQL with a transaction per command (pgbench). Then what an account takes, and what a start takes.
"""
import contextlib
import json
import os
import pathlib
import pwd
import shutil
import statistics
import subprocess
import sys
import tempfile

from common import BUILD, build, command, machine, tell, today

LOADS = (1, 16, 256)
POSTGRES_LOADS = (16, 256)


def bench(*words):
    return json.loads(command(BUILD / "bench_ledger", *words))


def flushes_of(folder):
    """How often the disk under this folder was flushed; None where it does not say."""
    device = os.stat(folder).st_dev
    with open("/proc/diskstats", encoding="utf-8") as lines:
        for line in lines:
            fields = line.split()
            if (int(fields[0]), int(fields[1])) == (os.major(device), os.minor(device)):
                return int(fields[18]) if len(fields) > 18 else None
    return None


class Cluster:
    """A throwaway PostgreSQL on a socket of its own; `found` says whether it is there."""

    def __init__(self):
        places = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        self.found = bool(places)
        if not self.found:
            return
        self.bin = places[-1].parent
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="gpupool-pgbench-"))
        # The server refuses to be root.
        self.user = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        self.call("initdb", "-D", self.folder / "data", "-A", "trust", "--no-sync")
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder} -c max_connections=300"
        log = self.folder / "log"  # a server that wrote to our pipe would keep it open
        self.call("pg_ctl", "-D", self.folder / "data", "-l", log, "-w", "-o", options, "start")
        script = (
            "\\set account random(0, 9999)\n"
            "BEGIN;\n"
            "INSERT INTO commands (account, body) VALUES (:account, repeat('b', 300));\n"
            "UPDATE balances SET held = held + 1 WHERE account = :account;\n"
            "END;\n"
        )
        self.script = self.folder / "command.sql"
        self.script.write_text(script, encoding="utf-8")
        self.call(
            "psql", "-h", self.folder, "-q", "-d", "postgres", "-c",
            "CREATE TABLE commands (number bigserial PRIMARY KEY, account int, body text);"
            "CREATE TABLE balances (account int PRIMARY KEY, held bigint NOT NULL);"
            "INSERT INTO balances SELECT n, 0 FROM generate_series(0, 9999) n",
        )

    def call(self, program, *words):
        done = subprocess.run(
            [str(self.bin / program), *map(str, words)],
            user=self.user.pw_uid, group=self.user.pw_gid, cwd=self.folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
        )
        if done.returncode != 0:
            sys.exit(f"bench/run: {program} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def transactions_per_s(self, clients, seconds):
        said = self.call(
            "pgbench", "-h", self.folder, "-n", "-c", clients, "-j", os.cpu_count(),
            "-T", max(1, round(seconds)), "-f", self.script, "postgres",
        )
        for line in said.splitlines():
            if line.startswith("tps = "):
                return float(line.split()[2])
        return sys.exit("bench/run: pgbench gave no rate")

    def ledger(self, load, folder, seconds):
        """The ledger's actor over its journal in this server, in a schema that is gone afterwards."""
        place = f"postgres:host={self.folder} user={self.user.pw_name} dbname=postgres"
        found = bench("actor", place, folder / f"history-{load}", load, seconds)
        self.call("psql", "-h", self.folder, "-q", "-d", "postgres", "-c", "SET client_min_messages = error;"
                  "DROP SCHEMA gpupool CASCADE")
        return found

    def close(self):
        if self.found:
            self.call("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "stop")
            shutil.rmtree(self.folder, ignore_errors=True)


def measure_round(seconds, folder, cluster):
    found = {
        "core": bench("core", seconds),
        "map": bench("map", seconds),
        "fdatasync": bench("fdatasync", folder, seconds),
    }
    for load in LOADS:
        path = folder / f"ledger-{load}.sqlite"
        before = flushes_of(folder)
        found[f"n{load}"] = bench("actor", path, f"{path}-history", load, seconds)
        found[f"n{load}"]["flushes"] = None if before is None else flushes_of(folder) - before
        found[f"rows{load}"] = bench("sqlite-rows", folder / f"rows-{load}.sqlite", load, seconds)
    if cluster.found:
        for load in POSTGRES_LOADS:
            found[f"postgres{load}"] = cluster.ledger(load, folder, seconds)
        found["postgres_single"] = cluster.transactions_per_s(256, seconds)
    for file in folder.iterdir():
        file.unlink()
    return found


def ledger(args):
    build("bench_ledger")
    rounds = []
    with contextlib.closing(Cluster()) as cluster, tempfile.TemporaryDirectory(
        prefix="gpupool-bench-", dir="/var/tmp"
    ) as name:
        folder = pathlib.Path(name)
        for turn in range(args.rounds):
            tell(f"round {turn + 1} of {args.rounds}")
            rounds.append(measure_round(args.seconds, folder, cluster))
        tell("accounts in memory, and a start")
        weight = bench("accounts", args.accounts)
        start = bench("start", folder / "start.sqlite", args.records)

    def median(name, key):
        return statistics.median(one[name][key] for one in rounds)

    keys = ("ops_per_s", "p50_us", "p99_us")
    single = [one["postgres_single"] for one in rounds if "postgres_single" in one]
    report = {
        "fdatasync_per_s": median("fdatasync", "syncs_per_s"),
        "fdatasync_us": median("fdatasync", "p50_us"),
        "core_ops_per_s": median("core", "ops_per_s"),
        "map_ops_per_s": median("map", "ops_per_s"),
        "sqlite": {f"n{load}": {key: median(f"n{load}", key) for key in keys} for load in LOADS},
        "sqlite_rows": {f"n{load}": {"ops_per_s": median(f"rows{load}", "ops_per_s")} for load in LOADS},
        "postgres": {
            f"n{load}": {key: median(f"postgres{load}", key) for key in keys} if cluster.found else None
            for load in POSTGRES_LOADS
        },
        "postgres_single": {"n256": {"ops_per_s": statistics.median(single) if single else None}},
        "spread": {
            f"n{load}": [
                min(one[f"n{load}"]["ops_per_s"] for one in rounds),
                max(one[f"n{load}"]["ops_per_s"] for one in rounds),
            ]
            for load in LOADS
        },
        "commits": sum(one[f"n{load}"]["commits"] for one in rounds for load in LOADS),
        "flushes": sum(one[f"n{load}"]["flushes"] or 0 for one in rounds for load in LOADS),
        "accounts": weight,
        "start": start,
        "rounds": args.rounds,
        "machine": machine(),
        "date": today(),
    }
    print(json.dumps(report) if args.json else table_of(report))


def postgres_lines(report):
    single = report["postgres_single"]["n256"]["ops_per_s"]
    for load in POSTGRES_LOADS:
        one = report["postgres"][f"n{load}"]
        if one is None:
            yield f"the ledger over PostgreSQL, {load} outstanding: PostgreSQL is not installed"
        else:
            yield (
                f"the ledger over PostgreSQL, {load} outstanding: {one['ops_per_s']:,.0f} ops/s,"
                f" p50 {one['p50_us']:,.0f} us, p99 {one['p99_us']:,.0f} us;"
                f" {one['ops_per_s'] / single:.1f} x a transaction per command"
            )


def table_of(report):
    lines = [
        "Durable holds and settles through the ledger's actor: 10,000 accounts, requests of 200 bytes;",
        f"medians of {report['rounds']} rounds, all in turn.",
        "",
        f"{'outstanding':14} {'ops/s':>10} {'lowest':>10} {'highest':>10} {'p50 us':>8} {'p99 us':>8}"
        f" {'SQLite rows':>12} {'PostgreSQL':>11}",
    ]
    for load in LOADS:
        one, (low, high) = report["sqlite"][f"n{load}"], report["spread"][f"n{load}"]
        single = report["postgres_single"]["n256"]["ops_per_s"] if load == 256 else None
        lines.append(
            f"{load:<14} {one['ops_per_s']:10,.0f} {low:10,.0f} {high:10,.0f} {one['p50_us']:8,.0f}"
            f" {one['p99_us']:8,.0f} {report['sqlite_rows'][f'n{load}']['ops_per_s']:12,.0f}"
            f" {'' if single is None else f'{single:,.0f}':>11}"
        )
    weight, start = report["accounts"], report["start"]
    lines += [
        "",
        "SQLite rows: a row per command, so many in each transaction, nothing else. PostgreSQL: a",
        "transaction per command (pgbench, 256 connections).",
        *postgres_lines(report),
        f"core alone: {report['core_ops_per_s']:,.0f} ops/s (wanted: 3,000,000); three bare hash maps:"
        f" {report['map_ops_per_s']:,.0f}",
        f"disk: {report['fdatasync_per_s']:,.0f} fdatasyncs of 4 KiB a second, p50 {report['fdatasync_us']:,.0f} us",
        f"{report['commits']:,} commits, {report['flushes']:,} flushes of the disk meanwhile",
        f"an account with a window and a receipt: {weight['bytes_per_account']:,.0f} bytes"
        f" of memory ({weight['accounts']:,} measured; wanted: 400)",
        f"a start over {start['records']:,} records: {start['start_s']:.1f} s,"
        f" {start['disk_bytes'] / 1e6:,.0f} MB on disk, {start['resident_bytes'] / 1e6:,.0f} MB in memory",
        "",
        f"{report['machine']}; {report['date']}",
    ]
    return "\n".join(lines)
