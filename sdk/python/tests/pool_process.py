"""A real pool for tests: a gpupoold over a folder of its own, on a free loopback port, or a file.

What it started is killed when it goes. It is waited for by the messages that the daemon sends to a
service manager, and every wait is bounded.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

SOURCE = Path(os.environ.get("GPUPOOL_SOURCE_DIR") or Path(__file__).parents[3])
BUILD = Path(os.environ.get("GPUPOOL_BUILD_DIR") or SOURCE / "build" / "release")
PATIENCE_S = 30.0
PREFIX = "/s/0123456789abcdef"
READY = " is ready, clients: "

CONFIGURATION = """
[pool]
name = "test"
[broker]
client_endpoint = "{endpoint}"
curve_secret_file = "{curve}"
ready_file = "ready"
[ledger]
path = "ledger.sqlite"
reserve_bytes = 1048576
[worker]
folder = "worker"
[[worker.devices]]
kind = "cpu"
[identity]
anonymous = false
[[identity.keys]]
kid = "k1"
secret_file = "k1.secret"
[[tiers]]
name = "free"
allowance_s = 210
longest_s = 180
rank = 1
jobs_max = 40
[[tiers]]
name = "small"
allowance_s = 50
longest_s = 180
[[apps]]
name = "emoji"
model = "{model}"
[[apps]]
name = "nothing"
executor = "noop"
[http]
endpoint = "127.0.0.1:0"
[[worker.devices]]
kind = "cpu"
partition = "callers"
slots = 2
[[apps]]
name = "gpu"
executor = "external"
partition = "callers"
spread = "device"
[[spaces]]
name = "tests"
prefix = "{prefix}"
app = "gpu"
"""


class PoolProcess:
    def __init__(self, folder: Path, *, curve: bool = False, file: bool = False) -> None:
        """`file`: on a socket file: nobody else can have the endpoint between two starts."""
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = f"ipc://{folder}/pool.sock" if file else "tcp://127.0.0.1:*"
        self.server_key = ""
        (folder / "k1.secret").write_text("a secret of these tests, 40 bytes long..")
        (folder / "k1.secret").chmod(0o600)
        self._curve = ""
        if curve:
            self.gpupool("keys", "curve", "--out", str(folder / "curve"))
            self._curve = "curve.secret"
            self.server_key = (folder / "curve.public").read_text().strip()

    @property
    def configuration(self) -> Path:
        return self.folder / "gpupool.toml"

    def start(self) -> PoolProcess:
        """Until it is ready."""
        self._configure()
        news = self.folder / "notify"
        news.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(str(news))
            with open(self.folder / "log", "ab") as log:
                self._process = subprocess.Popen(
                    [BUILD / "gpupoold", "--config", self.configuration],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, "NOTIFY_SOCKET": str(news)},
                )
            give_up = time.monotonic() + PATIENCE_S
            has_started = can_run = False
            while (left := give_up - time.monotonic()) > 0:
                told.settimeout(left)
                try:
                    text = told.recv(4096).decode()
                except TimeoutError:
                    break
                # Its node's device API is open once it has started, which may come later.
                has_started = has_started or text.startswith("READY=1")
                if READY in text:
                    can_run = True
                    self.endpoint = text.partition(READY)[2].split()[0]
                if has_started and can_run:
                    return self
        raise AssertionError(f"the pool is not ready:\n{self.log()}")

    def _configure(self) -> None:
        self.configuration.write_text(
            CONFIGURATION.format(
                endpoint=self.endpoint,
                curve=self._curve,
                model=SOURCE / "models" / "emoji",
                prefix=PREFIX,
            )
        )

    @property
    def node_http(self) -> str:
        """The device API of its node."""
        lines = (self.folder / "ready").read_text().splitlines()
        return f"http://{dict(line.split(' = ', 1) for line in lines)['http']}{PREFIX}"

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def kill(self) -> None:
        """kill -9, and reaps."""
        if self._process:
            self._process.kill()
            self._process.wait(PATIENCE_S)
        self._process = None

    def stop(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(PATIENCE_S)
            finally:
                self.kill()

    def signal(self, number: int) -> None:
        assert self._process
        self._process.send_signal(number)

    def gpupool(self, *words: str) -> str:
        done = subprocess.run(
            [BUILD / "gpupool", *words],
            timeout=PATIENCE_S,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout

    def token(self, user: str, *options: str) -> str:
        self._configure()
        words = ["token", "mint", "--config", str(self.configuration), "--user", user, *options]
        return self.gpupool(*words).strip()
