"""A pool that serves Spaces, and a Space with the real packages in front of it, for tests."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "deploy"))
import pool  # noqa: E402
from relay import Relay  # noqa: E402,F401

HERE = pathlib.Path(__file__).parent
PINS = HERE / "requirements.txt"
PREFIX = "/s/0123456789abcdef"
CONFIG = """
[pool]
roles = ["broker", "worker"]
[broker]
client_endpoint = "tcp://127.0.0.1:*"
ready_file = "ready"
[ledger]
path = "ledger.sqlite"
[worker]
folder = "worker"
[[worker.devices]]
kind = "cpu"
slots = {slots}
[http]
endpoint = "127.0.0.1:0"
[[identity.keys]]
kid = "main"
secret_file = "main.secret"
[[tiers]]
name = "anonymous"
allowance_s = 300
longest_s = 120
jobs_max = {jobs_max}
[[tiers]]
name = "free"
allowance_s = {allowance}
longest_s = 180
jobs_max = {jobs_max}
[[tiers]]
name = "pro"
allowance_s = 7200
longest_s = 300
jobs_max = 16
[[apps]]
name = "demo"
executor = "external"
spread = "device"
[[spaces]]
name = "demo"
prefix = "{prefix}"
app = "demo"
"""


def environment():
    return pool.packages("spaces-packages", PINS)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


SECRET = b"0123456789abcdef0123456789abcdef"


def mint(**claims):
    return pool.mint(SECRET, **claims)


def is_alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


class Caller:
    """tests/spaces/caller.py, once it has its slot."""

    def __init__(self, url, seconds, token="-", *how, inside=()):
        """`inside`: the command that it is started by, e.g. to be in a namespace."""
        self.process = subprocess.Popen(
            [*inside, "python3", HERE / "caller.py", url, token, str(seconds), *how], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = self.process.stdout.readline()
        assert line, "the caller got no slot"
        self.granted = json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()

    def say(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def release(self):
        self.process.communicate("\n", timeout=30)


def post(url):
    """The status and the body of an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=b""), timeout=70) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read()


class Pool:
    """One gpupoold with its device API, in a folder of its own."""

    def __init__(self, slots=1, jobs_max=4, allowance=600, more=""):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="gpupool-spaces-"))
        (self.folder / "main.secret").write_bytes(SECRET)
        (self.folder / "main.secret").chmod(0o600)
        self.config = self.folder / "pool.toml"
        self.config.write_text(CONFIG.format(slots=slots, jobs_max=jobs_max, allowance=allowance,
                                             prefix=PREFIX) + more)
        self.log = self.folder / "log"
        self.start()

    def start(self):
        (self.folder / "ready").unlink(missing_ok=True)
        self.process = pool.start([pool.BUILD / "gpupoold", "--config", self.config], self.log)

        def ready():
            if self.process.poll() is not None:
                raise AssertionError(self.log.read_text())
            values = pool.ready_values(self.folder / "ready")
            return values if values.get("state") == "ready" and "http" in values else None

        values = pool.wait_until(ready, "the pool is ready")
        self.client, self.http = values["client"], values["http"]
        self.url = f"http://{self.http}{PREFIX}"

    def token(self, user, *more):
        done = pool.run(pool.BUILD / "gpupool", "token", "mint", "--config", self.config, "--user",
                        user, *more)
        return done.stdout.strip()

    def gpupool(self, user, *words, check=True, operator=False):
        mint = ["--role", "operator"] if operator else []
        token = self.token(user, *mint)
        done = pool.run(pool.BUILD / "gpupool", *words, "--endpoint", self.client, "--json",
                        check=check, env=os.environ | {"GPUPOOL_TOKEN": token})
        return json.loads(done.stdout) if done.stdout.strip().startswith(("{", "[")) else {}

    def receipts(self, user):
        """Newest first."""
        return self.gpupool(user, "receipts")["receipts"]

    def quota(self, token):
        request = urllib.request.Request(f"http://{self.http}/api/spaces/zero-gpu/quota",
                                         headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def queue_size(self):
        with urllib.request.urlopen(self.url + "/queue-size", timeout=20) as answer:
            return json.load(answer)

    def audit(self):
        return pool.run(pool.BUILD / "gpupool", "audit", "--ledger",
                        self.folder / "ledger.sqlite", check=False)

    def all_slots_free(self):
        table = self.gpupool("root", "nodes", operator=True)
        return all(row["slot_state"] == "free" for row in table["rows"])

    def end(self):
        pool.stop(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)


class Space:
    """tests/spaces/app.py under the real packages."""

    def __init__(self, python, url, expects_start=True, **more):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="gpupool-space-"))
        (self.folder / "cgroup").write_text("0::/space-a")
        self.port = free_port()
        self.log = self.folder / "log"
        env = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        env |= {"SPACES_ZERO_GPU": "true", "SPACES_ZERO_DEVICE_API_URL": url,
                "ZEROGPU_PROC_SELF_CGROUP_PATH": str(self.folder / "cgroup"),
                "ZEROGPU_OFFLOAD_DIR": str(self.folder), "GRADIO_ANALYTICS_ENABLED": "False",
                "HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1,localhost", "HOME": str(self.folder),
                "GRADIO_SERVER_PORT": str(self.port), "PYTHONUNBUFFERED": "1"} | more
        self.process = pool.start([python, HERE / "app.py"], self.log, env=env)
        self.url = f"http://127.0.0.1:{self.port}"
        if expects_start:
            pool.wait_until(self.is_up, "the Space is up", seconds=120)

    def is_up(self):
        if self.process.poll() is not None:
            raise AssertionError(self.log.read_text())
        try:
            with urllib.request.urlopen(self.url + "/config", timeout=5):
                return True
        except OSError:
            return False

    def said(self):
        return self.log.read_text()

    def kill(self):
        """The server alone: its workers are left behind, as after a crash."""
        self.process.kill()
        self.process.wait()

    def end(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
