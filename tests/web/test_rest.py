"""The REST API and its event stream, called in every way that web/openapi.json has, and in many
that it has not. Every answer is held against the document, to the last key, and every sum is made
again."""

import hashlib
import json
import os
import sys
import time
import unittest

import contract
import rest_calls as ours
from contract import ERRORS, pool
from rest_calls import ROOT, Ours, Stream, query, raw, uuid7
from web_pool import Answer, WebPool, mint

setUpModule = ours.begin
tearDownModule = ours.end


# ---- The document --------------------------------------------------------------------------------


class Document(Ours):
    def test_the_daemon_serves_the_document_of_the_repository(self):
        served = self.call("GET", "/v1/openapi.json", token=None, expect=200)
        self.assertEqual(served, ours.JUDGE.document)

    def test_it_is_openapi(self):
        import openapi_spec_validator
        openapi_spec_validator.validate(ours.POOL.get("/v1/openapi.json"))

    def test_its_examples_are_what_its_schemas_say(self):
        def look(part, place):
            if not isinstance(part, dict):
                return
            for name, example in part.get("examples", {}).items() if "schema" in part else ():
                if part["schema"] != {"type": "string"}:
                    with self.subTest(place=place, name=name):
                        ours.JUDGE.at(contract.pointer(*place, "schema"), example["value"], name)
            if "schema" in part and "example" in part:
                ours.JUDGE.at(contract.pointer(*place, "schema"), part["example"], str(place))
            for key, each in part.items():
                if key not in ("example", "examples"):
                    look(each, (*place, key))
            for number, each in enumerate(part.get("parameters", ())):
                if "schema" in each and "example" in each:
                    ours.JUDGE.at(contract.pointer(*place, "parameters", str(number), "schema"),
                             each["example"], each["name"])

        look(ours.JUDGE.document, ())

    def test_it_describes_everything(self):
        names = [operation["operationId"] for _, _, operation in ours.JUDGE.operations()]
        self.assertEqual(len(set(names)), len(names))
        for _, path, operation in ours.JUDGE.operations():
            self.assertTrue(operation["summary"], path)
            self.assertIn("default", operation["responses"], path)
            self.assertTrue(any(status.startswith("2") for status in operation["responses"]), path)
            for parameter in operation.get("parameters", ()):
                self.assertTrue(parameter["description"], path)
        for name, schema in ours.JUDGE.document["components"]["schemas"].items():
            self.assertTrue(schema["description"], name)
            for key, part in schema.get("properties", {}).items():
                self.assertTrue("$ref" in part or part.get("description"), f"{name}.{key}")
                if key.endswith("_ms"):
                    self.assertIn("milliseconds", part["description"], f"{name}.{key}")

    def test_its_codes_are_those_of_the_pool(self):
        self.assertEqual(ours.JUDGE.document["components"]["schemas"]["Code"]["enum"], list(ERRORS))


# ---- Every operation -----------------------------------------------------------------------------


class EveryOperation(Ours):
    def setUp(self):
        super().setUp()
        self.calls = ours.good_calls()

    def each(self, skip=()):
        for method, path, operation in ours.JUDGE.operations():
            name = operation["operationId"]
            self.assertIn(name, self.calls, "no call of it in this test")
            if name not in skip:
                yield method.upper(), path, operation, *self.calls[name]

    def test_it_answers_as_the_document_says(self):
        for method, path, operation, target, body, token, status in self.each(skip=("events",)):
            with self.subTest(operation["operationId"]):
                found = self.call(method, path, target, body, token, status)
                if operation["operationId"] == "submit":
                    ours.POOL.finished(found["job"]["job"], token)
        with Stream(ours.ADA.token) as stream:
            stream.wait_for("hello")

    def test_a_bad_token_is_unauthenticated_and_never_anonymous(self):
        now = int(time.time())
        wrong = {"garbage": "x", "expired": mint(sub="ada", exp=now - 5),
                 "of another key": ours.ADA.token[:-6] + "AAAAAA", "of nobody": mint(),
                 "very long": "a" * 5000, "of no tier": mint(sub="ada", tier="gold")}
        for what, token in wrong.items():
            for method, path, operation, target, body, _, _ in self.each():
                if operation.get("security") == []:
                    continue  # it knows no callers
                with self.subTest(what, operation=operation["operationId"]):
                    found = self.call(method, path, target, body, token, 401)
                    said = found.get("error") or found["refused"]
                    self.assertEqual(said["code"], "unauthenticated")
                    self.assertNotIn(token, json.dumps(found))

    def test_only_operators_operate(self):
        for method, path, operation, target, body, _, _ in self.each():
            if operation.get("security") == [{"token": []}]:
                for token in (self.token, None):
                    found = self.call(method, path, target, body, token, 403)
                    self.assertEqual(found["error"]["code"], "forbidden")

    def test_pages_of_other_sites_change_nothing(self):
        job = self.submit(app="sleep", duration_s=60, arguments={"seconds": "60"})["job"]
        self.calls["cancel"] = (f"/v1/jobs/{job}", None, self.token, 200)
        for origin in ("https://evil.example", "http://127.0.0.1:1", "null", "http://", "x"):
            for method, path, operation, target, body, token, _ in self.each():
                if method != "GET":
                    with self.subTest(origin, operation=operation["operationId"]):
                        found = self.call(method, path, target, body, token, 403, Origin=origin)
                        self.assertEqual(found["error"]["code"], "forbidden")
        self.assertIn("job", self.job(job), "it goes on")
        self.assertEqual(self.call("GET", "/v1/jobs", token=ours.ADA.token)["jobs"], [])
        # The page itself is of this site.
        self.call("POST", "/v1/operate", body={"words": ["nodes"]}, token=ROOT, expect=200,
                  Origin=f"http://{ours.POOL.web}")

    def test_pages_of_other_sites_read_nothing(self):
        for method, _, _, target, body, token, _ in self.each(skip=("events", "submit", "cancel")):
            answer = ours.POOL.ask(method, target, body, token, Origin="https://evil.example")
            for name in ("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials"):
                self.assertIsNone(answer.headers[name], target)

    def test_a_name_that_somebody_pointed_here_opens_nothing(self):
        for method, path, operation, target, body, token, _ in self.each(skip=("metrics",)):
            with self.subTest(operation["operationId"]):
                found = self.call(method, path, target, body, token, 403, Host="evil.example")
                self.assertEqual(found["error"]["code"], "forbidden")

    def test_other_methods_are_told_which_there_are(self):
        paths = {}
        for method, path, _, target, *_ in self.each():
            methods, _ = paths.setdefault(path, (set(), target.split("?")[0]))
            methods.add(method)
        for path, (methods, target) in paths.items():
            for method in {one.upper() for one in contract.METHODS} - methods:
                with self.subTest(f"{method} {path}"):
                    body = {} if method in ("POST", "PUT", "PATCH") else None
                    answer = ours.POOL.ask(method, target, body, ours.ADA.token)
                    self.assertEqual(answer.status, 405, answer)
                    allowed = {one.strip() for one in answer.headers["Allow"].split(",")}
                    self.assertLessEqual(methods, allowed)
                    self.assertNotIn(method, allowed)
                    ours.JUDGE.error(answer)

    def test_head_has_what_get_has_but_the_body(self):
        for method, _, operation, target, body, token, _ in self.each(skip=("events",)):
            if method == "GET":
                with self.subTest(operation["operationId"]):
                    got, head = (ours.POOL.ask(one, target, body, token) for one in ("GET", "HEAD"))
                    self.assertEqual((head.status, head.body), (got.status, b""))
                    # Times in a body may change its length, and nothing else.
                    self.assertEqual(head.headers.keys(), got.headers.keys())
                    self.assertEqual(head.media_type, got.media_type)
        self.assertEqual(ours.POOL.ask("HEAD", "/v1/events", token=self.token).status, 405)

    def test_a_connection_is_kept_for_the_next_question(self):
        connection = ours.POOL.connect()
        for path in ("/v1/pool", "/v1/quota", "/v1/nothing", "/metrics", "/v1/pool"):
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
            answer = Answer(connection.getresponse())
            self.assertEqual(answer.status, 404 if path.endswith("nothing") else 200)
        connection.close()


# ---- What cannot be asked ------------------------------------------------------------------------


class BadQuestions(Ours):
    def test_paths_that_are_not_there(self):
        for path in ("/v1", "/v1/", "/v2/pool", "/v1/pool/", "/v1/pool/x", "/v1/jobs/", "/V1/pool",
                     "/v1/jobs/1/x", "/v1/refusals", f"/v1/refusals/{ours.ADA.refused}",
                     "//v1/pool", "/nothing.here", "/icon.svg/x", "/../../etc/passwd",
                     "/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/openapi.json",
                     "/v1/openapi.json.bak", "/v1/" + "a" * 4000, "/" + "a" * 4000):
            with self.subTest(path[:60]):
                answer = ours.POOL.ask("GET", path, token=self.token)
                self.assertEqual(answer.status, 404, answer)
                ours.JUDGE.error(answer)

    def test_job_numbers_that_are_none(self):
        for number in ("0", "-1", "abc", "1.5", "1e3", "99999999999999999999", "0x10", "+1", "%0a1",
                       "1%20", "%F0%9F%98%80", "9" * 3000):
            for tail in ("", "/explain", "/result", "/log", "/preview"):
                with self.subTest(number[:30] + tail):
                    self.call("GET", "/v1/jobs/{job}" + tail, f"/v1/jobs/{number}{tail}",
                              expect=(400, 404))
            self.call("DELETE", "/v1/jobs/{job}", f"/v1/jobs/{number}", expect=(400, 404))

    def test_jobs_that_nobody_has_and_jobs_of_others_are_alike(self):
        eve = mint(sub="eve")
        for token in (eve, None):
            for tail in ("", "/explain", "/result", "/log", "/preview"):
                said = []
                for number in (ours.ADA.picture, 999_999_999):
                    found = self.call("GET", "/v1/jobs/{job}" + tail, f"/v1/jobs/{number}{tail}",
                                      token=token, expect=404)
                    said.append(json.dumps(found).replace(str(number), "N"))
                self.assertEqual(said[0], said[1], "whether there is such a job is not told")
            for number in (ours.ADA.picture, 999_999_999):
                self.call("DELETE", "/v1/jobs/{job}", f"/v1/jobs/{number}", token=token, expect=404)
        open_one = self.submit(app="sleep", duration_s=60, arguments={"seconds": "60"})["job"]
        self.call("DELETE", "/v1/jobs/{job}", f"/v1/jobs/{open_one}", token=eve, expect=404)
        self.assertIn("job", self.job(open_one))

    def test_refusals_that_nobody_knows(self):
        for request in (uuid7(), "x", "0", uuid7().upper(), uuid7() + "0", "a" * 3000):
            with self.subTest(request[:40]):
                self.call("GET", "/v1/refusals/{request}/explain",
                          f"/v1/refusals/{request}/explain", expect=(400, 404))
        self.call("GET", "/v1/refusals/{request}/explain",
                  f"/v1/refusals/{ours.ADA.refused}/explain", token=mint(sub="eve"), expect=404)

    def test_queries_that_mean_nothing(self):
        numbers = ("-1", "abc", "", "99999999999999999999999", "0x10", "1;2", "%0d%0a", "1e999",
                   "nan", "inf", "1%00", "%F0%9F%98%80")
        for path, keys in {"/v1/receipts": ("limit", "before"), "/v1/changes": ("limit", "since_s"),
                           "/v1/usage": ("days",), "/v1/quote": ("duration_s",)}.items():
            for key in keys:
                for number in numbers:
                    with self.subTest(path, key=key, number=number):
                        app = "app=nothing&" if path == "/v1/quote" else ""
                        found = self.call("GET", path, f"{path}?{app}{key}={number}", expect=400)
                        self.assertEqual(found["error"]["code"], "bad_request")
        for words in ("", "app=", "app=%00", "app=a%0ab", "app=%ff%fe", "app=" + "a" * 65,
                      "app=" + "a" * 8000, "app=emoji&size=%00", "duration_s=5"):
            with self.subTest(words[:40]):
                self.call("GET", "/v1/quote", "/v1/quote?" + words, expect=400)
        for path in ("/v1/quota", "/v1/jobs", "/v1/pool", "/v1/overview", "/v1/usage"):
            with self.subTest(path):
                self.call("GET", path, f"{path}?no_such=1", token=ROOT, expect=400)

    BODIES = (b"", b"{", b"[]", b"null", b'"x"', b"7", b"\xff\xfe", b"{}", b'{"app": "nothing"',
              b"'app'", b'{"app": "nothing"}}', b'{"app": "nothing", "duration_s": 1e999}',
              b'{"app": "\xff"}', b'{"app": "nothing\x00"}', b"app=nothing", b"[" * 60000,
              b'{"a":' * 10000)
    WISHES = ({"app": 7}, {"app": None}, {"app": []}, {"app": ""}, {"app": "a" * 65},
              {"app": "no\0thing"}, {"app": "noth\ning"}, {"arguments": []}, {"arguments": "x"},
              {"arguments": {"a": {}}}, {"arguments": {"a": None}}, {"arguments": {"a\nb": "1"}},
              {"arguments": {"": "1"}}, {"arguments": {"a" * 65: "1"}},
              {"arguments": {f"a{i}": "1" for i in range(33)}}, {"arguments": {"a": "x" * 33000}},
              {"duration_s": "5"}, {"duration_s": True}, {"duration_s": [5]}, {"duration_s": -5},
              {"duration_s": 0}, {"duration_s": 1e300}, {"max_wait_s": -1}, {"max_wait_s": "soon"},
              {"size": 5}, {"size": "gigantic"}, {"size": "la\0rge"}, {"request": "x"},
              {"request": 5}, {"request": "7f3f1c9a-5be0-4d42-86d4-2c6a1b2c3d4e"},
              {"detached": "yes"}, {"detached": 1}, {"duration": 5}, {"no\0such": 5})

    def test_submits_that_ask_for_nothing(self):
        for body in self.BODIES:
            with self.subTest(body[:30]):
                self.call("POST", "/v1/jobs", body=body, expect=400)
        for wish in self.WISHES:
            with self.subTest(str(wish)[:80]):
                self.call("POST", "/v1/jobs", body={"app": "nothing"} | wish, expect=400)
        for arguments in ({}, {"prompt": "a", "colour": "red"}, {"prompt": "a", "steps": "-1"},
                          {"prompt": "a\7b"}, {"prompt": "a", "steps": 1e3},
                          {"prompt": "x" * 1001}):
            with self.subTest(str(arguments)[:60]):
                said = self.submit(app="emoji", arguments=arguments, expect=400)
                self.assertEqual(said["code"], "bad_request")
        self.assertEqual(self.quota()["open_jobs"], 0)
        self.assertEqual(self.call("GET", "/v1/receipts", expect=200)["receipts"], [])

    def test_commands_that_command_nothing(self):
        words = ("nodes", [], {}, None, [1], [None], [""], ["a" * 513], ["no\ndes"], ["no\0des"],
                 ["explode"], ["drain"], ["drain", "nowhere"], ["nodes", "--no-such"],
                 ["cancel", "x"], ["w"] * 33)
        for each in words:
            with self.subTest(str(each)[:40]):
                found = self.call("POST", "/v1/operate", body={"words": each}, token=ROOT,
                                  expect=400)
                self.assertEqual(found["error"]["code"], "bad_request")
        for body in self.BODIES:
            with self.subTest(body[:30]):
                self.call("POST", "/v1/operate", body=body, token=ROOT, expect=400)
        self.call("POST", "/v1/operate", body={"words": ["cancel", "999999999"]}, token=ROOT,
                  expect=404)

    def test_bodies_that_are_no_json(self):
        for path, body, token in (("/v1/jobs", {"app": "nothing"}, self.token),
                                  ("/v1/operate", {"words": ["nodes"]}, ROOT)):
            for kind in ("text/plain", "application/x-www-form-urlencoded",
                         "multipart/form-data; boundary=x", "application/jsonp", ""):
                with self.subTest(path, kind=kind):
                    self.call("POST", path, body=json.dumps(body), token=token, expect=415,
                              Content_Type=kind)
        self.call("POST", "/v1/operate", body={"words": ["nodes"]}, token=ROOT, expect=200,
                  Content_Type="application/json; charset=utf-8")

    def test_what_is_too_large_is_not_read(self):
        large = json.dumps({"app": "nothing", "arguments": {"a": "x" * 70_000}}).encode()
        chunks = b"".join(b"%x\r\n%s\r\n" % (8000, b"x" * 8000) for _ in range(10))
        for path in ("/v1/jobs", "/v1/operate"):
            head = (f"POST {path} HTTP/1.1\r\nHost: {ours.POOL.web}\r\n"
                    f"Authorization: Bearer {ROOT}\r\nContent-Type: application/json\r\n")
            for length, body in ((len(large), large), (10**12, b"{")):
                answer = raw(f"{head}Content-Length: {length}\r\n\r\n".encode(), body)
                self.assertEqual(answer.status, 413, answer)
            answer = raw(f"{head}Content-Length: {10**30}\r\n\r\n".encode())
            self.assertIn(answer.status, (400, 413), answer)
            answer = raw(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode(), chunks)
            self.assertEqual(answer.status, 413, answer)
        self.assertEqual(self.quota()["open_jobs"], 0)

    def what_http_refuses(self):
        host = f"Host: {ours.POOL.web}\r\n".encode()
        get = b"GET %s HTTP/1.1\r\n" + host + b"\r\n"
        post = b"POST /v1/jobs HTTP/1.1\r\n" + host + b"Content-Type: application/json\r\n"
        return {
            "a long header": (get[:-2] % b"/v1/pool" + b"X: " + b"a" * 20000 + b"\r\n\r\n", 431),
            "a long query": (get % (b"/v1/quote?app=" + b"a" * 20000), 431),
            "many parameters": (get % (b"/v1/quota?" + b"a=1&" * 40), 400),
            "a broken %": (get % b"/v1/pool%zz", 400),
            "a broken % in a query": (get % b"/v1/pool?a=%f", 400),
            "NUL in a path": (get % b"/v1/\0pool", 400),
            "%00 in a path": (get % b"/v1/jobs/%00", 400),
            "NUL in a header": (get[:-2] % b"/v1/pool" + b"A\0b: c\r\n\r\n", 400),
            "no request": (b"nonsense\r\n\r\n", 400), "a space": (get % b"/v1/po ol", 400),
            "a large body": (post + b"Content-Length: 1000000\r\n\r\n", 413),
            "two tokens": (get[:-2] % b"/v1/pool" + b"Authorization: Bearer a\r\n" * 2 + b"\r\n",
                           400),
            "an odd wish": (post + b"Expect: a-cake\r\nContent-Length: 2\r\n\r\n", 417)}

    def test_what_is_no_http_is_refused(self):
        for what, (request, status) in self.what_http_refuses().items():
            with self.subTest(what):
                self.assertEqual(raw(request).status, status)
        self.call("GET", "/v1/pool", expect=200)  # it goes on

    def test_what_is_no_http_is_refused_with_an_error_like_any_other(self):
        for what, (request, _) in self.what_http_refuses().items():
            with self.subTest(what):
                ours.JUDGE.error(raw(request))


# ---- Jobs ----------------------------------------------------------------------------------------


class Jobs(Ours):
    def test_the_pool_says_what_it_can_run(self):
        found = self.call("GET", "/v1/pool", expect=200)
        apps = {app["name"]: app for app in found["apps"]}
        self.assertEqual(set(apps), {"nothing", "sleep", "emoji"}, "those that it may use")
        parameters = {one["name"]: one for one in apps["sleep"]["parameters"]}
        seconds = parameters["seconds"]
        self.assertEqual((seconds["kind"], seconds["required"], seconds["min"], seconds["max"],
                          seconds["default"]), ("number", False, 0, 60, "0.2"))
        factors = {one["name"]: one["factor"] for one in found["sizes"]}
        self.assertEqual(factors, {"large": 1, "xlarge": 2})
        tiers = {one["name"]: one for one in found["tiers"]}
        self.assertEqual(tiers["free"]["allowance_ms"], 3_600_000)
        self.assertEqual(found["window"], {"kind": "rolling", "length_ms": 86_400_000})
        self.assertEqual(found["caller"]["account"], f"user:{self.user}")

    def test_who_asks_is_known(self):
        mine = self.call("GET", "/v1/quota", expect=200)["caller"]
        self.assertEqual((mine["account"], mine["tier"], mine["operator"]),
                         (f"user:{self.user}", "free", False))
        self.assertIsNotNone(mine["token_expires_at"])
        nobody = self.call("GET", "/v1/quota", token=None, expect=200)
        self.assertEqual(nobody["caller"]["account"], "address:127.0.0.1/32")
        self.assertIsNone(nobody["caller"]["token_expires_at"])
        self.assertTrue(self.call("GET", "/v1/quota", token=ROOT, expect=200)["caller"]["operator"])

    def test_no_window_is_open_before_the_first_job(self):
        before = self.quota()
        self.assertEqual((before["left_ms"], before["resets_at"], before["held_until"]),
                         (3_600_000, None, None))

    def test_a_picture_is_what_its_receipt_says(self):
        receipt = self.job(ours.ADA.picture, ours.ADA.token)["receipt"]
        answer = ours.POOL.ask("GET", f"/v1/jobs/{ours.ADA.picture}/result", token=ours.ADA.token)
        ours.JUDGE.answer("GET", "/v1/jobs/{job}/result", answer)
        self.assertEqual(answer.media_type, receipt["result"]["media_type"])
        self.assertEqual(len(answer.body), receipt["result"]["bytes"])
        self.assertEqual(hashlib.sha256(answer.body).hexdigest(), receipt["result"]["sha256"])
        self.assertTrue(answer.body.startswith(pool.PNG))
        log = ours.POOL.ask("GET", f"/v1/jobs/{ours.ADA.command}/log", token=ours.ADA.token)
        self.assertEqual((log.media_type, log.body), ("text/plain", b"sleeps 0.2 s\n"))

    def test_what_is_not_there_is_gone(self):
        job = self.submit(app="nothing")["job"]
        self.receipt(job)
        for tail in ("/result", "/preview"):
            found = self.call("GET", "/v1/jobs/{job}" + tail, f"/v1/jobs/{job}{tail}", expect=404)
            self.assertEqual(found["error"]["code"], "result_gone")
        log = self.call("GET", "/v1/jobs/{job}/log", f"/v1/jobs/{job}/log", expect=200)
        self.assertEqual(log, b"", "it wrote nothing")

    def test_a_job_from_its_submit_to_its_receipt(self):
        job = self.submit(app="sleep", duration_s=7.5, size="large", arguments={"seconds": "1"})
        self.assertEqual((job["declared_ms"], job["held_ms"], job["factor"]), (7500, 7500, 1))
        self.assertIsNotNone(job["promised_start"])
        self.running(job["job"])
        balance = self.quota()
        self.assertEqual((balance["held_ms"], balance["open_jobs"]), (7500, 1))
        self.assertIsNotNone(balance["held_until"])
        listed = self.call("GET", "/v1/jobs", expect=200)["jobs"]
        self.assertEqual([one["job"] for one in listed], [job["job"]])
        receipt = self.receipt(job["job"])
        self.assertEqual((receipt["outcome"], receipt["request"]), ("succeeded", job["request"]))
        self.assertTrue(1000 <= receipt["charged_ms"] < 7500, receipt)
        self.assertEqual(receipt["charged_ms"], receipt["ran_ms"])
        after = self.quota()
        self.assertEqual((after["used_ms"], after["held_ms"], after["open_jobs"]),
                         (receipt["charged_ms"], 0, 0))
        self.assertEqual(after["left_ms"], receipt["left_ms"])
        story = self.call("GET", "/v1/jobs/{job}/explain", f"/v1/jobs/{job['job']}/explain",
                          expect=200)["story"]
        moments = [line["at"] for line in story]
        self.assertTrue(moments)
        self.assertEqual(moments, sorted(moments))
        self.assertEqual(self.call("GET", "/v1/jobs", expect=200)["jobs"], [])

    def test_an_xlarge_job_costs_twice(self):
        quote = self.call("GET", "/v1/quote", "/v1/quote?app=nothing&duration_s=3&size=xlarge",
                          expect=200)["quote"]
        self.assertEqual((quote["factor"], quote["declared_ms"], quote["cost_ms"]), (2, 3000, 6000))
        job = self.submit(app="nothing", duration_s=3, size="xlarge")
        self.assertEqual((job["factor"], job["declared_ms"], job["held_ms"]), (2, 3000, 6000))
        self.assertEqual(self.receipt(job["job"])["held_ms"], 6000)

    def test_a_quote_is_what_then_is_held(self):
        quote = self.call("GET", "/v1/quote", "/v1/quote?app=sleep&duration_s=12.345",
                          expect=200)["quote"]
        self.assertEqual(self.quota()["held_ms"], 0, "nothing is held by a question")
        job = self.submit(app="sleep", duration_s=12.345)
        self.assertEqual(quote["cost_ms"], job["held_ms"])
        self.assertEqual(quote["left_ms"], quote["balance"]["left_ms"] - 12_345)

    def test_the_same_request_happens_once(self):
        wish = {"app": "sleep", "duration_s": 5, "request": uuid7()}
        first = self.submit(**wish)
        self.assertEqual(self.submit(**wish)["job"], first["job"])
        self.receipt(first["job"])
        again = self.call("POST", "/v1/jobs", body=wish, expect=200)
        self.assertEqual(again["receipt"]["job"], first["job"], "over by now")
        said = self.submit(**wish | {"duration_s": 6}, expect=409)
        self.assertEqual(said["code"], "id_reused")
        self.assertEqual(len(self.call("GET", "/v1/receipts", expect=200)["receipts"]), 1)

    def test_cancelled_in_the_queue_it_costs_nothing_and_running_what_it_ran(self):
        self.all_slots_taken()
        waiting = self.submit(app="sleep", duration_s=30)
        found = self.job(waiting["job"])["job"]
        self.assertEqual(found["state"], "queued")
        self.assertGreaterEqual(found["position"], 1)
        done = self.cancel(waiting["job"])
        self.assertEqual((done["receipt"]["outcome"], done["receipt"]["charged_ms"],
                          done["receipt"]["given_back_ms"]), ("cancelled", 0, 30_000))
        self.assertEqual(done["balance"]["held_ms"], 0)
        self.assertIsNone(done["balance"]["resets_at"], "a window in which nothing was charged")
        self.doCleanups()  # the slots are free again
        job = self.submit(app="sleep", duration_s=30, arguments={"seconds": "20"})["job"]
        self.running(job)
        done = self.cancel(job)
        self.assertEqual(done["receipt"]["outcome"], "cancelled")
        self.assertTrue(0 < done["receipt"]["charged_ms"] < 30_000, done)
        self.assertEqual(self.cancel(job)["receipt"], done["receipt"], "the one that it had")

    def test_past_its_declared_end_it_expires(self):
        job = self.submit(app="sleep", duration_s=1, arguments={"seconds": "50"})["job"]
        receipt = self.receipt(job)
        self.assertEqual((receipt["outcome"], receipt["charged_ms"]), ("expired", 1000))

    def test_receipts_and_days_add_up_to_what_was_used(self):
        for seconds in ("0.1", "0.3", "0.2"):
            job = self.submit(app="sleep", duration_s=9, arguments={"seconds": seconds})["job"]
            self.receipt(job)
        whole = self.call("GET", "/v1/receipts", "/v1/receipts?limit=50", expect=200)
        self.assertEqual((len(whole["receipts"]), whole["more"]), (3, False))
        paged, before = [], None
        for _ in range(3):
            words = {"limit": 1} | ({"before": before} if before else {})
            page = self.call("GET", "/v1/receipts", "/v1/receipts" + query(**words), expect=200)
            paged += page["receipts"]
            before = paged[-1]["job"]
        self.assertEqual(paged, whole["receipts"])
        self.assertFalse(page["more"])
        charged = sum(one["charged_ms"] for one in paged)
        self.assertEqual(self.quota()["used_ms"], charged)
        days = self.call("GET", "/v1/usage", "/v1/usage?days=2", expect=200)["days"]
        for key in ("charged_ms", "ran_ms", "held_ms", "given_back_ms"):
            self.assertEqual(sum(day[key] for day in days), sum(one[key] for one in paged), key)
        self.assertEqual(sum(day["jobs"] for day in days), 3)

    def test_operators_cancel_anybodys_job_and_changes_are_told(self):
        job = self.submit(app="sleep", duration_s=60, arguments={"seconds": "60"})["job"]
        table = self.call("POST", "/v1/operate", body={"words": ["cancel", str(job)]}, token=ROOT,
                          expect=200)
        self.assertEqual(table["rows"][0]["job"], job)
        self.assertEqual(self.receipt(job)["outcome"], "cancelled")
        self.call("POST", "/v1/operate", body={"words": ["tier", self.user, "pro"]}, token=ROOT,
                  expect=200)
        changes = self.call("GET", "/v1/changes", "/v1/changes?since_s=60", expect=200)["changes"]
        mine = [one for one in changes if one["subject"] == f"user:{self.user}"]
        self.assertEqual((mine[0]["field"], mine[0]["after"]), ("tier", "pro"))
        pool.wait_until(lambda: self.quota()["tier"] == "pro", "the tier is another")
        for words in (["help"], ["queue"], ["accounts"], ["apps"], ["tier"], ["audit"]):
            table = self.call("POST", "/v1/operate", body={"words": words}, token=ROOT, expect=200)
            for row in table["rows"]:
                self.assertEqual(list(row), table["columns"])

    def test_the_overview_is_what_happened(self):
        job = self.submit(app="sleep", duration_s=60, arguments={"seconds": "30"})["job"]
        self.running(job)

        def seen():  # what is counted comes about once a second
            found = self.call("GET", "/v1/overview", token=ROOT, expect=200)
            slots = [slot for node in found["nodes"] for slot in node["slots"]]
            has_job = any(slot["job"] == job for slot in slots)
            return found if has_job and found["slots"]["busy"] else None

        found = pool.wait_until(seen, "the overview has the job on its slot")
        self.assertEqual(found["slots"]["total"], 2)
        self.assertIn(job, [one["job"] for one in found["queue"]["jobs"]])
        self.assertTrue(any(span["job"] == job and span["to"] is None
                            for span in found["timeline"]["spans"]), found["timeline"])
        totals = found["totals"]
        self.assertLessEqual(totals["succeeded"] + totals["failed"] + totals["expired"]
                             + totals["cancelled"], totals["admitted"])
        self.assertGreaterEqual(totals["refused"].get("forbidden", 0), 1)  # of ada's past
        for moments in ([one["at"] for one in found[key]] for key in ("hour", "day")):
            self.assertEqual(moments, sorted(moments))
        self.assertGreater(found["ledger"]["commits"], 0)
        self.assertGreaterEqual(found["ledger"]["records"], found["ledger"]["commits"])


# ---- Refusals ------------------------------------------------------------------------------------


class Refusals(Ours):
    def refused(self, status, code, token="", **wish):
        """A refusal with the numbers and the story that it has to have."""
        wish = {"request": uuid7()} | wish
        said = self.submit(token, expect=status, **wish)
        self.assertEqual((said["code"], said["request"]), (code, wish["request"]))
        self.assertTrue(said["sentence"])
        story = self.call("GET", "/v1/refusals/{request}/explain",
                          f"/v1/refusals/{wish['request']}/explain", token=token, expect=200)
        self.assertTrue(story["story"])
        return said

    def test_beyond_the_quota(self):
        token = mint(sub=self.user, tier="small")
        said = self.refused(429, "quota_exceeded", token, app="sleep", duration_s=40)
        self.assertEqual((said["want"], said["have"], said["unit"]), (40_000, 20_000, "ms"))
        self.assertEqual((said["cost_ms"], said["account"], said["tier"]),
                         (40_000, f"user:{self.user}", "small"))
        self.assertEqual(said["balance"]["left_ms"], 20_000)
        large, = [fit for fit in said["balance"]["fits"] if fit["size"] == "large"]
        self.assertEqual(large["longest_ms"], 20_000)
        # What it says would fit does.
        self.submit(token, app="sleep", duration_s=large["longest_ms"] / 1000)

    def test_too_many_jobs(self):
        token = mint(sub=self.user, tier="small")
        self.all_slots_taken()
        for _ in range(2):
            self.submit(token, app="sleep", duration_s=1)
        said = self.refused(429, "too_many_jobs", token, app="sleep", duration_s=1)
        self.assertEqual((said["want"], said["have"], said["unit"]), (3, 2, "jobs"))

    def test_a_promise_that_cannot_be_kept(self):
        self.all_slots_taken()
        said = self.refused(429, "promise_too_late", app="sleep", duration_s=5, max_wait_s=1)
        self.assertEqual((said["want"], said["unit"]), (1000, "ms"))
        self.assertGreater(said["have"], 1000)

    def test_a_duration_that_is_too_long(self):
        said = self.refused(422, "illegal_duration", app="sleep", duration_s=400)
        self.assertEqual((said["want"], said["have"], said["unit"]), (400_000, 180_000, "ms"))

    def test_a_shape_that_the_pool_lacks(self):
        said = self.refused(422, "size_unavailable", app="sleep", duration_s=5, size="xlarge")
        self.assertEqual((said["want"], said["unit"]), (2, "slots"))

    def test_an_app_for_others(self):
        self.refused(403, "forbidden", app="members")
        self.submit(mint(sub=self.user, tier="pro"), app="members")

    def test_an_app_that_is_not_there(self):
        self.refused(422, "unknown_app", app="nobody-has-it")

    def test_an_id_that_is_too_old(self):
        said = self.submit(app="nothing", request=uuid7(age_s=3 * 86400), expect=422)
        self.assertEqual((said["code"], said["unit"]), ("id_expired", "ms"))

    def test_a_quote_refuses_as_a_submit_does(self):
        token = mint(sub=self.user, tier="small")
        for words, code in (("app=sleep&duration_s=40", "quota_exceeded"),
                            ("app=sleep&duration_s=400", "illegal_duration"),
                            ("app=sleep&duration_s=5&size=xlarge", "size_unavailable"),
                            ("app=members", "forbidden"), ("app=nobody-has-it", "unknown_app"),
                            ("app=sleep&size=gigantic", "bad_request")):
            with self.subTest(words):
                found = self.call("GET", "/v1/quote", f"/v1/quote?{words}", token=token, expect=200)
                self.assertEqual(found["refused"]["code"], code)


class OtherPools(unittest.TestCase):
    def own(self, **how):
        own = WebPool(**how)
        self.addCleanup(own.end)
        return own

    def test_a_pool_without_anonymous_callers_and_without_nodes(self):
        own = self.own(roles="broker", anonymous=False,
                       broker='worker_address = "127.0.0.1:0"\nrejoin_grace_s = 0.1')
        for method, path, operation in ours.JUDGE.operations():
            if operation.get("security") != []:
                body = {"/v1/jobs": {"app": "nothing"}, "/v1/operate": {"words": ["nodes"]}}
                answer = own.ask(method.upper(), path.format(job=1, request=uuid7()),
                                 body[path] if method == "post" else None)
                self.assertEqual(answer.status, 401, (path, answer))
                said = ours.JUDGE.answer(method, path, answer)["error"]
                self.assertEqual(said["code"], "unauthenticated")
        ada = mint(sub="ada")
        pool.wait_until(lambda: "refused" in own.get("/v1/quote?app=nothing", ada),
                        "nodes had their time to join")
        answer = own.ask("POST", "/v1/jobs", {"app": "nothing"}, ada)
        self.assertEqual(answer.status, 503, answer)
        found = ours.JUDGE.answer("POST", "/v1/jobs", answer)
        self.assertEqual(found["refused"]["code"], "pool_unavailable")

    def test_who_asks_too_often_is_told_how_long_to_wait(self):
        own = self.own(rates="account_per_s = 1\naccount_burst = 5\naddress_per_s = 0")
        token = mint(sub="ada")
        answers = [own.ask("GET", "/v1/quota", token=token) for _ in range(30)]
        self.assertEqual(answers[0].status, 200)
        late = [answer for answer in answers if answer.status != 200]
        self.assertTrue(late, "nobody was told to wait")
        for answer in late:
            self.assertEqual(answer.status, 429, answer)
            said = ours.JUDGE.answer("GET", "/v1/quota", answer)["error"]
            self.assertEqual((said["code"], said["unit"]), ("rate_limited", "ms"))
            self.assertGreater(said["want"], 0)
            self.assertGreaterEqual(int(answer.headers["Retry-After"]), 1)
        self.assertEqual(own.ask("GET", "/v1/quota", token=mint(sub="bob")).status, 200)


# ---- The stream ----------------------------------------------------------------------------------


class Streams(Ours):
    def stream(self, token=""):
        found = Stream(self.token if token == "" else token)
        self.addCleanup(found.close)
        return found

    def test_it_begins_with_who_and_what_there_is(self):
        stream = self.stream()
        self.assertTrue(stream.headers["Content-Type"].startswith("text/event-stream"))
        self.assertIn("no-store", stream.headers["Cache-Control"])
        name, hello = stream.next(20)
        self.assertEqual((name, hello["caller"]["account"]), ("hello", f"user:{self.user}"))
        for name in ("quota", "jobs"):
            if name not in stream.names():
                stream.wait_for(name)
        self.assertEqual(stream.told("jobs"), [{"jobs": []}])

    def test_a_job_is_told_from_its_submit_to_its_receipt(self):
        stream = self.stream()
        hello = stream.wait_for("hello")
        job = self.submit(stream=hello["stream"], app="sleep", duration_s=9,
                          arguments={"seconds": "1"})["job"]
        done = stream.wait_for("done", lambda found: found["receipt"]["job"] == job)
        states = [found["state"] for found in stream.told("job")]
        order = ["queued", "starting", "running", "ended"]
        self.assertIn("running", states)
        self.assertEqual(states, sorted(states, key=order.index))
        self.assertIn(9000, [found["balance"]["held_ms"] for found in stream.told("quota")])
        listed = [[one["job"] for one in found["jobs"]] for found in stream.told("jobs")]
        self.assertIn([job], listed)
        used = done["receipt"]["charged_ms"]
        self.assertEqual((done["balance"]["used_ms"], done["balance"]["held_ms"]), (used, 0))
        if stream.told("quota")[-1]["balance"]["used_ms"] != used:
            stream.wait_for("quota", lambda found: found["balance"]["used_ms"] == used)
        if stream.told("jobs")[-1]["jobs"]:
            stream.wait_for("jobs", lambda found: found["jobs"] == [])
        self.assertEqual(stream.told("overview"), [])

    def test_a_job_that_was_open_before_is_told_too(self):
        job = self.submit(app="sleep", duration_s=9, arguments={"seconds": "2"})["job"]
        stream = self.stream()
        stream.wait_for("jobs", lambda found: [one["job"] for one in found["jobs"]] == [job])
        stream.wait_for("done", lambda found: found["receipt"]["job"] == job)

    def test_a_picture_is_seen_as_it_forms(self):
        stream = self.stream()
        hello = stream.wait_for("hello")
        job = self.submit(stream=hello["stream"], app="emoji", duration_s=120,
                          arguments={"prompt": "a yellow star", "steps": "600"})["job"]
        preview = stream.wait_for("preview", lambda found: found["job"] == job, 60)
        self.assertGreater(preview["step"], 0)
        picture = self.call("GET", "/v1/jobs/{job}/preview", f"/v1/jobs/{job}/preview", expect=200)
        self.assertTrue(picture.startswith(pool.PNG))
        stream.wait_for("job", lambda found: found["step"] > preview["step"], 60)
        done = stream.wait_for("done", lambda found: found["receipt"]["job"] == job, 120)
        self.assertEqual(done["receipt"]["outcome"], "succeeded")

    def test_a_queued_job_goes_with_its_stream_unless_it_is_detached(self):
        self.all_slots_taken()
        stream = self.stream()
        hello = stream.wait_for("hello")
        mine = self.submit(stream=hello["stream"], app="sleep", duration_s=5)["job"]
        stays = self.submit(stream=hello["stream"], app="sleep", duration_s=5, detached=True)["job"]
        alone = self.submit(app="sleep", duration_s=5)["job"]
        stream.close()

        def ended():  # client_grace_s = 2; a question about the job would stand for it
            return self.call("GET", "/v1/receipts", expect=200)["receipts"]

        receipt, = pool.wait_until(ended, "the job goes with its stream")
        self.assertEqual((receipt["job"], receipt["outcome"], receipt["charged_ms"]),
                         (mine, "cancelled", 0))
        for job in (stays, alone):
            self.assertEqual(self.job(job)["job"]["state"], "queued")

    def test_streams_of_others_take_no_jobs(self):
        others = self.stream(mint(sub="somebody-else"))
        hello = others.wait_for("hello")
        for stream in (hello["stream"], "0", "ffffffffffffffff", "x", "", "-1", "f" * 40, "0x1"):
            with self.subTest(stream[:4]):
                self.call("POST", "/v1/jobs", f"/v1/jobs?stream={stream}", {"app": "nothing"},
                          expect=400)
        self.assertEqual(self.quota()["open_jobs"], 0)
        self.receipt(self.submit(app="nothing")["job"])
        # What they are told next is their own.
        token = mint(sub="somebody-else")
        job = self.submit(token, hello["stream"], app="nothing")["job"]
        others.wait_for("done", lambda found: found["receipt"]["job"] == job)
        accounts = {found["receipt"]["account"] for found in others.told("done")}
        self.assertEqual(accounts, {"user:somebody-else"})

    def test_operators_see_the_pool_again_and_again(self):
        stream = self.stream(ROOT)
        first = stream.wait_for("overview", seconds=5)
        second = stream.wait_for("overview", seconds=10)
        self.assertLess(first["at"], second["at"])

    def test_announcements_come_and_go(self):
        streams = [self.stream(), self.stream(None)]
        for stream in streams:
            self.assertIsNone(stream.wait_for("hello")["announcement"])
        self.addCleanup(ours.POOL.operate, "announce", "--clear")
        ours.POOL.operate("announce", "cake", "at", "four")
        for stream in streams:
            self.assertEqual(stream.wait_for("notice")["text"], "cake at four")
        self.assertEqual(self.stream().wait_for("hello")["announcement"], "cake at four")
        self.assertEqual(ours.POOL.get("/v1/pool")["announcement"], "cake at four")
        ours.POOL.operate("announce", "--clear")
        for stream in streams:
            self.assertEqual(stream.wait_for("notice")["text"], "")

    def test_it_ends_with_its_token_and_says_so(self):
        stream = self.stream(mint(sub=self.user, exp=int(time.time()) + 3))
        self.assertTrue(stream.wait_for("bye", seconds=20)["reason"])
        stream.end()
        self.assertEqual(stream.seen[-1][0], "bye")

    def test_it_is_never_silent_for_long(self):
        self.assertEqual(self.stream().wait_for(":", seconds=17), "ping")

    def test_a_token_in_an_address_is_nobodys_and_is_not_written_down(self):
        for path in ("/v1/events", "/v1/quota"):
            self.call("GET", path, path + query(token=self.token), token=None, expect=400)
        ours.POOL.ask("GET", "/v1/quota", token=mint(sub="ada", exp=1))
        said = ours.POOL.log.read_text()
        for secret in ("eyJ", "token="):
            self.assertNotIn(secret, said)


if __name__ == "__main__":
    wanted = contract.environment()
    if wanted is None:
        sys.exit(pool.SKIPPED)
    if os.path.realpath(sys.prefix) != os.path.realpath(wanted.parents[1]):
        os.execv(wanted, [str(wanted), *sys.argv])
    pool.main()
