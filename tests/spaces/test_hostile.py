"""A device API that is not treated well: wrong tokens, streams that nobody reads, guesses, and callers that are
killed at every point of the protocol. After each the slots are back, no process is left, and the
audit finds nothing. Needs no packages."""

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
import unittest
import urllib.error
import urllib.request

import pool_and_space as ours
from pool_and_space import Caller, is_alive, mint, pool, post

SLOTS = 2


def query(**words):
    return "?" + "&".join(f"{key}={value}" for key, value in words.items())


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.pool = ours.Pool(slots=SLOTS, jobs_max=8)

    @classmethod
    def tearDownClass(cls):
        cls.pool.end()

    def tearDown(self):
        pool.wait_until(self.pool.all_slots_free, "the slots are back", seconds=30)
        pool.wait_until(lambda: self.pool.queue_size() == 0, "nobody waits")
        audit = self.pool.audit()
        self.assertEqual(audit.returncode, 0, audit.stdout)

    def schedule(self, user="ada", seconds=20, task=1):
        """A grant without a process."""
        status, body = post(self.pool.url + "/schedule" + query(
            taskId=task, durationSeconds=seconds, token=self.pool.token(user)))
        self.assertEqual(status, 200, body)
        return json.loads(body)

    def stream(self, user, seconds=20):
        """A raw connection whose visitor waits; what it was answered so far."""
        host, port = self.pool.http.rsplit(":", 1)
        connection = socket.create_connection((host, int(port)), 20)
        words = query(taskId=1, durationSeconds=seconds, token=self.pool.token(user))
        connection.sendall(f"POST {ours.PREFIX}/schedule{words} HTTP/1.1\r\nHost: a\r\n"
                           "Content-Length: 0\r\n\r\n".encode())
        heard = b""
        while b"event: ping" not in heard:
            piece = connection.recv(4096)
            self.assertTrue(piece, heard)
            heard += piece
        return connection

    @contextlib.contextmanager
    def all_slots_taken(self):
        holders = [Caller(self.pool.url, 60, self.pool.token("holder", "--tier", "pro"))
                   for _ in range(SLOTS)]
        try:
            yield
        finally:
            for holder in holders:
                holder.release()

    def test_tokens_of_every_wrong_kind_are_unauthenticated(self):
        now = int(time.time())
        good = mint(sub="ada")
        head, body, proof = good.split(".")
        wrong = {
            "expired": mint(sub="ada", exp=now - 1),
            "not yet valid": mint(sub="ada", nbf=now + 3600),
            "of the future": mint(sub="ada", iat=now + 3600),
            "for somebody else": mint(sub="ada", aud="another pool"),
            "without an end": mint(sub="ada", exp=None),
            "of nobody": mint(),
            "of two": mint(sub="ada", ip="192.0.2.1"),
            "of no address": mint(ip="here"),
            "of a tier that is not there": mint(sub="ada", tier="gold"),
            "with another's proof": f"{head}.{mint(sub='eve').split('.')[1]}.{proof}",
            "without proof": f"{head}.{body}.",
            "by no algorithm": "eyJhbGciOiJub25lIn0." + body + ".",
            "cut": good[:40],
            "no token at all": "x",
            "very long": "a" * 4097,
        }
        for what, token in wrong.items():
            with self.subTest(what):
                status, _ = post(self.pool.url + "/schedule" + query(taskId=1, token=token))
                self.assertEqual(status, 401)

    def test_a_revoked_token_is_unauthenticated(self):
        token = self.pool.token("mallory")
        self.pool.gpupool("root", "token", "revoke", "--user", "mallory", operator=True)
        self.assertEqual(post(self.pool.url + "/schedule" + query(taskId=1, token=token))[0], 401)

    def test_guessed_tokens_release_and_let_in_nobody(self):
        granted = self.schedule()
        real = granted["allowToken"]
        for guess in ("", "0", real[:-1], real + "0", real.upper() + "x", "%00", "a" * 5000,
                      real[:-1] + ("0" if real[-1] != "0" else "1")):
            word = query(allowToken=guess, fail="true", pid=os.getpid())
            self.assertIn(post(self.pool.url + "/release" + word)[0], (404, 400), guess)
            self.assertIn(post(self.pool.url + "/allow" + word)[0], (404, 400, 403), guess)
        self.assertEqual(post(self.pool.url + "/release" + query(allowToken=real))[0], 204)
        for _ in range(3):
            self.assertEqual(post(self.pool.url + "/release" + query(allowToken=real))[0], 204)

    def test_a_stream_that_nobody_reads_ends_and_its_job_with_it(self):
        with self.all_slots_taken():
            deaf = self.stream("deaf")
            pool.wait_until(lambda: self.pool.queue_size() == 1, "it waits")
            # It sends what is no business of its, which ends it as well as its going would.
            deaf.sendall(b"x" * 1000)
            pool.wait_until(lambda: self.pool.queue_size() == 0, "it is out of the queue")
            deaf.close()
        pool.wait_until(lambda: self.pool.receipts("deaf"), "its job is settled")
        self.assertEqual(self.pool.receipts("deaf")[0]["charged_ms"], 0)

    def test_a_hundred_visitors_that_hang_up_leave_nothing_in_the_queue(self):
        with self.all_slots_taken():
            for turn in range(20):
                streams = [self.stream(f"visitor{turn}-{i}") for i in range(5)]
                for one in streams:
                    one.close()
            pool.wait_until(lambda: self.pool.queue_size() == 0, "nobody waits")

    def test_a_visitor_whose_token_ends_in_the_queue_is_still_served(self):
        token = mint(sub="late", exp=int(time.time()) + 2)
        answer = {}

        def wait():
            with Caller(self.pool.url, 20, token) as caller:
                answer.update(caller.granted)

        with self.all_slots_taken():
            visitor = threading.Thread(target=wait)
            visitor.start()
            pool.wait_until(lambda: self.pool.queue_size() == 1, "the visitor waits")
            time.sleep(3)  # the token's own time
        visitor.join(30)
        self.assertIn("allowToken", answer)

    def test_a_caller_that_is_killed_in_the_queue_leaves_it(self):
        with self.all_slots_taken():
            waiting = subprocess.Popen(["python3", ours.HERE / "caller.py", self.pool.url,
                                        self.pool.token("ada"), "20"], stdout=subprocess.DEVNULL,
                                       stdin=subprocess.PIPE)
            pool.wait_until(lambda: self.pool.queue_size() == 1, "it waits")
            waiting.kill()
            waiting.communicate()
            pool.wait_until(lambda: self.pool.queue_size() == 0, "it is out of the queue")

    def test_a_caller_that_is_killed_with_its_grant_is_revoked_after_the_start_limit(self):
        self.schedule("grant")
        pool.wait_until(lambda: self.pool.receipts("grant"), "it is revoked", seconds=15)
        receipt = self.pool.receipts("grant")[0]
        self.assertEqual((receipt["cause"], receipt["charged_ms"]), ("start_limit_missed", 0))

    def test_a_caller_that_is_killed_in_its_run_is_settled_at_once(self):
        caller = Caller(self.pool.url, 60, self.pool.token("run", "--tier", "pro"))
        caller.process.kill()
        caller.process.communicate()
        pool.wait_until(lambda: self.pool.receipts("run"), "it is settled", seconds=5)
        receipt = self.pool.receipts("run")[0]
        self.assertEqual(receipt["outcome"], "failed")
        self.assertLess(receipt["charged_ms"], 5_000)

    def test_a_caller_that_goes_on_after_its_release_is_killed_before_its_slot_is_lent_again(self):
        stays = Caller(self.pool.url, 20, self.pool.token("stays"), "stay")
        stays.say("release")
        pool.wait_until(self.pool.all_slots_free, "the slot is free")
        self.assertTrue(is_alive(stays.granted["pid"]))
        others = [Caller(self.pool.url, 20, self.pool.token("next")) for _ in range(SLOTS)]
        self.assertIsNotNone(stays.process.wait(10))
        for other in others:
            other.release()

    def test_a_caller_past_its_deadline_is_killed_with_its_children(self):
        caller = Caller(self.pool.url, 2, self.pool.token("over"), "fork")
        child = caller.granted["child"]
        self.assertTrue(is_alive(child))
        self.assertEqual(caller.process.wait(10), -9)
        pool.wait_until(lambda: not is_alive(child), "its child is gone, too")
        pool.wait_until(lambda: self.pool.receipts("over"), "it is settled")
        receipt = self.pool.receipts("over")[0]
        self.assertEqual((receipt["outcome"], receipt["charged_ms"]), ("expired", 2_000))

    def test_a_caller_who_forks_twice_and_leaves_is_killed_with_what_has_left(self):
        if os.geteuid() != 0:
            self.skipTest("control groups are root's to make here")
        caller = Caller(self.pool.url, 2, self.pool.token("twice"), "fork-twice")
        child = caller.granted["child"]
        self.assertTrue(is_alive(child))
        self.assertEqual(caller.process.wait(10), -9)
        pool.wait_until(lambda: not is_alive(child), "what left it is gone, too")

    def test_a_caller_in_a_namespace_of_its_own_is_let_in_by_its_pid_there_and_killed(self):
        inside = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        if subprocess.run([*inside, "true"], stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest("no PID namespaces here")
        with Caller(self.pool.url, 20, self.pool.token("inside"), inside=inside) as caller:
            self.assertLess(caller.granted["pid"], 100)  # its own name for itself
        pool.wait_until(lambda: self.pool.receipts("inside"), "it is settled")
        self.assertEqual(self.pool.receipts("inside")[0]["outcome"], "succeeded")
        late = Caller(self.pool.url, 2, self.pool.token("inside"), inside=inside)
        self.assertNotEqual(late.process.wait(15), 0)
        pool.wait_until(lambda: len(self.pool.receipts("inside")) == 2, "it is settled")
        self.assertEqual(self.pool.receipts("inside")[0]["outcome"], "expired")

    def test_a_pool_that_starts_again_ends_what_it_had_let_in(self):
        other = ours.Pool(slots=1)
        try:
            caller = Caller(other.url, 60, other.token("ada"))
            other.process.kill()
            other.process.wait()
            self.assertEqual(caller.process.wait(20), -9)
            other.start()
            pool.wait_until(lambda: other.receipts("ada"), "the run is settled")
            receipt = other.receipts("ada")[0]
            self.assertEqual((receipt["outcome"], receipt["charged_ms"]), ("failed", 0))
            self.assertEqual(receipt["attempts"], 1)
        finally:
            other.end()

    def test_an_account_that_asks_too_often_is_told_to_come_again_and_others_are_not(self):
        other = ours.Pool(slots=1, more="\n[rates]\naccount_per_s = 1\naccount_burst = 3\n")
        try:
            tokens = {user: other.token(user) for user in ("ada", "bob")}
            quota = f"http://{other.http}/api/spaces/zero-gpu/quota"

            def ask(user):
                request = urllib.request.Request(
                    quota, headers={"Authorization": f"Bearer {tokens[user]}"})
                try:
                    with urllib.request.urlopen(request, timeout=20) as answer:
                        return answer.status, None
                except urllib.error.HTTPError as refusal:
                    return refusal.code, refusal.headers["Retry-After"]

            answers = [ask("ada") for _ in range(30)]
            self.assertEqual(answers[0], (200, None))
            self.assertIn((503, "1"), answers)
            self.assertEqual(ask("bob"), (200, None))
        finally:
            other.end()

    def test_no_query_is_written_down(self):
        self.test_guessed_tokens_release_and_let_in_nobody()
        said = self.pool.log.read_text()
        for secret in ("eyJ", "allowToken", "token=", ours.PREFIX):
            self.assertNotIn(secret, said)


if __name__ == "__main__":
    pool.main()
