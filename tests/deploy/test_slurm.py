"""deploy/slurm/gpupool-workers.sbatch with a stand-in for srun: real workers join a real broker, work,
and drain when Slurm tells them that the end is near."""

import json
import os
import pathlib
import re
import signal
import tempfile
import unittest

import pool

SCRIPT = pool.DEPLOY / "slurm/gpupool-workers.sbatch"
APPS = f"""
[[apps]]
name = "emoji"
model = "{pool.SOURCE}/models/emoji"
"""


class Slurm(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.folder / "bin").mkdir()
        (self.folder / "bin/srun").symlink_to(pathlib.Path(__file__).with_name("stand_in_srun"))
        (self.folder / "apps.toml").write_text(APPS)
        (self.folder / "broker.toml").write_text(
            '[pool]\nroles = ["broker"]\n[broker]\nclient_endpoint = "tcp://127.0.0.1:*"\n'
            f'worker_address = "127.0.0.1:0"\nready_file = "{self.folder}/ready"\n'
            f'[ledger]\npath = "{self.folder}/ledger.sqlite"\n'
            f'[[identity.keys]]\nkid = "main"\nsecret_file = "{self.folder}/main.secret"\n' + APPS)
        pool.run(pool.BUILD / "gpupool", "token", "keygen", "--algorithm", "HS256", "--out",
                 self.folder / "main")
        self.token = pool.run(pool.BUILD / "gpupool", "token", "mint", "--config",
                              self.folder / "broker.toml", "--user", "root", "--role",
                              "operator").stdout.strip()
        self.broker = pool.start([pool.BUILD / "gpupoold", "--config", self.folder / "broker.toml"],
                                 self.folder / "broker.log")
        self.addCleanup(lambda: pool.stop(self.broker))
        self.ready = pool.wait_for_client(self.broker, self.folder / "ready",
                                          self.folder / "broker.log")

    def allocation(self, number, nodes, **variables):
        """The batch script in an allocation of so many nodes."""
        environment = dict(os.environ, SLURM_JOB_ID=str(number), SLURM_JOB_NUM_NODES=str(nodes),
                           SLURM_CPUS_PER_TASK="1", STAND_IN_FOLDER=str(self.folder),
                           TMPDIR=str(self.folder), GPUPOOL_BROKERS=self.ready["worker"],
                           GPUPOOL_LIBRARY=str(pool.DEPLOY), GPUPOOL_APPS=f"{self.folder}/apps.toml",
                           GPUPOOLD=str(pool.BUILD / "gpupoold"),
                           PATH=f"{self.folder}/bin:{os.environ['PATH']}")
        environment.pop("CUDA_VISIBLE_DEVICES", None)
        environment.update(variables)
        script = pool.start([SCRIPT], self.folder / "slurm.log", env=environment)
        self.addCleanup(self.end, script)
        return script

    def end(self, script):
        if script.poll() is None:
            os.killpg(script.pid, signal.SIGKILL)
            script.wait()

    def gpupool(self, *words):
        return pool.run(pool.BUILD / "gpupool", "--endpoint", self.ready["client"], *words,
                        env=dict(os.environ, GPUPOOL_TOKEN=self.token)).stdout

    def nodes(self):
        return set(re.findall(r"host\d+-\d+", self.gpupool("nodes", "--json")))

    def test_an_allocation_joins_draws_and_drains_before_its_end(self):
        script = self.allocation(4711, nodes=2)
        pool.wait_until(lambda: self.nodes() == {"host0-4711", "host1-4711"}, "both nodes join")
        said = json.loads(self.gpupool("--json", "generate", "a red heart", "--duration", "30",
                                       "-o", f"{self.folder}/heart.png"))
        self.assertIn(said["receipt"]["node"], {"host0-4711", "host1-4711"})

        # What --signal=TERM@150 does: Slurm signals the tasks, not the batch script.
        for node in range(2):
            os.kill(int((self.folder / f"task{node}").read_text()), signal.SIGTERM)
        self.assertEqual(script.wait(60), 0, (self.folder / "slurm.log").read_text())
        log = (self.folder / "slurm.log").read_text()
        self.assertEqual(len(pool.lines_matching("drained", log)), 2, log)

    def test_the_batch_scripts_own_signal_leaves_the_workers_to_slurm(self):
        script = self.allocation(4712, nodes=1)
        pool.wait_until(lambda: "host0-4712" in self.nodes(), "the node joins")
        os.kill(script.pid, signal.SIGTERM)
        os.kill(int((self.folder / "task0").read_text()), signal.SIGTERM)
        self.assertEqual(script.wait(60), 0, (self.folder / "slurm.log").read_text())

    def test_without_brokers_it_says_what_to_set(self):
        script = self.allocation(4713, nodes=1, GPUPOOL_BROKERS="")
        self.assertEqual(script.wait(60), 2)
        self.assertIn("GPUPOOL_BROKERS", (self.folder / "slurm.log").read_text())


class WorkerConfig(unittest.TestCase):
    """What the script, and Kubernetes, make the configuration with."""

    def made(self, *options, check=True, **variables):
        environment = {"PATH": os.environ["PATH"], **variables}
        return pool.run(pool.DEPLOY / "worker-config", "--name", "a", "--broker", "127.0.0.1:1",
                        "--folder", "/nowhere", *options, env=environment, check=check)

    def test_it_lends_the_gpus_that_the_process_was_given(self):
        said = self.made(CUDA_VISIBLE_DEVICES="1,GPU-8f1b3c5e").stdout
        self.assertEqual(re.findall(r'device = "(.+)"', said), ["1", "GPU-8f1b3c5e"])

    def test_without_gpus_it_lends_threads(self):
        said = self.made("--threads", "3", CUDA_VISIBLE_DEVICES="").stdout
        self.assertIn('kind = "cpu"\nthreads = 3\n', said)
        self.assertNotIn("cuda", said)

    def test_a_value_cannot_end_its_quotes(self):
        said = self.made("--pool", 'x"\ny', check=False)
        self.assertEqual(said.returncode, 2)
        self.assertIn("--pool", said.stdout)

    def test_certificates_that_are_not_there_are_named(self):
        said = self.made("--certificates", "/nowhere", check=False)
        self.assertEqual(said.returncode, 2)
        self.assertIn("a.certificate", said.stdout)


if __name__ == "__main__":
    pool.main()
