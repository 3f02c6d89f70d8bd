"""docs/operations*: every alarm of the sources is explained, the files that they name are there, and
the restore drill works as it is printed."""

import os
import pathlib
import re
import shutil
import signal
import tempfile
import unittest

import pool

PAGES = [pool.SOURCE / "docs/operations.md", *sorted((pool.SOURCE / "docs/operations").glob("*.md"))]
WATCHING = pool.SOURCE / "docs/operations/watching.md"
# How an event comes to be logged at level warn, error or critical.
LOGGED = [r'say\(\s*LogLevel::(?:warn|error|critical),\s*"([a-z_]+)"',
          r'end_now\(\s*\w+,\s*"([a-z_]+)"']
MADE = r"\.level = ([^\n]*?),\s*\.event =(.*?),\s*\."


def alarms():
    """Events of the sources, and in which file each is made."""
    found = {}
    for folder in ("actors", "cli", "net"):
        for file in sorted((pool.SOURCE / folder).rglob("*.cpp")):
            text = file.read_text()
            events = [event for pattern in LOGGED for event in re.findall(pattern, text)]
            for level, event in re.findall(MADE, text, re.DOTALL):
                # A level that depends is one of a warning at times.
                if not re.fullmatch(r"LogLevel::(trace|debug|info)", level):
                    events += re.findall(r'"([a-z_]+)"', event)
            found.update({event: file.relative_to(pool.SOURCE) for event in events})
    return found


class Pages(unittest.TestCase):
    def test_every_alarm_of_the_sources_is_explained(self):
        text = WATCHING.read_text()
        found = alarms()
        # The patterns still meet what they are made for.
        self.assertGreater(len(found), 20, found)
        for known in ("node_lost", "slot_out", "deposed", "ledger_unavailable", "cannot_start"):
            self.assertIn(known, found)
        missing = {event: str(file) for event, file in found.items() if f"`{event}`" not in text}
        self.assertEqual(missing, {}, "docs/operations/watching.md says nothing about these")

    def test_every_exit_code_of_the_daemon_is_explained(self):
        text = WATCHING.read_text()
        for code in re.findall(r"exit_\w+ = (\d+)", (pool.SOURCE / "cli/daemon.h").read_text()):
            self.assertRegex(text, rf"(?m)^\| {code} \|")

    def test_files_that_it_names_are_there(self):
        for page in PAGES:
            for path in re.findall(r"`((?:deploy|config|tests)/[\w./-]+)`", page.read_text()):
                self.assertTrue((pool.SOURCE / path).exists(), f"{page.name}: {path}")


def drill(number):
    """The commands of one of the pages' blocks."""
    page = (pool.SOURCE / "docs/operations/backup.md").read_text()
    return re.findall(r"```sh\n(.*?)```", page, re.DOTALL)[number]


class Drill(unittest.TestCase):
    """A pool that has charged somebody, and a systemctl that starts and stops it."""

    def begin(self, ledger):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.folder.chmod(0o755)  # a database server of another user goes through it
        for part in ("state", "backups", "bin"):
            (self.folder / part).mkdir()
        (self.folder / "gpupool.toml").write_text(
            f'[broker]\nclient_endpoint = "ipc://{self.folder}/socket"\n'
            f'ready_file = "{self.folder}/ready"\n[ledger]\npath = "{self.folder}/state/ledger.sqlite"\n'
            f'{ledger}[worker]\nfolder = "{self.folder}/state/worker"\n'
            f'[[identity.keys]]\nkid = "main"\nsecret_file = "{self.folder}/main.secret"\n'
            f'[[apps]]\nname = "emoji"\nmodel = "{pool.SOURCE}/models/emoji"\n')
        gpupool = pool.BUILD / "gpupool"
        (self.folder / "bin/gpupool").symlink_to(gpupool)
        pool.run(gpupool, "token", "keygen", "--algorithm", "HS256", "--out", self.folder / "main")
        token = pool.run(gpupool, "token", "mint", "--config", self.folder / "gpupool.toml",
                         "--user", "ada").stdout.strip()
        stand_in = self.folder / "bin/systemctl"
        stand_in.write_text(STAND_IN.format(folder=self.folder, daemon=pool.BUILD / "gpupoold"))
        stand_in.chmod(0o755)
        self.environment = dict(os.environ, PATH=f"{self.folder}/bin:{os.environ['PATH']}",
                                GPUPOOL_ENDPOINT=f"ipc://{self.folder}/socket",
                                GPUPOOL_TOKEN=token)
        self.addCleanup(self.end)

    def end(self):
        file = self.folder / "pid"
        if file.exists():
            os.kill(int(file.read_text()), signal.SIGKILL)
            file.unlink()

    def run_here(self, *command):
        return pool.run(*command, env=self.environment, cwd=self.folder).stdout

    def draw(self, name):
        self.run_here("gpupool", "generate", "a red heart", "--duration", "20", "-o", name)

    def carry_out(self, commands):
        """Between two pictures: what people were charged is the same before and after."""
        self.run_here("systemctl", "start", "gpupoold")
        self.draw("before.png")
        before = self.run_here("gpupool", "receipts")
        self.assertIn("charged", before)
        commands = commands.replace("/var/lib/gpupool", f"{self.folder}/state")
        commands = commands.replace("/var/backups/gpupool", f"{self.folder}/backups")
        said = self.run_here("bash", "-euo", "pipefail", "-c", commands)
        self.assertEqual(len(pool.lines_matching("everything adds up", said)),
                         len(pool.lines_matching("^gpupool audit", commands)))
        self.assertEqual(self.run_here("gpupool", "receipts"), before)
        self.draw("after.png")


class SqliteDrill(Drill):
    def test_it_brings_the_books_back_as_printed(self):
        self.begin("reserve_bytes = 1048576\n")
        self.carry_out(drill(0))


SERVER = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))


@unittest.skipIf(not SERVER or os.geteuid() != 0, "no PostgreSQL server, or not root to start one")
class PostgresDrill(Drill):
    def server(self, program, *words):
        """One of the server's programs, which will not be root."""
        pool.run("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups",
                 SERVER[-1].with_name(program), *words)

    def test_it_brings_the_books_back_as_printed(self):
        self.begin("")
        files = self.folder / "server"
        files.mkdir()
        shutil.chown(files, "postgres", "postgres")
        self.server("initdb", "--auth=trust", "--no-sync", f"--pgdata={files}/data")
        self.server("pg_ctl", f"--pgdata={files}/data", f"--log={files}/log", "--wait", "-o",
                    f"-c unix_socket_directories={files} -c listen_addresses=", "start")
        self.addCleanup(self.server, "pg_ctl", f"--pgdata={files}/data", "--mode=immediate", "stop")
        self.environment.update(PGHOST=str(files), PGUSER="postgres")
        self.run_here("createdb", "ledger")
        where = f"host={files} dbname=ledger user=postgres"
        config = self.folder / "gpupool.toml"
        config.write_text(config.read_text().replace(
            "[worker]", f'journal = "postgres"\npostgres = "{where}"\n[worker]'))
        self.addCleanup(self.end)  # before its server
        self.carry_out(drill(1).replace("host=db1 dbname=ledger user=gpupool", where))


STAND_IN = """#!/bin/bash
set -eu
cd {folder}
case $1 in
  start)
    rm -f ready
    setsid {daemon} --config gpupool.toml >>log 2>&1 </dev/null &
    echo $! >pid
    for ((tries = 600; tries > 0; tries--)); do
      if grep -qs '^state = ready' ready; then exit 0; fi
      kill -0 "$(cat pid)" || {{ cat log; exit 1; }}
      sleep 0.1
    done
    exit 1
    ;;
  stop)
    kill -TERM "$(cat pid)"
    for ((tries = 600; tries > 0; tries--)); do
      kill -0 "$(cat pid)" 2>/dev/null || {{ rm pid; exit 0; }}
      sleep 0.1
    done
    exit 1
    ;;
esac
"""


if __name__ == "__main__":
    pool.main()
