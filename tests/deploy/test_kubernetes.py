"""deploy/kubernetes: every document against Kubernetes' own schemas, strictly, and what schemas can't
see: names that refer to each other, the restricted profile, configurations that gpupoold reads."""

import json
import os
import pathlib
import re
import signal
import tempfile
import unittest

import pool
import validators

FOLDER = pool.DEPLOY / "kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))
# PyYAML comes with the validator; this prints every document as JSON for the Python that runs here.
READER = """
import json, sys, yaml
for name in sys.argv[1:]:
    for document in yaml.safe_load_all(open(name)):
        print(json.dumps([name, document]))
"""


@unittest.skipIf(validators.environment() is None, "no validator: PyPI cannot be reached")
class Manifests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.programs = validators.environment()
        said = pool.run(cls.programs / "python", "-c", READER, *FILES).stdout
        read = [json.loads(line) for line in said.splitlines()]
        cls.by_file = {}
        for name, document in read:
            cls.by_file.setdefault(pathlib.Path(name).name, []).append(document)
        cls.documents = [document for _, document in read if document["kind"] != "Kustomization"]
        cls.workloads = [each for each in cls.documents
                         if each["kind"] in ("StatefulSet", "DaemonSet")]

    def named(self, kind, name):
        found = [each for each in self.documents
                 if each["kind"] == kind and each["metadata"]["name"] == name]
        self.assertEqual(len(found), 1, f"{kind} {name}")
        return found[0]

    def test_every_document_fits_its_schema_strictly(self):
        # A kustomization is not the server's, so its schema is nowhere; its own test is below.
        files = [file for file in FILES if file.name != "kustomization.yaml"]
        done = pool.run(self.programs / "kubernetes-validate", "--strict", *files, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(len(pool.lines_matching("passed for resource", done.stdout)),
                         len(self.documents), done.stdout)

    def test_the_validator_would_find_a_mistake(self):
        with tempfile.TemporaryDirectory() as folder:
            wrong = pathlib.Path(folder) / "wrong.yaml"
            wrong.write_text((FOLDER / "broker.yaml").read_text()
                             .replace("podManagementPolicy", "podManagementPolitics"))
            done = pool.run(self.programs / "kubernetes-validate", "--strict", wrong, check=False)
            self.assertNotEqual(done.returncode, 0)

    def test_the_kustomization_has_every_file_but_the_example_of_secrets(self):
        resources = self.by_file["kustomization.yaml"][0]["resources"]
        self.assertEqual(sorted(resources),
                         [file.name for file in FILES
                          if file.name not in ("kustomization.yaml", "secrets.example.yaml")])

    def test_pods_keep_to_the_restricted_profile_and_to_a_network_of_their_own(self):
        self.assertEqual(len(self.workloads), 2)
        for workload in self.workloads:
            pod = workload["spec"]["template"]["spec"]
            self.assertTrue(pod["securityContext"]["runAsNonRoot"])
            self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
            self.assertFalse(pod["hostNetwork"])  # or CAF takes two pods for one node
            self.assertTrue(pod["shareProcessNamespace"])
            for container in pod["containers"] + pod["initContainers"]:
                context = container["securityContext"]
                self.assertFalse(context["allowPrivilegeEscalation"])
                self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
                self.assertTrue(context["readOnlyRootFilesystem"])
                self.assertIn("memory", container["resources"]["limits"])

    def test_what_pods_mount_and_read_is_there(self):
        for workload in self.workloads:
            pod = workload["spec"]["template"]["spec"]
            volumes = {each["name"] for each in pod["volumes"]}
            volumes |= {each["metadata"]["name"]
                        for each in workload["spec"].get("volumeClaimTemplates", [])}
            for container in pod["containers"] + pod["initContainers"]:
                for mount in container["volumeMounts"]:
                    self.assertIn(mount["name"], volumes)
                for source in container.get("envFrom", []):
                    self.named("Secret", source["secretRef"]["name"])
            for volume in pod["volumes"]:
                if "secret" in volume:
                    self.named("Secret", volume["secret"]["secretName"])
                if "configMap" in volume:
                    self.named("ConfigMap", volume["configMap"]["name"])
            self.named_service_of(workload)

    def named_service_of(self, workload):
        if workload["kind"] == "StatefulSet":
            service = self.named("Service", workload["spec"]["serviceName"])
            self.assertEqual(service["spec"]["clusterIP"], "None")

    def test_selectors_meet_the_pods(self):
        labels = [each["spec"]["template"]["metadata"]["labels"] for each in self.workloads]
        selectors = [each["spec"]["selector"] for each in self.documents if each["kind"] == "Service"]
        selectors += [each["spec"]["selector"]["matchLabels"] for each in self.documents
                      if each["kind"] in ("PodDisruptionBudget", "StatefulSet", "DaemonSet")]
        selectors += [each["spec"]["podSelector"]["matchLabels"] for each in self.documents
                      if each["kind"] == "NetworkPolicy"]
        for selector in selectors:
            self.assertTrue(any(selector.items() <= each.items() for each in labels), selector)

    def test_only_the_leader_is_ready(self):
        broker = self.workloads[0]["spec"]["template"]["spec"]["containers"][0]
        command = broker["readinessProbe"]["exec"]["command"]
        with tempfile.TemporaryDirectory() as folder:
            ready = pathlib.Path(folder) / "ready"
            command[-1] = str(ready)
            for state, is_ready in (("standby", False), ("starting", True), ("ready", True)):
                ready.write_text(f"state = {state}\nbuild = 1\n")
                self.assertEqual(pool.run(*command, check=False).returncode == 0, is_ready, state)

    def test_the_daemon_reads_the_configurations(self):
        data = self.named("ConfigMap", "gpupool-config")["data"]
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            keys = self.make_keys(folder)
            broker = folder / "broker.toml"
            broker.write_text(data["broker.toml"].replace("/etc/gpupool/keys", str(keys)))
            self.assert_read(broker)
            apps = folder / "apps.toml"
            apps.write_text(data["apps.toml"])
            worker = folder / "worker.toml"
            worker.write_text(pool.run(*self.worker_config(keys, apps)).stdout)
            self.assert_read(worker)

    def worker_config(self, keys, apps):
        """The command of the DaemonSet, with the folders of this test."""
        line = self.workloads[1]["spec"]["template"]["spec"]["containers"][0]["args"][0]
        command = re.search(r"/usr/lib/gpupool/worker-config (.*?) >", line)[1]
        for old, new in (('"$NODE_NAME"', "node-7.example"), ('"$POD_IP"', "10.1.2.3"),
                         ("/etc/gpupool/keys", str(keys)), ("/etc/gpupool/apps.toml", str(apps))):
            command = command.replace(old, new)
        return [pool.DEPLOY / "worker-config", *command.split()]

    def make_keys(self, folder):
        keys = folder / "keys"
        keys.mkdir()
        for secret in ("gpupool-broker-keys", "gpupool-worker-keys"):
            for file in self.named("Secret", secret)["stringData"]:
                (keys / file).touch(0o600)
        for kind, file in (("keys curve", "pool"), ("token keygen", "main")):
            for suffix in (".secret", ".public"):
                (keys / (file + suffix)).unlink(missing_ok=True)
            options = ["--algorithm", "HS256"] if file == "main" else []
            pool.run(pool.BUILD / "gpupool", *kind.split(), "--out", keys / file, *options)
        return keys

    def assert_read(self, file):
        """`devices` reads the whole file first; that this machine lacks what it lends is no error."""
        file.write_text(file.read_text().replace("/usr/share/gpupool/models",
                                                 str(pool.SOURCE / "models")))
        said = pool.run(pool.BUILD / "gpupoold", "devices", "--config", file, check=False)
        self.assertIn(said.returncode, (0, 1), said.stdout)

    def test_the_examples_for_machines_are_read_as_well(self):
        with tempfile.TemporaryDirectory() as name:
            keys = self.make_keys(pathlib.Path(name))
            for example in ("broker", "worker"):
                text = (pool.DEPLOY / f"examples/{example}.toml").read_text()
                file = pathlib.Path(name) / f"{example}.toml"
                file.write_text(text.replace("/etc/gpupool/", f"{keys}/"))
                for path in re.findall(rf'"({keys}/[^"]+)"', file.read_text()):
                    pathlib.Path(path).touch(0o600)
                self.assert_read(file)


class LivenessProbe(unittest.TestCase):
    """deploy/broker-alive, against a real broker that knows no anonymous callers."""

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        config = self.folder / "broker.toml"
        config.write_text('[pool]\nroles = ["broker"]\n[broker]\n'
                          'client_endpoint = "tcp://0.0.0.0:*"\nworker_address = "127.0.0.1:0"\n'
                          f'ready_file = "{self.folder}/ready"\n'
                          f'curve_secret_file = "{self.folder}/pool.secret"\n'
                          f'[ledger]\npath = "{self.folder}/ledger.sqlite"\n'
                          "[identity]\nanonymous = false\n")
        pool.run(pool.BUILD / "gpupool", "keys", "curve", "--out", self.folder / "pool")
        self.broker = pool.start([pool.BUILD / "gpupoold", "--config", config],
                                 self.folder / "log")
        self.addCleanup(lambda: pool.stop(self.broker))
        pool.wait_for_client(self.broker, self.folder / "ready", self.folder / "log")

    def is_alive(self, ready):
        environment = dict(os.environ, PATH=f"{pool.BUILD}:{os.environ['PATH']}")
        done = pool.run(pool.DEPLOY / "broker-alive", ready, env=environment, check=False)
        return done.returncode == 0

    def test_a_broker_that_answers_is_alive_and_one_that_stands_still_is_not(self):
        self.assertTrue(self.is_alive(self.folder / "ready"))
        os.kill(self.broker.pid, signal.SIGSTOP)
        try:
            self.assertFalse(self.is_alive(self.folder / "ready"))
        finally:
            os.kill(self.broker.pid, signal.SIGCONT)

    def test_a_standby_is_alive_without_a_client_socket(self):
        standby = self.folder / "standby"
        standby.write_text("state = standby\nbuild = 1\n")
        self.assertTrue(self.is_alive(standby))
        self.assertFalse(self.is_alive(self.folder / "nothing"))


if __name__ == "__main__":
    pool.main()
