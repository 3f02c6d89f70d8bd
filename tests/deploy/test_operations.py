"""docs/operations*: every alarm of the sources is explained, links lead somewhere, and the restore
drill works as it is printed."""

import os
import pathlib
import re
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

    def test_links_lead_somewhere(self):
        for page in PAGES:
            for target in re.findall(r"\]\(([^)#:]*)(?:#[^)]*)?\)", page.read_text()):
                if target:
                    self.assertTrue((page.parent / target).exists(), f"{page.name}: {target}")

    def test_anchors_are_headings(self):
        for page in PAGES:
            for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
                other = page.parent / target if target else page
                headings = re.findall(r"(?m)^#+ (.+)$", other.read_text())
                made = [re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings]
                self.assertIn(anchor, made, f"{page.name}: {target}")

    def test_files_that_it_names_are_there(self):
        for page in PAGES:
            for path in re.findall(r"`((?:deploy|config|tests)/[\w./-]+)`", page.read_text()):
                self.assertTrue((pool.SOURCE / path).exists(), f"{page.name}: {path}")


class RestoreDrill(unittest.TestCase):
    """The commands of docs/operations/backup.md, over a pool that has charged somebody."""

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        for part in ("state", "backups"):
            (self.folder / part).mkdir()
        (self.folder / "gpupool.toml").write_text(
            f'[broker]\nclient_endpoint = "ipc://{self.folder}/socket"\n'
            f'ready_file = "{self.folder}/ready"\n[ledger]\npath = "{self.folder}/state/ledger.sqlite"\n'
            f'reserve_bytes = 1048576\n[worker]\nfolder = "{self.folder}/state/worker"\n'
            f'[[identity.keys]]\nkid = "main"\nsecret_file = "{self.folder}/main.secret"\n'
            f'[[apps]]\nname = "emoji"\nmodel = "{pool.SOURCE}/models/emoji"\n')
        pool.run(pool.BUILD / "gpupool", "token", "keygen", "--algorithm", "HS256", "--out",
                 self.folder / "main")
        token = pool.run(pool.BUILD / "gpupool", "token", "mint", "--config",
                         self.folder / "gpupool.toml", "--user", "ada").stdout.strip()
        # systemctl, as far as the drill needs it.
        (self.folder / "bin").mkdir()
        stand_in = self.folder / "bin/systemctl"
        stand_in.write_text(STAND_IN.format(folder=self.folder, daemon=pool.BUILD / "gpupoold"))
        stand_in.chmod(0o755)
        (self.folder / "bin/gpupool").symlink_to(pool.BUILD / "gpupool")
        self.environment = dict(os.environ, PATH=f"{self.folder}/bin:{os.environ['PATH']}",
                                GPUPOOL_ENDPOINT=f"ipc://{self.folder}/socket",
                                GPUPOOL_TOKEN=token)
        self.addCleanup(self.end)
        self.run_here("systemctl", "start", "gpupoold")

    def end(self):
        file = self.folder / "pid"
        if file.exists():
            os.kill(int(file.read_text()), signal.SIGKILL)

    def run_here(self, *command):
        return pool.run(*command, env=self.environment, cwd=self.folder).stdout

    def test_a_drill_as_printed_brings_the_books_back(self):
        self.run_here("gpupool", "generate", "a red heart", "--duration", "20", "-o", "heart.png")
        before = self.run_here("gpupool", "receipts")
        page = (pool.SOURCE / "docs/operations/backup.md").read_text()
        drill = re.search(r"```sh\n(.*?)```", page, re.DOTALL)[1]
        self.assertEqual(len(pool.lines_matching("^gpupool audit", drill)), 2)
        drill = drill.replace("/var/lib/gpupool", f"{self.folder}/state")
        drill = drill.replace("/var/backups/gpupool", f"{self.folder}/backups")
        self.run_here("bash", "-euo", "pipefail", "-c", drill)
        self.assertIn("charged", before)
        self.assertEqual(self.run_here("gpupool", "receipts"), before)
        self.run_here("gpupool", "audit", "--ledger", self.folder / "state/ledger.sqlite")
        self.run_here("gpupool", "generate", "a star", "--duration", "20", "-o", "star.png")


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
