"""What the tests of the REST API share: one pool, its past, calls whose answers are held against
web/openapi.json, requests that no client would send, and event streams."""

import collections
import http.client
import json
import os
import socket
import time
import unittest
import urllib.parse

import contract
from contract import pool
from web_pool import DEVICES, PICTURES, Answer, WebPool, mint

ROOT = mint(sub="root", role="operator")
POOL = None  # from begin() to end()
JUDGE = None
ADA = None


class Past:
    """Of the user ada: a picture, a command's log, a refusal."""

    def __init__(self):
        self.token = mint(sub="ada")
        self.picture = POOL.submit(self.token, app="emoji", duration_s=60,
                                   arguments={"prompt": "a red heart", "steps": "10"})
        self.command = POOL.submit(self.token, app="sleep", duration_s=5)
        self.refused = uuid7()
        refusal = POOL.ask("POST", "/v1/jobs", {"app": "members", "request": self.refused},
                           self.token)
        assert refusal.status == 403, refusal
        for job in (self.picture, self.command):
            receipt = POOL.finished(job, self.token)["receipt"]
            assert receipt["outcome"] == "succeeded", receipt


def begin():
    global POOL, JUDGE, ADA
    JUDGE = contract.Contract(json.loads(contract.DOCUMENT.read_text()))
    POOL = WebPool(broker="client_grace_s = 2", devices=DEVICES, apps=PICTURES)
    try:
        ADA = Past()
    except BaseException:
        POOL.end()
        raise


def end():
    """Whatever was done to the pool, its books add up."""
    try:
        table = POOL.operate("audit")
        assert table["rows"] == [], table
    finally:
        POOL.end()


def uuid7(age_s=0):
    stamp = int((time.time() - age_s) * 1000)
    text = f"{stamp:012x}7{os.urandom(2).hex()[:3]}a{os.urandom(8).hex()[:15]}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def query(**words):
    return "?" + urllib.parse.urlencode(words)


class Ours(unittest.TestCase):
    """Each test has a user of its own, and its jobs end with it."""

    def setUp(self):
        self.user = self.id().rsplit(".", 1)[1].removeprefix("test_")[:60]
        self.token = mint(sub=self.user)

    def call(self, method, path, target=None, body=None, token="", expect=None, **headers):
        """Asks, and holds the answer against the document. `path` as the document writes it,
        `target` as it is asked. Token "": this test's user, None: nobody."""
        token = self.token if token == "" else token
        answer = POOL.ask(method, target or path, body, token, **headers)
        if expect is not None:
            wanted = expect if isinstance(expect, tuple) else (expect,)
            self.assertIn(answer.status, wanted, f"{method} {target or path}: {answer}")
        self.assertIsNone(answer.headers["Access-Control-Allow-Origin"])
        return JUDGE.answer(method, path, answer)

    def submit(self, token="", stream=None, expect=202, **wish):
        """The job that was admitted, or what was said instead."""
        target = "/v1/jobs" + (query(stream=stream) if stream else "")
        found = self.call("POST", "/v1/jobs", target, wish, token, expect)
        if expect == 202:
            self.addCleanup(self.cancel, found["job"]["job"], token)
            return found["job"]
        return found.get("refused") or found["error"]

    def job(self, number, token=""):
        return self.call("GET", "/v1/jobs/{job}", f"/v1/jobs/{number}", token=token, expect=200)

    def cancel(self, number, token=""):
        return self.call("DELETE", "/v1/jobs/{job}", f"/v1/jobs/{number}", token=token, expect=200)

    def until(self, number, condition, what, token=""):
        """Polls the job until the condition has a value."""
        return pool.wait_until(lambda: condition(self.job(number, token)), what, 60)

    def receipt(self, number, token=""):
        return self.until(number, lambda found: found.get("receipt"), f"job {number} ends", token)

    def running(self, number, token=""):
        self.until(number, lambda found: found["job"]["state"] == "running", f"job {number} runs",
                   token)

    def all_slots_taken(self):
        """Both slots are somebody else's; their jobs end with the test."""
        holder = mint(sub="holder", tier="pro")
        jobs = [self.submit(holder, app="sleep", duration_s=120, arguments={"seconds": "60"})["job"]
                for _ in range(2)]
        for job in jobs:
            self.running(job, holder)

    def quota(self, token=""):
        return self.call("GET", "/v1/quota", token=token, expect=200)["balance"]


def good_calls():
    """Of every operation a call that succeeds: (path as asked, body, token, status)."""
    ada = ADA.token
    return {
        "page": ("/", None, None, 200), "pageFile": ("/icon.svg", None, None, 200),
        "openapi": ("/v1/openapi.json", None, None, 200), "metrics": ("/metrics", None, None, 200),
        "pool": ("/v1/pool", None, ada, 200), "quota": ("/v1/quota", None, ada, 200),
        "quote": ("/v1/quote?app=emoji&duration_s=15&size=large", None, ada, 200),
        "jobs": ("/v1/jobs", None, ada, 200), "submit": ("/v1/jobs", {"app": "nothing"}, ada, 202),
        "job": (f"/v1/jobs/{ADA.picture}", None, ada, 200),
        "cancel": (f"/v1/jobs/{ADA.picture}", None, ada, 200),  # its receipt, as it was
        "explainJob": (f"/v1/jobs/{ADA.picture}/explain", None, ada, 200),
        "result": (f"/v1/jobs/{ADA.picture}/result", None, ada, 200),
        "log": (f"/v1/jobs/{ADA.command}/log", None, ada, 200),
        "preview": (f"/v1/jobs/{ADA.command}/preview", None, ada, 404),  # tested with a stream
        "explainRefusal": (f"/v1/refusals/{ADA.refused}/explain", None, ada, 200),
        "receipts": ("/v1/receipts?limit=2", None, ada, 200),
        "changes": ("/v1/changes?since_s=604800&limit=5", None, ada, 200),
        "usage": ("/v1/usage?days=3", None, ada, 200), "events": ("/v1/events", None, ada, 200),
        "overview": ("/v1/overview", None, ROOT, 200),
        "operate": ("/v1/operate", {"words": ["nodes"]}, ROOT, 200)}


def raw(head, body=b""):
    """What a request is answered that no client would send."""
    host, port = POOL.web.rsplit(":", 1)
    with socket.create_connection((host, int(port)), 20) as connection:
        try:
            connection.sendall(head)
            for start in range(0, len(body), 8192):
                connection.sendall(body[start:start + 8192])
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has heard enough
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return Answer(answer)


class Stream:
    """An event stream; each event is held against the document as it comes."""

    def __init__(self, token=None):
        host, port = POOL.web.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), 20)
        identity = f"Authorization: Bearer {token}\r\n" if token else ""
        self.socket.sendall(
            f"GET /v1/events HTTP/1.1\r\nHost: {POOL.web}\r\n{identity}\r\n".encode())
        self.answer = http.client.HTTPResponse(self.socket)
        self.answer.begin()
        assert self.answer.status == 200, Answer(self.answer)
        self.headers = self.answer.headers
        self.seen = []  # (name, data); of a comment (":", its text)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.answer.close()
        self.socket.close()

    def line(self, give_up):
        left = give_up - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.socket.settimeout(left)
        found = self.answer.readline()
        return found.decode().rstrip("\r\n") if found else None

    def next(self, seconds):
        """The next event or comment; None at the end of the stream."""
        give_up = time.monotonic() + seconds
        name, data = None, []
        while True:
            line = self.line(give_up)
            if line is None:
                return None
            if line.startswith(":"):
                found = (":", line[1:].strip())
            elif line:
                field, _, value = line.partition(": ")
                assert field in ("event", "data"), line
                if field == "event":
                    name = value
                else:
                    data.append(value)
                continue
            elif name is None:
                continue  # the empty line after a comment
            else:
                assert len(data) == 1, f"event {name}: its data are {len(data)} lines"
                found = (name, JUDGE.event(name, json.loads(data[0])))
            self.seen.append(found)
            return found

    def wait_for(self, name, condition=lambda _: True, seconds=30):
        """What the next such event says."""
        give_up = time.monotonic() + seconds
        try:
            while True:
                found = self.next(give_up - time.monotonic())
                if found is None:
                    raise AssertionError(f"the stream ended before {name}: {self.names()}")
                if found[0] == name and condition(found[1]):
                    return found[1]
        except TimeoutError:
            raise AssertionError(f"no {name} within {seconds} s: {self.names()}") from None

    def end(self, seconds=30):
        """Reads until it ends."""
        give_up = time.monotonic() + seconds
        while self.next(give_up - time.monotonic()) is not None:
            pass

    def told(self, name):
        """All that such events have said so far."""
        return [found for other, found in self.seen if other == name]

    def names(self):
        return dict(collections.Counter(name for name, _ in self.seen))
