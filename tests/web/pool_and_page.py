"""A real pool with the picture model and its web front, and a browser's page of it, for tests."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request

import environment
from environment import pool
from playwright.sync_api import expect

CONFIG = """
[pool]
name = "{name}"
roles = ["broker", "worker"]
[broker]
client_endpoint = "tcp://127.0.0.1:*"
ready_file = "ready"
client_grace_s = {client_grace}
[ledger]
path = "ledger.sqlite"
[worker]
name = "node-1"
folder = "worker"
[[worker.devices]]
kind = "cpu"
threads = 1
[web]
endpoint = "{web}"
[window]
length_s = {window}
{more}
[[identity.keys]]
kid = "main"
secret_file = "main.secret"
[[apps]]
name = "emoji"
executor = "diffusion"
model = "{model}"
"""
ANY_PORT = "127.0.0.1:0"
# One line of a receipt, as the CLI prints it, too.
ARITHMETIC = re.compile(
    r"declared ([\d.]+) s, ran ([\d.]+) s x (\d+), held ([\d.]+) s, charged ([\d.]+) s, "
    r"([\d.]+) s given back")


class Pool:
    """One gpupoold with its page, in a folder of its own: one node, one slot."""

    def __init__(self, name="test-pool", window=86_400, client_grace=30, more=""):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="gpupool-web-"))
        secret = self.folder / "main.secret"
        secret.write_bytes(os.urandom(32))
        secret.chmod(0o600)
        self.config = self.folder / "pool.toml"
        self.values = {"name": name, "window": window, "client_grace": client_grace, "more": more,
                       "web": ANY_PORT, "model": pool.SOURCE / "models" / "emoji"}
        self.log = self.folder / "log"
        self.start()

    def start(self):
        self.config.write_text(CONFIG.format(**self.values))
        self.start_again()

    def start_again(self):
        """With the configuration as it is in its file."""
        (self.folder / "ready").unlink(missing_ok=True)
        self.process = pool.start([pool.BUILD / "gpupoold", "--config", self.config], self.log)

        def ready():
            if self.process.poll() is not None:
                raise AssertionError(self.log.read_text())
            values = pool.ready_values(self.folder / "ready")
            return values if values.get("state") == "ready" and "web" in values else None

        values = pool.wait_until(ready, "the pool is ready")
        self.client = values["client"]
        # A page can find the pool again only where it was.
        self.values["web"] = values["web"]
        self.url = f"http://{values['web']}/"

    def kill(self):
        """As when its machine loses power: no process of it says goodbye."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def token(self, user, *more):
        done = pool.run(pool.BUILD / "gpupool", "token", "mint", "--config", self.config, "--user",
                        user, *more)
        return done.stdout.strip()

    def operator_token(self):
        return self.token("root", "--role", "operator")

    def gpupool(self, token, *words):
        command = [pool.BUILD / "gpupool", *words, "--endpoint", self.client, "--json"]
        # An announcement goes to stderr, beside the answer.
        done = subprocess.run([str(word) for word in command], timeout=120, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True,
                              env=os.environ | {"GPUPOOL_TOKEN": token})
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def ask(self, token, path, method="GET"):
        """An answer of the HTTP API, beside the page."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(self.url + path, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def cancel_all(self, token):
        for job in self.ask(token, "v1/jobs")["jobs"]:
            try:
                self.ask(token, f"v1/jobs/{job['job']}", "DELETE")
            except urllib.error.HTTPError:
                pass  # it came to its end just then

    def end(self):
        pool.stop(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)


# What a browser says about answers that are no success, whoever expected them.
FAILED = re.compile(r"Failed to load resource: the server responded with a status of (\d+)")
LOST = re.compile(r"net::ERR_|Failed to load resource")


class Page:
    """A page of a pool in a browser of its own. What goes wrong in it is collected."""

    def __init__(self, browser, url, token=None, expected=(), loses_pool=False, **options):
        """`expected`: statuses other than success that a test provokes."""
        self.expected = {str(status) for status in expected}
        self.loses_pool = loses_pool
        self.troubles = []
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        self.page = self.context.new_page()
        self.page.on("console", self.hear)
        self.page.on("pageerror", lambda error: self.troubles.append(f"exception: {error}"))
        if token is not None:
            self.page.add_init_script(
                "if (sessionStorage.getItem('test') === null) {"
                f"  sessionStorage.setItem('gpupool.token', {json.dumps(token)});"
                "  sessionStorage.setItem('test', 'given');"
                "}")
        self.url = url

    def hear(self, message):
        if message.type not in ("error", "warning"):
            return
        status = FAILED.search(message.text)
        if status and status[1] in self.expected:
            return
        # Whether there is a preview yet, only the asking tells.
        if status and status[1] == "404" and message.location["url"].endswith("/preview"):
            return
        if self.loses_pool and LOST.search(message.text):
            return
        self.troubles.append(f"{message.type}: {message.text} ({message.location['url']})")

    def open(self):
        self.page.goto(self.url)
        return self

    def live(self):
        self.page.goto(self.url)
        self.expect_live()
        return self

    def expect_live(self, seconds=30):
        expect(self.locator("#connection-text")).to_have_text("live", timeout=seconds * 1000)

    def locator(self, selector):
        return self.page.locator(selector)

    def button(self, name):
        return self.page.get_by_role("button", name=name)

    @property
    def prompt(self):
        return self.page.get_by_role("textbox", name="Prompt")

    @property
    def duration(self):
        return self.page.get_by_label("Duration, s")

    def fill(self, prompt, steps=30, duration=None):
        self.prompt.fill(prompt)
        if not self.locator("#make-more").evaluate("element => element.open"):
            self.page.get_by_text("More", exact=True).click()
        self.page.get_by_label(re.compile("Steps")).fill(str(steps))
        self.duration.fill("" if duration is None else str(duration))

    def make(self, prompt, steps=30, duration=None):
        self.fill(prompt, steps, duration)
        self.button("Make the picture").click()

    def job(self, prompt):
        """The card of an open job."""
        return self.locator("#jobs .job").filter(has_text=prompt)

    def receipt(self, prompt):
        return self.locator("#receipts .receipt").filter(has_text=prompt)

    def picture(self, prompt):
        return self.locator("#gallery li").filter(has_text=prompt)

    def expect_picture(self, prompt, seconds=60):
        """In the gallery, and really loaded."""
        picture = self.picture(prompt).first
        expect(picture).to_be_attached(timeout=seconds * 1000)
        picture.scroll_into_view_if_needed()
        image = picture.locator("img")
        expect(image).to_be_visible(timeout=20_000)
        self.wait_for(image, "image => image.complete && image.naturalWidth > 0")

    def wait_for(self, locator, condition):
        """Until a function of the element is true. Playwright's own would need eval, which the
        page's policy forbids."""
        return pool.wait_until(lambda: locator.evaluate(condition), condition)

    def open_all(self):
        """Every disclosure, and what it has loaded."""
        self.page.evaluate(
            "for (const one of document.querySelectorAll('details')) one.open = true")
        expect(self.page.get_by_text("asking the pool")).to_have_count(0)

    def focused(self):
        return self.page.evaluate(
            "document.activeElement.id || document.activeElement.textContent")

    def tab_to(self, locator, key="Tab"):
        """By keyboard alone, as far as it takes."""
        wanted = locator.element_handle()
        for _ in range(120):
            if self.page.evaluate("one => one === document.activeElement", wanted):
                return
            self.page.keyboard.press(key)
        raise AssertionError(f"the focus never came to {locator}")

    def end(self):
        self.context.close()
        assert not self.troubles, "\n".join(self.troubles)


def seconds(text):
    """Of "23.4 s"."""
    return float(text.removesuffix(" s"))


def screenshots():
    folder = environment.pool.BUILD / "web-screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
