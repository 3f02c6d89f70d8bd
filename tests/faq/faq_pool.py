"""A real pool for the questions of docs/faq.md: the tiers and sizes that a pool has by default, two
slots, the emoji model on one thread each, and programs that run until a test lets them end."""

import calendar
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "deploy"))
import pool  # noqa: E402

ASK_S_MAX = 30  # of one gpupool, far more than any of them takes
DAY_MS = 24 * 60 * 60 * 1000
# What the tiers, sizes and apps below say, for the arithmetic of the tests.
FREE_MS, FREE_LONGEST_MS, PRO_MS, ANONYMOUS_MS = 210_000, 180_000, 1_500_000, 120_000
DECLARED_MS = 60_000
# The longest that a job can occupy a slot: longest_s, start_limit_s, kill_grace_s, slot_check_s.
OCCUPANCY_MS = 300_000 + 30_000 + 2_000 + 5_000
# Of a picture. Fewer than by default, so that the tests are quick; the page shows what people get.
STEPS = 30 if os.environ.get("GPUPOOL_FAQ_REWRITE") == "1" else 5

CONFIG = """
[pool]
name = "lab"
roles = {roles}
[broker]
client_endpoint = "tcp://127.0.0.1:*"
worker_address = "{worker_address}"
ready_file = "ready"
rejoin_grace_s = {rejoin_s}
[ledger]
path = "ledger.sqlite"
reserve_bytes = 1048576
[window]
length_s = {window_s}
[worker]
name = "{node}"
broker_address = "{broker_address}"
folder = "{node}"
{devices}
[[identity.keys]]
kid = "main"
secret_file = "main.secret"
[[tiers]]
name = "anonymous"
allowance_s = 120
longest_s = 120
rank = 0
[[tiers]]
name = "free"
allowance_s = 210
longest_s = 180
rank = 1
[[tiers]]
name = "pro"
allowance_s = 1500
longest_s = 300
rank = 2
[[apps]]
name = "emoji"
model = "models/emoji"
# A program that ends when it is told to, with the exit code that it is told.
[[apps]]
name = "train"
executor = "command"
sandbox = "none"
command = ["/bin/sh", "-c", "read code <\\"$0\\" && exit \\"$code\\"", "{{gate}}"]
[[apps.parameters]]
name = "gate"
"""
DEVICE = '[[worker.devices]]\nkind = "cpu"\n'


class Program:
    """A job of app train: it ends when the test says so."""

    def __init__(self, folder, number):
        self.gate = folder / f"gate-{number}"
        os.mkfifo(self.gate)
        self.gate.chmod(0o666)  # where gpupoold is root, the program is nobody
        self.job = None
        self.pipe = None

    def wait_for_start(self):
        """Until it runs: only then its end of the pipe is open."""

        def opened():
            try:
                return os.open(self.gate, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                return None

        if self.pipe is None:
            self.pipe = pool.wait_until(opened, "the program runs", seconds=20)
        return self

    def end(self, code=0):
        self.wait_for_start()
        os.write(self.pipe, f"{code}\n".encode())
        self.close()

    def close(self):
        if self.pipe is not None:
            os.close(self.pipe)
        self.pipe = None


class Pool:
    """gpupoold in a folder of its own. What it started is gone when it is."""

    def __init__(self, slots=2, more="", **settings):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="gpupool-faq-"))
        self.folder.chmod(0o711)  # the user of a program goes through it
        (self.folder / "main.secret").write_text("a secret of these tests, 40 bytes long..")
        (self.folder / "main.secret").chmod(0o600)
        (self.folder / "models").symlink_to(pool.SOURCE / "models")
        self.config = self.configure("pool.toml", devices=DEVICE * slots, more=more, **settings)
        self.endpoint = ""
        self.processes = []
        self.programs = []
        self.log = self.folder / "log"

    def wait_for_start(self):
        self.daemon = self.start(self.config, self.log)

        def ready():
            if self.daemon.poll() is not None:
                raise AssertionError(self.log.read_text())
            values = pool.ready_values(self.folder / "ready")
            return values if values.get("state") == "ready" else None

        self.ready = pool.wait_until(ready, "the pool is ready", seconds=30)
        self.endpoint = self.ready["client"]
        return self

    def configure(self, file, *, more, **settings):
        """`more` are tables of lists, which may come in any order."""
        settings = {"roles": '["broker", "worker"]', "node": "node-1", "broker_address": "",
                    "worker_address": "", "rejoin_s": 5, "window_s": 86_400} | settings
        path = self.folder / file
        path.write_text(CONFIG.format(**settings) + more)
        return path

    def start(self, config, log):
        self.processes.append(pool.start([pool.BUILD / "gpupoold", "--config", config], log))
        return self.processes[-1]

    def add_worker(self, node, partition, more):
        """A process of its own, as if on a machine of its own."""
        config = self.configure(f"{node}.toml", roles='["worker"]', node=node, more=more,
                                broker_address=self.ready["worker"],
                                devices=f'{DEVICE}partition = "{partition}"\n')
        return self.start(config, self.folder / f"{node}.log")

    def stop(self):
        for program in self.programs:
            program.close()
        # Nothing has to be brought to its end: what a daemon started dies with it.
        for process in self.processes:
            process.kill()
            process.wait(ASK_S_MAX)
        shutil.rmtree(self.folder, ignore_errors=True)

    def reload(self, old, new):
        """Changes the configuration as an operator would, and waits for the word of the log."""
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new, 1))
        heard = len(self.log.read_text())
        self.daemon.send_signal(signal.SIGHUP)

        def done():
            said = self.log.read_text()[heard:]
            assert " reload_refused" not in said, said
            return " reloaded: " in said

        pool.wait_until(done, "the configuration is read again", seconds=20)

    def token(self, user, *options):
        """The name of a file with a token, beside the configuration."""
        done = self.run("token", "mint", "--config", self.config, "--user", user, *options)
        assert done.returncode == 0, done.stdout
        name = "-".join((user, *(word.strip("-") for word in options))) + ".token"
        (self.folder / name).write_text(done.stdout)
        return name

    def run(self, *words, token=None, out=subprocess.STDOUT):
        """One gpupool; `token` is a file's name, None: nobody in particular asks."""
        environment = {key: value for key, value in os.environ.items()
                       if not key.startswith("GPUPOOL_")}
        environment.update(GPUPOOL_ENDPOINT=self.endpoint, LC_ALL="C.UTF-8")
        if token is not None:
            environment["GPUPOOL_TOKEN"] = (self.folder / token).read_text().strip()
        return subprocess.run([pool.BUILD / "gpupool", *map(str, words)], text=True,
                              timeout=ASK_S_MAX, cwd=self.folder, env=environment,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=out)

    def ask(self, *words, token=None, code=0):
        """The answer as JSON."""
        done = self.run(*words, "--json", token=token, out=subprocess.PIPE)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def balance(self, token):
        return self.ask("quota", token=token)["balance"]

    def quote(self, token, *options):
        return self.ask("quote", "emoji", *options, token=token)["quote"]

    def receipts(self, token):
        """Newest first."""
        return self.ask("receipts", token=token)["receipts"]

    def draw(self, token, prompt="a red heart", output="/dev/null", **options):
        """Makes a picture; its receipt."""
        options = {"steps": STEPS} | options
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        return self.ask("generate", prompt, "-o", output, *words, token=token)["receipt"]

    def begin(self, token, *options):
        """A job of app train, in the queue or on a slot."""
        program = Program(self.folder, len(self.programs))
        self.programs.append(program)
        done = self.ask("submit", "train", f"gate={program.gate}", "--detach", *options, token=token)
        program.job = done["job"]
        return program

    def finish(self, token, job, code=0):
        """The receipt of a job, once it is over."""
        return self.ask("wait", job, token=token, code=code)["jobs"][0]["receipt"]

    def take_all_slots(self, token):
        """Two programs that run on both slots."""
        return [self.begin(token).wait_for_start() for _ in range(2)]

    def kill_executor_of(self, program):
        """kill -9 of the executor that runs this job: the pool's fault."""
        parents, commands = {}, {}
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                commands[int(entry.name)] = (entry / "cmdline").read_bytes()
            except OSError:  # gone meanwhile
                continue
            parents[int(entry.name)] = int(fields[1])
        at = next(pid for pid, words in commands.items()
                  if words.startswith(b"/bin/sh\0") and bytes(program.gate) in words)
        line = [at]
        while line[-1] != self.daemon.pid:
            line.append(parents[line[-1]])  # never beyond this test's own daemon
        # Nearest to the daemon is the supervisor, which sees the executor's end.
        executor = line[-3]
        assert b"gpupool-command\0" in commands[executor], commands[executor]
        os.kill(executor, signal.SIGKILL)


def now_ms():
    """As the ledger's clock goes; both are of this machine."""
    return time.time_ns() // 1_000_000


def steady_ms():
    return time.monotonic_ns() // 1_000_000


def moment_ms(text):
    """Of an RFC 3339 time in UTC, as --json prints it."""
    whole, _, rest = text.rstrip("Z").partition(".")
    moment = time.strptime(whole, "%Y-%m-%dT%H:%M:%S")
    return calendar.timegm(moment) * 1000 + int((rest or "0").ljust(3, "0"))
