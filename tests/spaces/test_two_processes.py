"""Broker and worker in processes of their own, as on a cluster: callers of the worker's device API live
through the death of the broker, and none outlives that of its worker. Needs no packages."""

import pathlib
import signal
import tempfile
import time
import unittest

import pool_and_space as ours
from pool_and_space import Caller, is_alive, pool

BROKER = """
[pool]
roles = ["broker"]
[broker]
client_endpoint = "tcp://127.0.0.1:*"
worker_address = "127.0.0.1:{port}"
ready_file = "ready"
rejoin_grace_s = 20
[ledger]
path = "ledger.sqlite"
"""
WORKER = """
[pool]
roles = ["worker"]
[worker]
broker_address = "127.0.0.1:{port}"
folder = "worker"
[[worker.devices]]
kind = "cpu"
slots = 1
[http]
endpoint = "127.0.0.1:{http}"
"""
BOTH = """
[[identity.keys]]
kid = "main"
secret_file = "main.secret"
[[apps]]
name = "demo"
executor = "external"
[[spaces]]
name = "demo"
prefix = "{prefix}"
app = "demo"
"""


class TwoProcesses(ours.Pool):
    """The parts of a pool that a test kills one by one."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="gpupool-spaces-"))
        (self.folder / "main.secret").write_bytes(ours.SECRET)
        (self.folder / "main.secret").chmod(0o600)
        ports = {"port": ours.free_port(), "http": ours.free_port(), "prefix": ours.PREFIX}
        self.config = self.folder / "broker.toml"
        self.config.write_text((BROKER + BOTH).format(**ports))
        (self.folder / "worker.toml").write_text((WORKER + BOTH).format(**ports))
        self.http = f"127.0.0.1:{ports['http']}"
        self.url = f"http://{self.http}{ours.PREFIX}"
        self.log = self.folder / "log"
        self.start_broker()
        self.start_worker()

    def start_broker(self):
        (self.folder / "ready").unlink(missing_ok=True)
        self.process = pool.start([pool.BUILD / "gpupoold", "--config", self.config], self.log)
        values = pool.wait_for_client(self.process, self.folder / "ready", self.log)
        self.client = values["client"]

    def start_worker(self):
        self.worker = pool.start([pool.BUILD / "gpupoold", "--config", self.folder / "worker.toml"],
                                 self.folder / "worker.log")
        pool.wait_until(self.has_free_slot, "the worker has joined")

    def has_free_slot(self):
        rows = self.gpupool("root", "nodes", operator=True, check=False).get("rows", [])
        return any(row["slot_state"] == "free" for row in rows)

    def end(self):
        pool.stop(self.worker)
        super().end()


class Split(unittest.TestCase):
    def setUp(self):
        self.pool = TwoProcesses()

    def tearDown(self):
        pool.wait_until(self.pool.has_free_slot, "the slot is free again")
        audit = self.pool.audit()
        self.pool.end()
        self.assertEqual(audit.returncode, 0, audit.stdout)

    def settled(self, user):
        pool.wait_until(lambda: self.pool.receipts(user), "the run is settled")
        receipt, = self.pool.receipts(user)
        return receipt

    def test_a_caller_computes_on_while_its_broker_is_away_and_is_charged_once(self):
        began = time.monotonic()
        caller = Caller(self.pool.url, 60, self.pool.token("ada"))
        self.pool.process.kill()
        self.pool.process.wait()
        self.assertTrue(is_alive(caller.granted["pid"]))
        self.pool.start_broker()
        caller.release()
        receipt = self.settled("ada")
        self.assertEqual((receipt["outcome"], receipt["attempts"]), ("succeeded", 1))
        self.assertGreater(receipt["charged_ms"], 0)
        self.assertLessEqual(receipt["charged_ms"], (time.monotonic() - began) * 1000)

    def test_what_is_released_while_the_broker_is_away_is_settled_when_it_is_back(self):
        caller = Caller(self.pool.url, 60, self.pool.token("bob"))
        self.pool.process.kill()
        self.pool.process.wait()
        caller.release()  # the worker answers, whoever is away
        self.assertEqual(caller.process.returncode, 0)
        self.pool.start_broker()
        self.assertEqual(self.settled("bob")["outcome"], "succeeded")

    def test_a_deadline_holds_while_the_broker_is_away(self):
        caller = Caller(self.pool.url, 2, self.pool.token("cem"))
        self.pool.process.kill()
        self.pool.process.wait()
        self.assertEqual(caller.process.wait(15), -9)
        self.pool.start_broker()
        receipt = self.settled("cem")
        self.assertEqual((receipt["outcome"], receipt["charged_ms"]), ("expired", 2_000))

    def test_no_caller_outlives_its_worker(self):
        caller = Caller(self.pool.url, 60, self.pool.token("dan"), "fork")
        self.pool.worker.kill()
        self.pool.worker.wait()
        self.assertEqual(caller.process.wait(20), -9)  # before any other worker is there
        pool.wait_until(lambda: not is_alive(caller.granted["child"]), "its child is gone, too")
        self.pool.start_worker()
        receipt = self.settled("dan")
        self.assertEqual((receipt["outcome"], receipt["charged_ms"]), ("failed", 0))

    def test_a_deadline_holds_while_the_worker_stands_still(self):
        caller = Caller(self.pool.url, 1, self.pool.token("eve"))
        self.pool.worker.send_signal(signal.SIGSTOP)
        try:
            self.assertEqual(caller.process.wait(20), -9)
        finally:
            self.pool.worker.send_signal(signal.SIGCONT)
        receipt = self.settled("eve")
        self.assertEqual((receipt["outcome"], receipt["charged_ms"]), ("expired", 1_000))

    def test_a_warm_process_that_waits_for_the_next_call_has_no_deadline(self):
        caller = Caller(self.pool.url, 2, self.pool.token("fay"), "stay")
        caller.say("")
        self.settled("fay")
        over = time.monotonic() + 5  # its lease, and the grace of a kill
        pool.wait_until(lambda: time.monotonic() > over, "its time is over")
        self.assertTrue(is_alive(caller.granted["pid"]))
        caller.process.kill()
        caller.process.wait()


if __name__ == "__main__":
    pool.main()
