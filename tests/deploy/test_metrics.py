"""What watches a pool: deploy/prometheus and deploy/grafana, with a real Prometheus that scrapes a
real pool. Every metric is documented, every expression of rules and dashboard means something, and
nothing that grows is a label."""

import json
import re
import subprocess
import time
import unittest

import pool
import prometheus_process as ours
from web_pool import WebPool, mint

PAGE = pool.SOURCE / "docs/rest.md"
WATCHING = pool.SOURCE / "docs/operations/watching.md"
RULES = [ours.FILES / "recording.yml", ours.FILES / "alerts.yml"]
RULE_TESTS = sorted(ours.FILES.glob("rules*_test.yml"))
DASHBOARD = pool.DEPLOY / "grafana/gpupool.json"
JOB = "gpupool"  # as prometheus.yml calls it
NAME = r"(?<![\w:])((?:gpupool|process)_\w+)(?![\w:])"
KINDS = ("counter", "gauge", "histogram")
STATES = {"gpupool_jobs": {"queued", "starting", "running"},
          "gpupool_slots": {"free", "busy", "down"},
          "gpupool_nodes": {"healthy", "draining", "suspected", "lost"}}
OUTCOMES = {"succeeded", "failed", "expired", "cancelled"}
CODES = dict(re.findall(r"(?m)^GPUPOOL_ERROR\((\d+), (\w+),",
                        (pool.SOURCE / "base/errors.def").read_text()))
ADMISSION = {name for number, name in CODES.items() if 100 <= int(number) < 200}
BUCKETS = {
    "gpupool_job_wait_seconds": [0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600],
    "gpupool_job_run_seconds": [0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600],
    "gpupool_ledger_commit_seconds": [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1]}


def setUpModule():
    reason = ours.why_not()
    if reason:
        raise unittest.SkipTest(reason)


def documented():
    """Of docs/rest.md: metric -> (kind or None, its labels), from the rows of a table whose first
    cell has the name, as in | `gpupool_jobs{state}` | gauge | ... |; several may share a cell."""
    if not PAGE.exists():
        raise AssertionError("docs/rest.md is not there: it has to have the table of every metric, "
                             "with rows such as | `gpupool_jobs{state}` | gauge | ... |")
    found = {}
    for line in PAGE.read_text().splitlines():
        if not line.startswith("|"):
            continue
        first, _, rest = line[1:].partition("|")
        for name, labels in re.findall(r"`((?:gpupool|process)_\w+)(?:\{([^}`]*)\})?`", first):
            kind = next((word for word in re.findall(r"\w+", rest) if word in KINDS), None)
            found[name] = (kind, {label.strip() for label in labels.split(",") if label.strip()})
    if not found:
        raise AssertionError("docs/rest.md has no table of metrics: rows such as "
                             "| `gpupool_jobs{state}` | gauge | ... |")
    return found


def family(name, known):
    """The metric that a series belongs to: a histogram has three names."""
    for suffix in ("_bucket", "_sum", "_count"):
        base = name.removesuffix(suffix)
        if base != name and known.get(base, (None,))[0] == "histogram":
            return base
    return name


class Page:
    """The text of /metrics: what each is, and its samples (name, labels, value)."""

    def __init__(self, text):
        self.kinds = dict(re.findall(r"(?m)^# TYPE (\w+) (\w+)$", text))
        self.samples = []
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line).groups()
                labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or ""))
                self.samples.append((name, labels, float(value)))

    def value(self, name, **labels):
        return next((value for other, found, value in self.samples
                     if (other, found) == (name, labels)), None)


def panels():
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield panel
        yield from panel.get("panels", [])


def panel_expressions():
    """(where, expression) with the dashboard's variables filled in."""
    for panel in panels():
        for target in panel.get("targets", []):
            text = target["expr"].replace("$pool", JOB).replace("$__rate_interval", "5m")
            yield f"panel {panel['id']} ({panel['title']}) {target['refId']}", text


def questions_of(rule):
    """What the annotations of an alert ask when it fires."""
    for annotation in rule.get("annotations", {}).values():
        for text in re.findall(r'printf "([^"]*)" \$labels\.job \| query', annotation):
            yield text % JOB


class Files(unittest.TestCase):
    def test_promtool_reads_the_configuration_and_the_rules(self):
        said = pool.run(ours.PROMTOOL, "check", "config", ours.FILES / "prometheus.yml").stdout
        self.assertIn("2 rule files found", said)
        pool.run(ours.PROMTOOL, "check", "rules", *RULES)

    def test_rules_fire_when_they_should_and_not_else(self):
        pool.run(ours.PROMTOOL, "test", "rules", *RULE_TESTS, timeout=300)

    def test_every_rule_is_tested_and_every_alert_both_ways(self):
        text = "\n".join(file.read_text() for file in RULE_TESTS)
        for name in re.findall(r"(?m)^ *- alert: (\w+)", RULES[1].read_text()):
            cases = re.findall(rf"(?m)^ *alertname: {name}\n *exp_alerts:( \[\])?$", text)
            self.assertEqual(set(cases), {"", " []"}, f"{name}: when it fires, and when not")
        for name in re.findall(r"(?m)^ *- record: (\S+)", RULES[0].read_text()):
            self.assertIn(f"- expr: {name}\n", text)

    def test_the_dashboard_is_whole(self):
        dashboard = json.loads(DASHBOARD.read_text())
        self.assertGreaterEqual(dashboard["schemaVersion"], 38)  # Grafana 10
        self.assertIsNone(dashboard["id"])
        kinds = {one["name"]: one["type"] for one in dashboard["templating"]["list"]}
        self.assertEqual(kinds, {"datasource": "datasource", "pool": "query"})
        every = list(panels())
        self.assertLessEqual({"stat", "timeseries", "heatmap"}, {one["type"] for one in every})
        self.assertEqual(len({one["id"] for one in every}), len(every))
        taken = set()
        for panel in every:
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                     for y in range(place["y"], place["y"] + place["h"])}
            self.assertTrue(all(x < 24 for x, _ in cells), panel["title"])
            self.assertFalse(taken & cells, f"{panel['title']} lies upon another panel")
            taken |= cells
            if panel["type"] == "row":
                continue
            self.assertTrue(panel["description"], panel["title"])
            unit = panel["fieldConfig"]["defaults"].get("unit") or panel["options"]["yAxis"]["unit"]
            self.assertTrue(unit, panel["title"])
            sources = [panel["datasource"], *(one["datasource"] for one in panel["targets"])]
            for source in sources:
                self.assertEqual(source, {"type": "prometheus", "uid": "${datasource}"})
            for target in panel["targets"]:
                self.assertIn('job="$pool"', target["expr"], "of the chosen pool alone")

    def test_the_dashboard_asks_for_documented_metrics_and_no_others(self):
        known = documented()
        for where, text in panel_expressions():
            names = re.findall(NAME, text)
            self.assertTrue(names, where)
            for name in names:
                self.assertIn(family(name, known), known, where)

    def test_rules_ask_for_documented_metrics_and_for_what_is_recorded(self):
        known = documented()
        recorded = set(re.findall(r"(?m)^ *- record: (\S+)", RULES[0].read_text()))
        for file in RULES:
            text = re.sub(r"(?m)#.*$", "", file.read_text())
            for name in re.findall(NAME, text):
                self.assertIn(family(name, known), known, file.name)
            self.assertLessEqual(set(re.findall(r"\bjob\w*:gpupool_\w+:\w+", text)), recorded)

    def test_every_documented_metric_is_on_the_dashboard(self):
        known = documented()
        shown = {family(name, known) for _, text in panel_expressions()
                 for name in re.findall(NAME, text)}
        self.assertEqual(set(known) - shown, set())


class Scraped(unittest.TestCase):
    """A pool that Prometheus looked at before, while and after it ran one job, refused one request
    and was audited."""

    @classmethod
    def setUpClass(cls):
        cls.pool = WebPool()
        try:
            cls.prometheus = ours.Prometheus(cls.pool.web)
            try:
                cls.make_news()
            except BaseException:
                cls.prometheus.end()
                raise
        except BaseException:
            cls.pool.end()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.prometheus.end()
        cls.pool.end()

    @classmethod
    def make_news(cls):
        cls.prometheus.wait_for(f'gpupool_jobs_admitted_total{{job="{JOB}"}} == 0')
        token = mint(sub="unmistakable", tier="small")
        job = cls.pool.submit(token, app="sleep", duration_s=5)
        cls.receipt = cls.pool.finished(job, token)["receipt"]
        assert cls.receipt["outcome"] == "succeeded", cls.receipt
        refused = cls.pool.ask("POST", "/v1/jobs", {"app": "sleep", "duration_s": 40}, token)
        assert refused.json()["refused"]["code"] == "quota_exceeded", refused
        cls.pool.operate("audit")
        # What broker and ledger count is told about once a second.
        pool.wait_until(cls.has_news, "/metrics tells of the job, the refusal and the audit")
        for last in ("gpupool_jobs_ended_total", "gpupool_requests_refused_total"):
            cls.prometheus.wait_for(f"sum(rate({last}[5m])) > 0")
        cls.prometheus.wait_for("gpupool_audit_findings")

    @classmethod
    def page(cls):
        answer = cls.pool.ask("GET", "/metrics")
        assert answer.status == 200, answer
        return Page(answer.body.decode())

    @classmethod
    def has_news(cls):
        page = cls.page()
        return (page.value("gpupool_jobs_ended_total", outcome="succeeded") == 1
                and page.value("gpupool_requests_refused_total", code="quota_exceeded") == 1
                and page.value("gpupool_job_run_seconds_count") == 1
                and page.value("gpupool_slots", state="free") == 2
                and page.value("gpupool_audit_findings") is not None)

    def test_the_page_is_prometheus_text_that_promtool_likes(self):
        answer = self.pool.ask("GET", "/metrics")
        self.assertRegex(answer.headers["Content-Type"], r"^text/plain; *version=0\.0\.4")
        file = self.prometheus.folder / "page"
        file.write_bytes(answer.body)
        with open(file) as page:
            said = subprocess.run([ours.PROMTOOL, "check", "metrics"], stdin=page, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
                                  check=False)
        self.assertEqual((said.returncode, said.stdout), (0, ""))

    def test_what_is_served_is_documented_and_what_is_documented_is_served(self):
        known = documented()
        page = self.page()
        served = {family(name, known) for name, _, _ in page.samples}
        self.assertEqual(served - set(known), set(), "docs/rest.md says nothing about these")
        self.assertEqual(set(known) - served, set(), "/metrics has none of these")
        for name, (kind, _) in known.items():
            self.assertIn(page.kinds[name], KINDS, name)
            if kind:
                self.assertEqual(page.kinds[name], kind, name)

    def test_labels_are_those_of_the_documentation_and_their_values_are_bounded(self):
        known = documented()
        values = {}
        for name, labels, _ in self.page().samples:
            metric = family(name, known)
            expected = known[metric][1] | ({"le"} if name.endswith("_bucket") else set())
            self.assertEqual(set(labels), expected, name)
            for label, value in labels.items():
                values.setdefault((metric, label), set()).add(value)
        for metric, states in STATES.items():
            self.assertEqual(values.pop((metric, "state")), states, metric)
        self.assertEqual(values.pop(("gpupool_jobs_ended_total", "outcome")), OUTCOMES)
        codes = values.pop(("gpupool_requests_refused_total", "code"))
        self.assertLessEqual(codes, set(CODES.values()))
        # From the start on: to Prometheus the first value of a series is no increase.
        self.assertLessEqual(ADMISSION, codes)
        self.assertEqual(len(values.pop(("gpupool_build_info", "version"))), 1)
        for metric in BUCKETS:
            values.pop((metric, "le"))
        self.assertEqual(values, {}, "labels that this test does not know")

    def test_nobody_is_named(self):
        text = self.pool.ask("GET", "/metrics").body.decode()
        for word in ("unmistakable", "user:", "address:", "127.0.0.1", "sleep", "node-1"):
            self.assertNotIn(word, text)

    def test_histograms_have_the_buckets_of_the_documentation_and_add_up(self):
        page = self.page()
        for metric, bounds in BUCKETS.items():
            buckets = [(float(labels["le"]), value) for name, labels, value in page.samples
                       if name == f"{metric}_bucket"]
            self.assertEqual([bound for bound, _ in buckets], [*bounds, float("inf")], metric)
            counts = [count for _, count in buckets]
            self.assertEqual(counts, sorted(counts), metric)
            self.assertEqual(counts[-1], page.value(f"{metric}_count"), metric)
            total = page.value(f"{metric}_sum")
            self.assertTrue(0 <= total < 3600, f"{metric}_sum is in seconds: {total}")

    def test_one_job_and_one_refusal_are_counted_once(self):
        page = self.page()
        for name, count in {
                "gpupool_jobs_admitted_total": 1, "gpupool_jobs_started_total": 1,
                "gpupool_jobs_requeued_total": 0, "gpupool_promises_missed_total": 0,
                "gpupool_job_wait_seconds_count": 1, "gpupool_job_run_seconds_count": 1,
                "gpupool_audit_findings": 0, "gpupool_leading": 1}.items():
            self.assertEqual(page.value(name), count, name)
        for outcome in OUTCOMES:
            self.assertEqual(page.value("gpupool_jobs_ended_total", outcome=outcome),
                             1 if outcome == "succeeded" else 0)
        for code in ADMISSION:
            self.assertEqual(page.value("gpupool_requests_refused_total", code=code),
                             1 if code == "quota_exceeded" else 0, code)
        self.assertEqual(page.value("gpupool_slots", state="free"), 2)
        self.assertEqual(page.value("gpupool_slots", state="busy"), 0)
        self.assertEqual(page.value("gpupool_nodes", state="healthy"), 1)
        self.assertEqual(sum(value for name, _, value in page.samples if name == "gpupool_jobs"), 0)
        charged = self.receipt["charged_ms"] / 1000
        self.assertGreater(charged, 0)
        self.assertAlmostEqual(page.value("gpupool_charged_seconds_total"), charged, places=3)
        self.assertAlmostEqual(page.value("gpupool_job_run_seconds_sum"),
                               self.receipt["ran_ms"] / 1000, places=3)
        self.assertAlmostEqual(page.value("gpupool_job_wait_seconds_sum"),
                               self.receipt["waited_ms"] / 1000, places=3)
        # A hold, a lease and a settle; the records of the start are more.
        self.assertGreaterEqual(page.value("gpupool_ledger_records_total"), 3)
        self.assertLessEqual(page.value("gpupool_ledger_commits_total"),
                             page.value("gpupool_ledger_records_total"))
        self.assertGreaterEqual(page.value("gpupool_ledger_commit_seconds_count"), 2)
        self.assertGreaterEqual(page.value("gpupool_web_connections"), 1)  # this one
        self.assertGreater(page.value("process_resident_memory_bytes"), 1e6)
        self.assertLess(page.value("process_open_fds"), page.value("process_max_fds"))
        clock = time.time()
        for moment in ("process_start_time_seconds", "gpupool_audit_timestamp_seconds"):
            self.assertTrue(clock - 600 < page.value(moment) <= clock + 1, moment)

    def test_counters_never_fall(self):
        first, then = self.page(), self.page()
        for name, labels, value in first.samples:
            if name.endswith(("_total", "_count", "_sum", "_bucket")):
                self.assertGreaterEqual(then.value(name, **labels), value, (name, labels))

    def test_every_documented_metric_can_be_asked(self):
        kinds = self.page().kinds
        for name in documented():
            parts = ("_bucket", "_sum", "_count") if kinds[name] == "histogram" else ("",)
            for part in parts:
                self.prometheus.wait_for(f'{name}{part}{{job="{JOB}"}}')

    def test_every_panel_has_data(self):
        for where, text in panel_expressions():
            with self.subTest(where):
                self.prometheus.wait_for(text)

    def test_every_matcher_of_panels_and_rules_selects_something(self):
        texts = list(panel_expressions())
        for rule in self.prometheus.rules():
            texts += [(rule["name"], text) for text in [rule["query"], *questions_of(rule)]]
        for where, text in texts:
            for name, matchers in re.findall(rf"{NAME}(\{{[^}}]*\}})?", text):
                with self.subTest(where, selector=name + matchers):
                    self.prometheus.wait_for(name + matchers)

    def test_every_recorded_series_has_data(self):
        recorded = [rule for rule in self.prometheus.rules() if rule["type"] == "recording"]
        self.assertEqual(len(recorded), RULES[0].read_text().count("- record:"))
        for rule in recorded:
            with self.subTest(rule["name"]):
                self.prometheus.wait_for(rule["query"])
                self.prometheus.wait_for(rule["name"])

    def test_a_pool_that_is_well_alarms_nobody(self):
        alerts = [rule for rule in self.prometheus.rules() if rule["type"] == "alerting"]
        self.assertEqual(len(alerts), RULES[1].read_text().count("- alert:"))
        for rule in alerts:
            with self.subTest(rule["name"]):
                self.assertEqual(self.prometheus.query(rule["query"]), [])
                for text in questions_of(rule):
                    self.assertEqual(len(self.prometheus.wait_for(text)), 1, text)
        pool.wait_until(lambda: all(rule["health"] == "ok" for rule in self.prometheus.rules()),
                        "every rule was evaluated without an error")

    def test_every_alert_says_what_with_its_numbers_and_where_it_is_explained(self):
        headings = re.findall(r"(?m)^#+ (.+)$", WATCHING.read_text())
        anchors = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
        for rule in self.prometheus.rules():
            if rule["type"] != "alerting":
                continue
            with self.subTest(rule["name"]):
                notes = rule["annotations"]
                self.assertEqual(set(notes), {"summary", "description", "runbook"})
                self.assertIn(rule["labels"]["severity"], ("critical", "warning", "info"))
                self.assertIn("{{", notes["summary"])
                self.assertRegex(notes["description"], r"\$value|\| query \|")
                page, _, anchor = notes["runbook"].partition("#")
                self.assertEqual(pool.SOURCE / page, WATCHING)
                self.assertIn(anchor, anchors)
                for event in re.findall(r"event (\w+_\w+|requeued|settled)", notes["description"]):
                    self.assertIn(f"`{event}`", WATCHING.read_text())


class Gone(unittest.TestCase):
    def test_a_pool_that_ends_is_told(self):
        own = WebPool()
        self.addCleanup(own.end)
        prometheus = ours.Prometheus(own.web)
        self.addCleanup(prometheus.end)
        prometheus.wait_for(f'gpupool_leading{{job="{JOB}"}} == 1')
        rule, = [one for one in prometheus.rules() if one["name"] == "GpupoolDown"]
        self.assertEqual(prometheus.query(rule["query"]), [])
        pool.stop(own.process)
        self.assertEqual(prometheus.wait_for(rule["query"]), [({"job": JOB}, 1)])


if __name__ == "__main__":
    pool.main()
