"""A Prometheus of our own on a port that the system chose, with the files of deploy/prometheus, for
tests. It looks every second at one target."""

import json
import math
import pathlib
import re
import shutil
import tempfile
import urllib.error
import urllib.parse
import urllib.request

import pool

FILES = pool.DEPLOY / "prometheus"
PROMETHEUS = shutil.which("prometheus", path=pool.PATH)
PROMTOOL = shutil.which("promtool", path=pool.PATH)
SHIPPED = {'"127.0.0.1:7490"': '"{target}"', "scrape_interval: 15s": "scrape_interval: 1s",
           "evaluation_interval: 15s": "evaluation_interval: 1s"}


def why_not():
    if PROMETHEUS and PROMTOOL:
        return None
    return "Prometheus is not installed (Debian: prometheus), so nothing here is tested"


class Prometheus:
    def __init__(self, target):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="gpupool-prometheus-"))
        for file in FILES.glob("*.yml"):
            text = file.read_text()
            if file.name == "prometheus.yml":
                for shipped, ours in SHIPPED.items():
                    assert shipped in text, f"prometheus.yml has no {shipped}"
                    text = text.replace(shipped, ours.format(target=target))
            (self.folder / file.name).write_text(text)
        self.log = self.folder / "log"
        self.process = pool.start(
            [PROMETHEUS, f"--config.file={self.folder}/prometheus.yml",
             f"--storage.tsdb.path={self.folder}/series", "--web.listen-address=127.0.0.1:0"],
            self.log)
        try:
            self.address = pool.wait_until(self.find_address, "Prometheus listens")
            pool.wait_until(self.is_ready, "Prometheus is ready")
        except AssertionError:
            self.end()
            raise

    def find_address(self):
        said = self.log.read_text()
        if self.process.poll() is not None:
            raise AssertionError("prometheus ended: " + said)
        found = re.search(r'msg="Listening on" address=(\S+)', said)
        return found and found[1]

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=10):
                return True
        except urllib.error.URLError:
            return False

    def api(self, path, **query):
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as refusal:
            raise AssertionError(f"{query or path}: {refusal.read().decode()}") from None
        assert found["status"] == "success", found
        return found["data"]

    def query(self, expression):
        """The samples that it has now: (labels, value), without those that are no number."""
        found = self.api("query", query=expression)
        assert found["resultType"] == "vector", found
        samples = [(each["metric"], float(each["value"][1])) for each in found["result"]]
        return [(labels, value) for labels, value in samples if not math.isnan(value)]

    def wait_for(self, expression, seconds=30):
        """Until the expression has a sample that is a number; all of them."""
        return pool.wait_until(lambda: self.query(expression), f"Prometheus has {expression}",
                               seconds)

    def rules(self):
        """Those it has loaded, each as the API says: name, query, annotations, health..."""
        return [rule for group in self.api("rules")["groups"] for rule in group["rules"]]

    def end(self):
        pool.stop(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)
