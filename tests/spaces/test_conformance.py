"""The real packages `spaces`, `gradio` and `gradio_client` against a real pool: what a Space that was
written for ZeroGPU does here, step by step (docs/zerogpu.md)."""

import json
import os
import subprocess
import time
import unittest

import pool_and_space as ours
from pool_and_space import Caller, is_alive, mint, pool

PYTHON = ours.environment()
SECOND_PREFIX = "/s/fedcba9876543210"
SECOND = f"""
[[spaces]]
name = "second"
prefix = "{SECOND_PREFIX}"
app = "demo"
"""


class Visit:
    """One call of a visitor, in a process of its own."""

    def __init__(self, space, function, text="hello", token="-"):
        self.process = subprocess.Popen(
            [PYTHON, ours.HERE / "visit.py", space.url, token, function, text], text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def answer(self, seconds=150):
        out, error = self.process.communicate(timeout=seconds)
        if not out.strip():
            raise AssertionError(error)
        return json.loads(out.strip().splitlines()[-1])

    def is_told(self, words):
        """Waits until the visitor is shown these words."""
        while words not in (line := self.process.stdout.readline()):
            if not line:
                raise AssertionError(f"never told: {words}\n{self.process.stderr.read()}")

    def leave(self):
        self.process.kill()
        self.process.communicate()


def visit(space, function, text="hello", token="-"):
    return Visit(space, function, text, token).answer()


@unittest.skipUnless(PYTHON, "the packages of a Space are not there")
class OneSlot(unittest.TestCase):
    """A pool of one slot, and one Space."""

    @classmethod
    def setUpClass(cls):
        cls.pool = ours.Pool(slots=1, jobs_max=2)
        cls.space = ours.Space(PYTHON, cls.pool.url)

    @classmethod
    def tearDownClass(cls):
        cls.space.end()
        cls.pool.end()

    def tearDown(self):
        pool.wait_until(self.pool.all_slots_free, "the slot is free again")
        audit = self.pool.audit()
        self.assertEqual(audit.returncode, 0, audit.stdout)

    def visitor(self):
        """A user of this test's own, so that no test pays for another's quota."""
        return self.pool.token(self.id().rsplit(".", 1)[1].replace("test_", "u_"))

    def receipts(self):
        return self.pool.receipts(self.id().rsplit(".", 1)[1].replace("test_", "u_"))

    def test_a_call_runs_in_another_process_and_its_time_is_charged_to_the_visitor(self):
        answer = visit(self.space, "who", token=self.visitor())
        self.assertNotEqual(int(answer["result"]), self.space.process.pid)
        receipt = self.receipts()[0]
        self.assertEqual(receipt["outcome"], "succeeded")
        self.assertEqual(receipt["declared_ms"], 20_000)
        self.assertLess(receipt["charged_ms"], 5_000)

    def test_the_same_function_again_finds_its_process_warm(self):
        token = self.visitor()
        first = visit(self.space, "who", token=token)["result"]
        self.assertEqual(visit(self.space, "who", token=token)["result"], first)
        other = visit(self.space, "wait", "0", token=token)["result"]
        self.assertNotEqual(other, first)
        self.assertFalse(is_alive(int(first)), "a warm process is killed for another's")

    def test_a_visitor_who_waits_is_told_so_and_then_served(self):
        holder = Caller(self.pool.url, 60, self.pool.token("holder", "--tier", "pro"))
        waiting = Visit(self.space, "who", token=self.visitor())
        pool.wait_until(lambda: self.pool.queue_size() == 1, "the visitor waits")
        holder.release()
        answer = waiting.answer()
        self.assertIn("result", answer)
        self.assertTrue(any("Waiting for a GPU" in one for one in answer["seen"]), answer)

    def test_a_visitor_who_leaves_is_taken_out_of_the_queue(self):
        holder = Caller(self.pool.url, 60, self.pool.token("holder", "--tier", "pro"))
        waiting = Visit(self.space, "who", token=self.visitor())
        # Before its first message a visitor may have asked and not listen yet: gradio doesn't notice
        # when that one goes.
        waiting.is_told("Waiting for a GPU")
        waiting.leave()
        pool.wait_until(lambda: self.pool.queue_size() == 0, "the queue is empty")
        pool.wait_until(lambda: self.receipts(), "the job is settled")
        self.assertEqual(self.receipts()[0]["outcome"], "cancelled")
        self.assertEqual(self.receipts()[0]["charged_ms"], 0)
        holder.release()

    def test_nobody_waits_longer_than_sixty_seconds(self):
        holder = Caller(self.pool.url, 100, self.pool.token("holder", "--tier", "pro"))
        with_token = Visit(self.space, "who", token=self.visitor())
        without = Visit(self.space, "who")
        self.assertIn("No GPU was available after 60s", with_token.answer()["error"])
        self.assertIn("No GPU was available after 60s", without.answer()["error"])
        holder.release()

    def test_a_function_past_its_duration_is_killed(self):
        answer = visit(self.space, "overrun", token=self.visitor())
        self.assertIn("GPU task aborted", answer["error"])
        receipt = self.receipts()[0]
        self.assertEqual(receipt["outcome"], "expired")
        self.assertEqual(receipt["charged_ms"], 2_000)
        self.assertIn("result", visit(self.space, "who", token=self.visitor()))

    def test_a_function_that_raises_loses_its_process(self):
        token = self.visitor()
        answer = visit(self.space, "fail", token=token)
        self.assertIn("ValueError", answer["error"])
        self.assertEqual(self.receipts()[0]["outcome"], "failed")
        pool.wait_until(self.pool.all_slots_free, "the slot is free again")
        self.assertIn("result", visit(self.space, "who", token=token))

    def test_a_generator_gives_all_its_values(self):
        answer = visit(self.space, "count", token=self.visitor())
        self.assertEqual([one.split()[0] for one in answer["all"]], ["0", "1", "2"])

    def test_a_duration_beyond_the_apps_is_illegal(self):
        for token in (self.visitor(), "-"):
            self.assertIn("larger than the maximum allowed",
                          visit(self.space, "endless", token=token)["error"])

    def test_what_is_left_and_when_it_comes_back_is_said(self):
        token = self.visitor()
        name = self.id().rsplit(".", 1)[1].replace("test_", "u_")
        visit(self.space, "who", token=token)  # which opens a window
        self.pool.gpupool("root", "adjust", name, "--charge", "590", "--why", "a test",
                          operator=True)
        error = visit(self.space, "who", token=token)["error"]
        self.assertRegex(error, r"20s requested vs\. [89]s left\). Try again in (1 day, )?[0-9]+:[0-9]{2}")

    def test_too_many_runs_at_once_is_said(self):
        token = self.visitor()
        first = Caller(self.pool.url, 30, token)
        waiting = Visit(self.space, "who", token=token)
        pool.wait_until(lambda: self.pool.queue_size() == 1, "the second waits")
        self.assertIn("exceeded your ZeroGPU runs limit",
                      visit(self.space, "who", token=token)["error"])
        first.release()
        self.assertIn("result", waiting.answer())

    def test_a_token_that_has_expired_is_said(self):
        now = int(time.time())
        self.assertIn("Expired ZeroGPU proxy token",
                      visit(self.space, "who", token=mint(sub="ada", exp=now - 10))["error"])

    def test_a_token_of_another_key_is_no_token(self):
        token = mint(sub="ada")
        self.assertIn("Expired ZeroGPU proxy token",
                      visit(self.space, "who", token=token[:-6] + "AAAAAA")["error"])

    def test_a_node_that_is_drained_has_no_gpu(self):
        self.pool.gpupool("root", "drain", "node-1", operator=True)
        for token in (self.visitor(), "-"):
            self.assertIn("No GPU was available", visit(self.space, "who", token=token)["error"])
        self.pool.gpupool("root", "resume", "node-1", operator=True)

    def test_a_token_that_says_why_it_is_of_an_address_is_shown_to_its_visitor(self):
        token = mint(ip="192.0.2.77", error="your login has ended")
        answer = visit(self.space, "who", token=token)
        self.assertIn("result", answer)
        self.assertTrue(any("Falling back to IP-based quotas (your login has ended)" in one
                            for one in answer["seen"]), answer)

    def test_what_is_left_can_be_asked_over_http(self):
        token = self.visitor()
        before = self.pool.quota(token)
        self.assertEqual(before, {"base": 600, "current": 600, "resetsAt": None,
                                  "overquotaUsed": 0})
        visit(self.space, "wait", "2", token=token)
        after = self.pool.quota(token)
        self.assertIn(after["current"], range(590, 599))
        self.assertRegex(after["resetsAt"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$")

    def test_a_space_that_is_not_known_yet_is_asked_for_twice(self):
        relay = ours.Relay(self.pool.http, not_found=2)
        space = ours.Space(PYTHON, f"http://{relay.address}{ours.PREFIX}")
        self.assertEqual(relay.asked["startup-report"], 3)
        space.end()
        relay.end()

    def test_a_stream_that_is_cut_is_asked_for_once_more(self):
        relay = ours.Relay(self.pool.http, cuts=1)
        space = ours.Space(PYTHON, f"http://{relay.address}{ours.PREFIX}")
        holder = Caller(self.pool.url, 60, self.pool.token("holder", "--tier", "pro"))
        waiting = Visit(space, "who", token=self.visitor())
        pool.wait_until(lambda: relay.asked["schedule"] == 2, "it is asked for once more")
        holder.release()
        waiting.answer()
        self.assertEqual(relay.asked["schedule"], 2)
        space.end()
        relay.end()

    def test_a_process_is_let_in_on_its_own_connection_only(self):
        relay = ours.Relay(self.pool.http)
        query = f"/schedule?taskId=1&durationSeconds=5&token={self.visitor()}"
        granted = json.loads(ours.post(self.pool.url + query)[1])
        allow = f"{ours.PREFIX}/allow?allowToken={granted['allowToken']}&pid="
        for address, pid in ((relay.address, os.getpid()), (self.pool.http, 1),
                             (self.pool.http, self.pool.process.pid),
                             (self.pool.http, self.space.process.pid)):
            self.assertEqual(ours.post(f"http://{address}{allow}{pid}")[0], 403)
        released = ours.post(f"{self.pool.url}/release?allowToken={granted['allowToken']}")
        self.assertEqual(released[0], 204)
        self.assertEqual(self.receipts()[0]["charged_ms"], 0)
        relay.end()


@unittest.skipUnless(PYTHON, "the packages of a Space are not there")
class EightSlots(unittest.TestCase):
    """A pool of eight slots; each test has a Space of its own."""

    @classmethod
    def setUpClass(cls):
        cls.pool = ours.Pool(slots=8, jobs_max=16, more=SECOND)

    @classmethod
    def tearDownClass(cls):
        cls.pool.end()

    def setUp(self):
        self.space = ours.Space(PYTHON, self.pool.url)

    def tearDown(self):
        self.space.end()
        pool.wait_until(self.pool.all_slots_free, "every slot is free again")
        audit = self.pool.audit()
        self.assertEqual(audit.returncode, 0, audit.stdout)

    def test_eight_calls_at_once_have_eight_processes_and_leave_none_behind(self):
        token = self.pool.token("ada", "--tier", "pro")
        visits = [Visit(self.space, "wait", "6", token) for _ in range(8)]
        pids = {int(one.answer()["result"]) for one in visits}
        self.assertEqual(len(pids), 8)
        receipts = self.pool.receipts("ada")
        self.assertEqual({one["outcome"] for one in receipts}, {"succeeded"})

    def test_a_space_that_dies_in_a_run_gives_its_slot_back_by_the_deadline(self):
        token = self.pool.token("bob", "--tier", "pro")
        running = Visit(self.space, "wait", "100", token)
        pool.wait_until(lambda: not self.pool.all_slots_free(), "the call runs")
        self.space.kill()
        running.leave()
        pool.wait_until(self.pool.all_slots_free, "the lease ends", seconds=40)
        self.assertIn(self.pool.receipts("bob")[0]["outcome"], ("expired", "failed"))

    def test_a_space_that_calls_another_does_so_on_its_visitors_behalf_who_pays(self):
        second = ours.Space(PYTHON, f"http://{self.pool.http}{SECOND_PREFIX}")
        first = ours.Space(PYTHON, self.pool.url, OTHER_SPACE=second.url)
        try:
            answer = visit(first, "relay", token=self.pool.token("fay"))
            self.assertIn("result", answer)
            receipt, = self.pool.receipts("fay")
            self.assertEqual(receipt["outcome"], "succeeded")
            self.assertGreater(receipt["charged_ms"], 0)
            story = str(self.pool.gpupool("fay", "explain", str(receipt["job"])))
            self.assertIn("token for fay, key main, through Space second", story)
        finally:
            first.end()
            second.end()

    def test_xlarge_sends_the_plain_duration_and_costs_twice(self):
        token = self.pool.token("eve", "--tier", "pro")
        self.assertIn("result", visit(self.space, "double", token=token))
        receipt = self.pool.receipts("eve")[0]
        self.assertEqual((receipt["size"], receipt["factor"], receipt["declared_ms"],
                          receipt["held_ms"]), ("xlarge", 2, 15_000, 30_000))


if __name__ == "__main__":
    pool.main()
