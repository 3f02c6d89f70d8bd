"""A machine of its own to install packages on and start units in: a systemd as process 1, in
namespaces, over a copy-on-write view of this machine's files. Needs root, overlayfs and
systemd-nspawn; why_not() says what is missing."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import unittest

import pool


def why_not():
    if os.geteuid() != 0:
        return "only root can start a machine in namespaces"
    if shutil.which("systemd-nspawn") is None:
        return "systemd-nspawn is missing (Debian: systemd-container)"
    if "overlay" not in pathlib.Path("/proc/filesystems").read_text():
        return "this kernel has no overlayfs"
    return None


# A group of its own in whatever hierarchies there are, so that two machines do not meet.
IN_A_CGROUP = """
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
  if [[ -e $hierarchy/cgroup.procs ]]; then
    mkdir -p "$hierarchy/$0"
    echo $$ >"$hierarchy/$0/cgroup.procs"
  fi
done
exec "$@"
"""


class Machine:
    def __init__(self):
        # Beside the root's own files: overlayfs wants both on one file system.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="gpupool-machine-", dir="/var/tmp"))
        self.name = f"gpupool-{os.getpid()}"
        self.root = self.folder / "root"
        self.log = self.folder / "console"
        self.nspawn = None
        self.leader = None

    def boot(self):
        for part in ("up", "work", "root"):
            (self.folder / part).mkdir()
        mounted = pool.run(
            "mount", "-t", "overlay", "overlay", "-o",
            f"lowerdir=/,upperdir={self.folder}/up,workdir={self.folder}/work", self.root,
            check=False)
        if mounted.returncode != 0:  # as in most containers, whose root is such a mount already
            raise unittest.SkipTest(f"no overlay over this machine's files: {mounted.stdout}")
        # An identity of its own, and none of the services that this machine happens to have.
        (self.root / "etc/machine-id").write_text("uninitialized\n")
        # Images for containers forbid packages to start anything, by this file.
        (self.root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
        self.nspawn = pool.start(
            ["bash", "-ec", IN_A_CGROUP, self.name, "systemd-nspawn", "-D", self.root, "--register=no", "--keep-unit",
             f"--machine={self.name}", "--private-network", "--console=pipe", "-b",
             "systemd.unit=basic.target"], self.log)
        self.leader = pool.wait_until(self.find_leader, "systemd starts as process 1")
        pool.wait_until(self.is_running, "the machine has booted")
        # There is no network but loopback, and nothing that could say it is up.
        self.run("systemctl", "mask", "--now", "systemd-networkd-wait-online.service",
                 "NetworkManager-wait-online.service", "ifupdown-wait-online.service")

    def find_leader(self):
        if self.nspawn.poll() is not None:
            raise AssertionError("systemd-nspawn: " + self.log.read_text())
        children = pathlib.Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children")
        for pid in children.read_text().split():
            try:
                if os.readlink(f"/proc/{pid}/exe").endswith("/systemd"):
                    return int(pid)
            except OSError:
                continue
        return None

    def is_running(self):
        said = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return said in ("running", "degraded")

    def run(self, *command, **options):
        """A command on the machine, as root."""
        return pool.run("nsenter", f"--target={self.leader}", "--all", "--wd=/", "--",
                        "env", "-i", f"PATH={pool.PATH}", "LC_ALL=C.UTF-8", *command, **options)

    def write(self, path, text, owner="root", mode="644"):
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        self.run("chown", owner, path)
        self.run("chmod", mode, path)

    def journal(self, unit):
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", unit).stdout

    def off(self):
        """Leaves nothing of the machine behind."""
        if self.nspawn is not None and self.nspawn.poll() is None:
            self.nspawn.terminate()
            try:
                self.nspawn.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.nspawn.pid, signal.SIGKILL)
                self.nspawn.wait()
        if self.root.is_mount():
            pool.run("umount", self.root)
        shutil.rmtree(self.folder, ignore_errors=True)
        for tree in pathlib.Path("/sys/fs/cgroup").glob(f"**/{self.name}"):
            for folder, _, _ in os.walk(tree, topdown=False):
                os.rmdir(folder)
