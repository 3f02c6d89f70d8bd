"""The Debian packages: what they hold and need, and that what they install works: a pool from the
packaged configuration, a program built with the installed SDK, an upgrade that keeps changes."""

import os
import pathlib
import re
import tempfile
import unittest

import packages
import pool

LIBRARIES_OF_NVIDIA = {"libcublasLt.so.13", "libnccl.so.2", "libcuda.so.1"}


def setUpModule():
    global FOLDER, MADE
    FOLDER = tempfile.TemporaryDirectory(prefix="gpupool-packages-")
    MADE = packages.build()


def tearDownModule():
    FOLDER.cleanup()


class Contents(unittest.TestCase):
    def test_there_is_a_client_a_daemon_and_an_sdk(self):
        self.assertEqual(sorted(set(MADE) - {"gpupoold-cuda"}), packages.NAMES)
        self.assertEqual("gpupoold-cuda" in MADE, packages.has_cuda())

    def test_all_have_one_version_and_a_reader_knows_the_commit_from_it(self):
        versions = {packages.control(package)["Version"] for package in MADE.values()}
        self.assertEqual(len(versions), 1, versions)
        if (pool.SOURCE / ".git").exists():
            self.assertRegex(versions.pop(), r"^\d+\.\d+\.\d+\+\d{8}\.\d{6}\.[0-9a-f]{12}$")

    def test_everything_is_roots_and_nobody_else_can_write_it(self):
        for name, package in MADE.items():
            for line in pool.run("dpkg-deb", "-c", package).stdout.splitlines():
                mode, owner, _, _, _, path = line.split(None, 5)
                with self.subTest(f"{name}: {path}"):
                    self.assertEqual(owner, "root/root")
                    self.assertRegex(mode, r"^(l.{9}|[-d]rw[-x]r-[-x]r-[-x])$")
                    self.assertRegex(path, r"^\./(usr|etc)(/|$)")

    def test_each_has_a_copyright_and_a_changelog(self):
        for name, package in MADE.items():
            listed = pool.run("dpkg-deb", "-c", package).stdout
            for file in ("copyright", "changelog.gz"):
                self.assertIn(f"./usr/share/doc/{name}/{file}\n", listed)

    def test_the_completion_offers_commands_and_their_options(self):
        script = f"""source {pool.DEPLOY}/completion/gpupool
            COMP_WORDS=(gpupool token mi) COMP_CWORD=2; _gpupool; echo "${{COMPREPLY[@]}}"
            COMP_WORDS=(gpupool quote --dur) COMP_CWORD=2; _gpupool; echo "${{COMPREPLY[@]}}\""""
        said = pool.run("bash", "-c", script, env={"PATH": f"{pool.BUILD}:{pool.PATH}"}).stdout
        self.assertEqual(said, "mint\n--duration\n")

    def test_the_configuration_is_a_conffile(self):
        said = pool.run("dpkg-deb", "-I", MADE["gpupoold"], "conffiles").stdout
        self.assertEqual(said, "/etc/gpupool/gpupool.toml\n")

    def test_each_needs_the_packages_of_the_libraries_that_its_programs_link(self):
        for name, package in MADE.items():
            with self.subTest(name), tempfile.TemporaryDirectory() as folder:
                pool.run("dpkg-deb", "-x", package, folder)
                needed = set()
                for file in pathlib.Path(folder).rglob("*"):
                    if file.is_symlink() or not file.is_file() or file.suffix == ".a":
                        continue
                    said = pool.run("readelf", "-d", file, check=False).stdout
                    self.assertNotRegex(said, r"RPATH|RUNPATH", f"{file} looks in a build's folders")
                    needed.update(re.findall(r"\(NEEDED\).*\[(.+)\]", said))
                self.assert_packages_of(needed - LIBRARIES_OF_NVIDIA, package)

    def assert_packages_of(self, libraries, package):
        depended = packages.depended_on(package)
        for library in sorted(libraries):
            owners = set()
            # Both spellings of /lib, since dpkg knows a file by where its package put it.
            for folder in ("/lib", "/usr/lib"):
                for place in (f"{folder}/{os.uname().machine}-linux-gnu/{library}",
                              f"{folder}/{library}"):
                    found = pool.run("dpkg", "-S", place, check=False)
                    if found.returncode == 0:
                        owners |= self.names_of(re.split("[:,]", found.stdout)[0])
            self.assertTrue(owners, f"{library} is in no package")
            self.assertTrue(owners & depended, f"{library} is in {owners}; Depends: {depended}")

    def names_of(self, owner):
        provided = pool.run("dpkg-query", "-W", "-f", "${Provides}", owner).stdout
        return {owner} | {word.split()[0] for word in provided.split(",") if word.strip()}


@unittest.skipIf(os.geteuid() != 0, "only root can install packages, even into a folder")
class Installed(unittest.TestCase):
    """One root after the other tests of it: as installed first, upgraded, removed at the end."""

    @classmethod
    def setUpClass(cls):
        cls.root = packages.empty_root(pathlib.Path(FOLDER.name) / "root")
        packages.dpkg(cls.root, "-i", *MADE.values())

    def test_1_the_user_is_there_and_owns_the_state_folder(self):
        users = (self.root / "etc/passwd").read_text()
        self.assertRegex(users, r"(?m)^gpupool:.*:/var/lib/gpupool:/usr/sbin/nologin$")
        state = (self.root / "var/lib/gpupool").stat()
        self.assertEqual(state.st_mode & 0o777, 0o700)
        self.assertEqual(str(state.st_uid), re.search(r"(?m)^gpupool:[^:]*:(\d+):", users)[1])

    def test_2_nothing_is_enabled(self):
        self.assertEqual(list(self.root.glob("etc/systemd/system/*.wants/*")), [])

    def test_3_a_pool_with_the_packaged_configuration_draws_for_the_cli_and_for_an_sdk_program(self):
        # As installed, but for the root and the port.
        config = (self.root / "etc/gpupool/gpupool.toml").read_text()
        config = re.sub(r'"/(etc|run|usr|var)/', rf'"{self.root}/\1/', config)
        config = config.replace("127.0.0.1:7400", "127.0.0.1:*")
        file = self.root / "tmp/pool.toml"
        file.write_text(config)
        (self.root / "run/gpupool").mkdir()
        daemon = self.root / "usr/bin/gpupoold"
        pool.run(daemon, "--config", file, "--check-config")
        log = self.root / "tmp/log"
        process = pool.start([daemon, "--config", file], log)
        try:
            self.wait_and_draw(process, log)
        finally:
            self.assertEqual(pool.stop(process), 0, log.read_text())

    def wait_and_draw(self, process, log):
        ready = self.root / "run/gpupool/ready"

        def state():
            self.assertIsNone(process.poll(), log.read_text())
            return pool.ready_values(ready).get("state") == "ready"

        pool.wait_until(state, "the pool is ready")
        endpoint = pool.ready_values(ready)["client"]
        by_cli = self.root / "tmp/cli.png"
        pool.run(self.root / "usr/bin/gpupool", "--endpoint", endpoint, "generate", "a red heart",
                 "--seed", "7", "-o", by_cli, "--duration", "30")
        self.assertTrue(by_cli.read_bytes().startswith(pool.PNG))

        by_sdk = self.root / "tmp/sdk.png"
        said = pool.run(self.build_example(), endpoint, "a red heart", by_sdk).stdout
        self.assertIn("charged", said)
        self.assertTrue(by_sdk.read_bytes().startswith(pool.PNG))

    def build_example(self):
        built = self.root / "tmp/example"
        pool.run("cmake", "-S", self.root / "usr/share/doc/libgpupool-dev/examples/client",
                 "-B", built, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={self.root}/usr")
        pool.run("cmake", "--build", built)
        commands = pool.run("ninja", "-C", built, "-t", "commands").stdout
        self.assertNotIn(f"{pool.SOURCE}/net", commands)
        return built / "draw"

    def test_4_an_upgrade_keeps_what_the_operator_wrote(self):
        file = self.root / "etc/gpupool/gpupool.toml"
        file.write_text(file.read_text() + "\n[daemon]\ndrain_limit_s = 7\n")
        upgrade = packages.newer(MADE["gpupoold"], FOLDER.name)
        packages.dpkg(self.root, "-i", upgrade)
        self.assertIn("drain_limit_s = 7", file.read_text())
        self.assertFalse(file.with_suffix(".toml.dpkg-old").exists())

    def test_5_a_purge_leaves_the_ledger_and_says_so(self):
        ledger = self.root / "var/lib/gpupool/ledger.sqlite"
        ledger.write_text("what people were charged")
        said = packages.dpkg(self.root, "--purge", *MADE).stdout
        self.assertIn("/var/lib/gpupool with the ledger was left", said)
        self.assertTrue(ledger.exists())
        self.assertFalse((self.root / "etc/gpupool").exists())
        self.assertFalse((self.root / "usr/lib/gpupool").exists())


if __name__ == "__main__":
    pool.main()
