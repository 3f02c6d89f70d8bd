"""A pool with its page and its REST API (docs/rest.md), for tests: one gpupoold in a folder of its
own, asked over HTTP and nothing else."""

import http.client
import json
import pathlib
import shutil
import tempfile

import pool

SECRET = b"0123456789abcdef0123456789abcdef"
CONFIG = """
[pool]
roles = [{roles}]
[broker]
client_endpoint = "tcp://127.0.0.1:*"
ready_file = "ready"
{broker}
[ledger]
path = "ledger.sqlite"
reserve_bytes = 1048576
[worker]
folder = "worker"
kill_grace_s = 1
{devices}
[web]
endpoint = "127.0.0.1:0"
[identity]
anonymous = {anonymous}
[[identity.keys]]
kid = "main"
secret_file = "main.secret"
[rates]
{rates}
[[tiers]]
name = "anonymous"
allowance_s = 300
longest_s = 120
[[tiers]]
name = "small"
allowance_s = 20
longest_s = 60
jobs_max = 2
[[tiers]]
name = "free"
allowance_s = 3600
longest_s = 180
rank = 1
jobs_max = 8
[[tiers]]
name = "pro"
allowance_s = 7200
longest_s = 300
rank = 2
jobs_max = 16
[[apps]]
name = "nothing"
executor = "noop"
default_duration_s = 1
[[apps]]
name = "members"
executor = "noop"
tiers = ["pro"]
[[apps]]
name = "sleep"
executor = "command"
command = ["/bin/sh", "-c", "echo \\"sleeps $1 s\\"; exec sleep \\"$1\\"", "sh", "{{seconds}}"]
sandbox = "none"
[[apps.parameters]]
name = "seconds"
type = "number"
default = "0.2"
min = 0
max = 60
{apps}
"""
# Two devices of a slot each: room for a picture on both, and for no command on two slots of one.
DEVICES = '[[worker.devices]]\nkind = "cpu"\n' * 2
PICTURES = f'[[apps]]\nname = "emoji"\nmodel = "{pool.SOURCE}/models/emoji"\n'


def mint(**claims):
    return pool.mint(SECRET, **claims)


class Answer:
    def __init__(self, answer):
        self.status = answer.status
        self.headers = answer.headers
        self.body = answer.read()
        self.media_type = (answer.headers["Content-Type"] or "").split(";")[0].strip()

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.media_type} {self.body[:400]!r}"


class WebPool:
    def __init__(self, roles="broker worker", broker="", devices=DEVICES, anonymous=True,
                 rates="account_per_s = 0\naddress_per_s = 0", apps="", settings=""):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="gpupool-web-"))
        self.folder.chmod(0o711)  # the user that commands run as goes through it
        (self.folder / "main.secret").write_bytes(SECRET)
        (self.folder / "main.secret").chmod(0o600)
        self.config = self.folder / "pool.toml"
        quoted = ", ".join(f'"{role}"' for role in roles.split())
        self.config.write_text(settings + CONFIG.format(
            roles=quoted, broker=broker, devices=devices if "worker" in roles else "",
            anonymous=str(anonymous).lower(), rates=rates, apps=apps))
        self.states = ["ready"] if "worker" in roles else ["ready", "starting"]
        self.log = self.folder / "log"
        self.process = pool.start([pool.BUILD / "gpupoold", "--config", self.config], self.log)
        try:
            self.web = pool.wait_until(self.find_endpoint, "the pool is ready, with `web` in its "
                                       "ready file")
        except AssertionError:
            self.end()
            raise

    def find_endpoint(self):
        if self.process.poll() is not None:
            raise AssertionError("gpupoold ended: " + self.log.read_text())
        values = pool.ready_values(self.folder / "ready")
        # A broker without a node is not ready, and answers.
        return values.get("web") if values.get("state") in self.states else None

    def connect(self, timeout=20):
        host, port = self.web.rsplit(":", 1)
        return http.client.HTTPConnection(host, int(port), timeout=timeout)

    def ask(self, method, path, body=None, token=None, timeout=20, **headers):
        """A body that is no text or bytes goes as JSON. Headers by their names with _ for -."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None and not isinstance(body, (str, bytes)):
            body = json.dumps(body)
        if body is not None and "Content-Type" not in headers:
            headers["Content-Type"] = "application/json"
        connection = self.connect(timeout)
        try:
            connection.request(method, path, body, headers)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, token=None):
        """What a question that has to succeed is answered."""
        answer = self.ask("GET", path, token=token)
        assert answer.status == 200, answer
        return answer.json()

    def submit(self, token, **wish):
        """A job that has to be admitted; its number."""
        answer = self.ask("POST", "/v1/jobs", wish, token)
        assert answer.status == 202, answer
        return answer.json()["job"]["job"]

    def finished(self, job, token, seconds=60):
        """Waits for the receipt, and returns it with the balance."""

        def look():
            found = self.get(f"/v1/jobs/{job}", token)
            return found if "receipt" in found else None

        return pool.wait_until(look, f"job {job} ends", seconds)

    def operate(self, *words):
        root = mint(sub="root", role="operator")
        answer = self.ask("POST", "/v1/operate", {"words": words}, root)
        assert answer.status == 200, answer
        return answer.json()

    def end(self):
        pool.stop(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)
