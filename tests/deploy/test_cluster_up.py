"""deploy/cluster-up as somebody uses it who reads only what it prints: up, a picture by the real
executor, the leader killed, down. In namespaces of its own, which end with it, whatever happens."""

import os
import pathlib
import re
import shlex
import shutil
import signal
import sys
import tempfile
import unittest

import pool

COMMAND = pool.DEPLOY / "cluster-up"
INSIDE = "GPUPOOL_TEST_INSIDE"


def why_not():
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("unshare", "ip", "nsenter", "setpriv"):
        if shutil.which(program) is None:
            return f"{program} is missing"
    if not list(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        return "PostgreSQL is missing"
    if pool.run("unshare", "--net", "--mount", "--pid", "--fork", "true", check=False).returncode:
        return "namespaces can't be made here"
    return None


@unittest.skipIf(why_not(), why_not())
class ClusterUp(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="gpupool-cluster-up-")
        self.addCleanup(self.folder.cleanup)
        os.chmod(self.folder.name, 0o755)  # PostgreSQL's user passes through it
        self.dir = pathlib.Path(self.folder.name) / "cluster"

    def cluster_up(self, *words, check=True):
        return pool.run(COMMAND, *words, "--dir", self.dir, check=check).stdout

    def printed(self, said, start):
        """The one printed line that begins so, as words."""
        [line] = [line for line in said.splitlines() if line.strip().startswith(start)]
        return shlex.split(line)

    def test_a_cluster_draws_pictures_loses_its_leader_and_goes_away(self):
        said = self.cluster_up("--nodes", "2", "--bin", pool.BUILD, "--ram-disk", "64")
        self.addCleanup(lambda: self.dir.exists() and self.cluster_up("--down"))
        for host in ("database", "broker-1", "broker-2", "node-1", "node-2"):
            self.assertRegex(said, rf"(?m)^  {host} +10\.213\.7\.\d+ +pid \d+ +log {self.dir}/{host}/log$")
        for word in self.printed(said, "export ")[1:]:
            name, value = word.split("=", 1)
            os.environ[name] = value
        picture = pathlib.Path(self.folder.name) / "heart.png"

        def draw():
            command = self.printed(said, f"{pool.BUILD}/gpupool generate")
            command[command.index("heart.png")] = picture
            told = pool.run(*command).stdout
            self.assertTrue(picture.read_bytes().startswith(pool.PNG))
            picture.unlink()
            return told

        self.assertRegex(draw(), r"job \d+ succeeded")
        nodes = self.printed(said, f"{pool.BUILD}/gpupool nodes")
        self.assertIn("2 nodes, 4 slots", pool.run(*nodes).stdout)

        leader = [host for host in ("broker-1", "broker-2")
                  if pool.ready_values(self.dir / host / "ready").get("state") == "ready"]
        os.kill(int((self.dir / leader[0] / "pid").read_text()), signal.SIGKILL)
        self.assertRegex(draw(), r"job \d+ succeeded")
        # It came back, as the standby.
        pool.wait_until(lambda: pool.ready_values(self.dir / leader[0] / "ready").get("state") ==
                        "standby", "the killed broker is the standby")

        self.assertIn("has a cluster already", self.cluster_up(check=False))
        hosts = self.network_namespaces()
        self.assertEqual(len(hosts), 6, hosts)
        self.assertIn("is gone", self.cluster_up("--down"))
        self.assertEqual(self.network_namespaces(), [])
        self.assertFalse(self.dir.exists())
        left = [line for line in pool.run("ps", "-eo", "stat,args").stdout.splitlines()
                if re.search("gpupool(d|-diffusion|-supervisor) |bin/postgres ", line)
                and not line.startswith("Z")]
        self.assertEqual(left, [])

    def network_namespaces(self):
        return [line.split()[0] for line in pool.run("ip", "netns", "list").stdout.splitlines()]

    def test_what_it_cannot_do_is_said_and_leaves_nothing(self):
        for words, why in ((("--nodes", "0"), "--nodes takes 1 to 100, not 0"),
                           (("--nodes", "101"), "--nodes takes 1 to 100"),
                           (("--name", "a_long_name"), "--name takes up to 10"),
                           (("--subnet", "10.1"), "--subnet takes three numbers"),
                           (("--bin", "/nowhere"), "there is no /nowhere/gpupoold"),
                           (("--down",), "there is no cluster in")):
            with self.subTest(words):
                self.assertIn(why, self.cluster_up(*words, check=False))
                self.assertFalse((self.dir / "cluster").exists())
        self.assertEqual(self.network_namespaces(), [])


if __name__ == "__main__":
    if INSIDE not in os.environ and why_not() is None:
        os.environ[INSIDE] = "yes"
        os.execvp("unshare", [
            "unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c",
            "mkdir -p /run/netns && mount -t tmpfs gpupool /run/netns && \"$@\"", "sh", sys.executable,
            __file__])
    pool.main()
