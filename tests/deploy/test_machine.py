"""The packages on a machine with systemd: installed with dpkg, started as units with everything that
those close, drawing pictures; a broker and a worker apart, by certificates; a reload, a watchdog, an upgrade."""

import re
import tempfile
import unittest

import machine
import packages
import pool

BROKER = """
[pool]
roles = ["broker"]
[cluster]
ca_file = "/etc/gpupool/ca.certificate"
certificate_file = "/etc/gpupool/broker-1.certificate"
key_file = "/etc/gpupool/broker-1.key"
[broker]
client_endpoint = "tcp://127.0.0.1:7400"
worker_address = "127.0.0.1:7401"
ready_file = "/run/gpupool/ready"
[ledger]
path = "/var/lib/gpupool/ledger.sqlite"
[[apps]]
name = "emoji"
model = "/usr/share/gpupool/models/emoji"
"""
WORKER = """
[pool]
roles = ["worker"]
[cluster]
ca_file = "/etc/gpupool/ca.certificate"
certificate_file = "/etc/gpupool/node-1.certificate"
key_file = "/etc/gpupool/node-1.key"
[worker]
name = "node-1"
broker_address = "127.0.0.1:7401"
folder = "/var/lib/gpupool/worker"
[[worker.devices]]
kind = "cpu"
cores = [0]
[[apps]]
name = "emoji"
model = "/usr/share/gpupool/models/emoji"
"""


@unittest.skipIf(machine.why_not(), machine.why_not())
class OnAMachine(unittest.TestCase):
    """One machine, test after test."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="gpupool-packages-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.packages = packages.build()
        cls.machine = machine.Machine()
        cls.addClassCleanup(cls.machine.off)
        cls.machine.boot()
        for package in cls.packages.values():
            (cls.machine.root / "srv" / package.name).write_bytes(package.read_bytes())

    def install(self, *names):
        # The CUDA package's recommendations are nobody's need here.
        return self.machine.run("dpkg", "-i", *[f"/srv/{self.packages[name].name}"
                                                for name in names]).stdout

    def start(self, unit):
        started = self.machine.run("systemctl", "start", unit, check=False)
        self.assertEqual(started.returncode, 0, self.machine.journal(unit))

    def property(self, unit, name):
        return self.machine.run("systemctl", "show", "-P", name, unit).stdout.strip()

    def wait_until_ready(self, unit):
        def ready():
            self.assertNotEqual(self.property(unit, "ActiveState"), "failed",
                                self.machine.journal(unit))
            said = self.machine.run("cat", "/run/gpupool/ready", check=False).stdout
            return "state = ready" in said

        pool.wait_until(ready, f"{unit} is ready")

    def draw(self):
        said = self.machine.run("gpupool", "generate", "a red heart", "--seed", "7",
                                "--duration", "30", "-o", "/srv/heart.png", check=False)
        self.assertEqual(said.returncode, 0, said.stdout + self.machine.journal("gpupoold*"))
        file = self.machine.root / "srv/heart.png"
        self.assertTrue(file.read_bytes().startswith(pool.PNG))
        file.unlink()

    def closed(self, unit):
        """What the kernel says of the daemon's process."""
        pid = self.property(unit, "MainPID")
        status = self.machine.run("cat", f"/proc/{pid}/status").stdout
        return dict(re.findall(r"(?m)^(\w+):\s+(.*)$", status))

    def test_1_a_fresh_package_starts_nothing(self):
        said = self.install("gpupool", "gpupoold")
        self.assertIn("systemctl enable --now gpupoold", said)
        for unit in ("gpupoold", "gpupoold-broker", "gpupoold-worker"):
            self.assertEqual(self.property(unit, "ActiveState"), "inactive")
        for unit in ("gpupoold-broker", "gpupoold-worker"):
            said = self.machine.run("systemctl", "start", unit, check=False)
            self.assertNotEqual(said.returncode, 0, "there is no configuration for it yet")
            self.assertIn("Assertion failed", said.stdout)

    def test_2_a_pool_on_one_machine_draws_behind_all_that_its_unit_closes(self):
        self.start("gpupoold")
        self.wait_until_ready("gpupoold")
        self.draw()
        status = self.closed("gpupoold")
        self.assertEqual(status["NoNewPrivs"], "1")
        self.assertEqual(int(status["CapBnd"], 16), 0)
        self.assertEqual(status["Seccomp"], "2")
        self.assertNotEqual(status["Uid"].split()[0], "0")

    def test_3_systemd_knows_of_its_reload_and_its_end(self):
        self.machine.run("systemctl", "reload", "gpupoold")
        pool.wait_until(lambda: "has read its configuration again" in
                        self.property("gpupoold", "StatusText"), "the reload is told")
        self.machine.run("systemctl", "stop", "gpupoold")
        self.assertEqual(self.property("gpupoold", "Result"), "success")
        self.assertIn("nothing runs any more", self.machine.journal("gpupoold"))

    def test_4_a_broker_and_a_worker_apart_draw_and_a_killed_broker_comes_back(self):
        self.make_certificates()
        self.machine.write("/etc/gpupool/broker.toml", BROKER)
        self.machine.write("/etc/gpupool/worker.toml", WORKER)
        self.start("gpupoold-broker")
        self.start("gpupoold-worker")
        self.wait_until_ready("gpupoold-broker")
        self.draw()
        self.assertEqual(self.closed("gpupoold-broker")["Seccomp"], "2")
        self.assertEqual(self.closed("gpupoold-worker")["NoNewPrivs"], "1")
        before = self.property("gpupoold-broker", "MainPID")
        self.machine.run("kill", "-9", before)
        pool.wait_until(lambda: self.property("gpupoold-broker", "MainPID") not in ("0", before),
                        "systemd starts it again")
        self.wait_until_ready("gpupoold-broker")
        self.draw()
        self.assertEqual(self.property("gpupoold-worker", "NRestarts"), "0")

    def make_certificates(self):
        self.machine.run("gpupool", "pki", "init", "--dir", "/srv/pki")
        for name in ("broker-1", "node-1"):
            self.machine.run("gpupool", "pki", "node", name, "--dir", "/srv/pki")
            self.machine.run("install", "-o", "gpupool", "-m", "600", f"/srv/pki/{name}.certificate",
                             f"/srv/pki/{name}.key", "/srv/pki/ca.certificate", "/etc/gpupool/")

    def test_5_a_wrong_configuration_stops_the_unit_and_names_its_line(self):
        self.machine.run("systemctl", "stop", "gpupoold-worker")
        self.machine.write("/etc/gpupool/worker.toml", WORKER + "colour = 1\n")
        said = self.machine.run("systemctl", "start", "gpupoold-worker", check=False)
        self.assertNotEqual(said.returncode, 0)
        self.assertIn("colour", self.machine.journal("gpupoold-worker"))
        self.machine.run("systemctl", "stop", "gpupoold-worker")
        self.machine.write("/etc/gpupool/worker.toml", WORKER)
        self.start("gpupoold-worker")

    def test_6_an_upgrade_starts_what_ran_again_and_nothing_else(self):
        before = self.property("gpupoold-broker", "MainPID")
        upgrade = packages.newer(self.packages["gpupoold"], self.folder.name)
        (self.machine.root / "srv" / upgrade.name).write_bytes(upgrade.read_bytes())
        self.machine.run("dpkg", "-i", f"/srv/{upgrade.name}")
        self.assertNotEqual(self.property("gpupoold-broker", "MainPID"), before)
        self.assertEqual(self.property("gpupoold", "ActiveState"), "inactive")
        self.wait_until_ready("gpupoold-broker")
        self.draw()

    def test_7_a_removal_stops_it_and_a_purge_keeps_the_ledger(self):
        said = self.machine.run("dpkg", "--purge", "gpupoold").stdout
        self.assertIn("/var/lib/gpupool with the ledger was left", said)
        self.assertEqual(self.machine.run("pgrep", "-u", "gpupool", check=False).stdout, "")
        self.assertTrue((self.machine.root / "var/lib/gpupool/ledger.sqlite").exists())


if __name__ == "__main__":
    pool.main()
