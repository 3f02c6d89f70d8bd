"""The Debian packages: what they hold and need, and that what they install works: a pool from the
packaged configuration, a program built with the installed SDK, an upgrade that keeps changes."""

import gzip
import os
import pathlib
import re
import shutil
import subprocess
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


class ManualAndCompletions(unittest.TestCase):
    """What the programs made of their own command lines, against what their --help says."""

    @classmethod
    def setUpClass(cls):
        cls.tree = pathlib.Path(FOLDER.name) / "unpacked"
        for name in ("gpupool", "gpupoold"):
            pool.run("dpkg-deb", "-x", MADE[name], cls.tree)
        cls.pages = {}
        for name, section in (("gpupool", 1), ("gpupoold", 8)):
            file = cls.tree / f"usr/share/man/man{section}/{name}.{section}.gz"
            cls.pages[name] = gzip.decompress(file.read_bytes()).decode("ascii")
            # As `gzip -9n` writes it: neither name nor time, so that two builds make the same file.
            assert file.read_bytes()[3:9] == bytes([0, 0, 0, 0, 0, 2]), file

    def commands_and_options(self, program, *path):
        """Every command below the path, with its options, as --help tells them."""
        text = pool.run(pool.BUILD / program, *path, "--help").stdout
        options = text.partition("\nOptions:\n")[2].partition("\n\n")[0]
        yield path, set(re.findall(r"(?m)^  (?:-\w,)?(--[a-z-]+)", options)) - {"--help"}
        below = text.partition("\nSubcommands:\n")[2].partition("\n\n")[0]
        for name in re.findall(r"(?m)^  ([a-z]+)\b", below):
            yield from self.commands_and_options(program, *path, name)

    def test_the_pages_have_every_command_and_option_that_help_knows(self):
        for program, page in self.pages.items():
            parts = re.split(r"(?m)^\.S[HS] ", page.replace("\\-", "-"))
            for path, options in self.commands_and_options(program):
                title = "OPTIONS\n" if not path else rf"\fB{program} {' '.join(path)}\fR"
                part = [one for one in parts if re.match(re.escape(title), one)]
                self.assertEqual(len(part), 1, path)
                for option in options:
                    self.assertIn(rf"\fB{option}\fR", part[0], path)

    @unittest.skipUnless(shutil.which("groff"), "without groff nobody reads a page")
    def test_groff_has_no_warning_for_them(self):
        for program, page in self.pages.items():
            file = pathlib.Path(FOLDER.name) / program
            file.write_text(page)
            said = subprocess.run(["groff", "-man", "-Tutf8", "-ww", file], capture_output=True,
                                  text=True, timeout=60)
            self.assertEqual((said.returncode, said.stderr), (0, ""))
            self.assertIn("EXIT STATUS", re.sub(r".\x08|\x1b\[[0-9;]*m", "", said.stdout))

    def test_bash_offers_every_command_and_option_that_help_knows(self):
        file = self.tree / "usr/share/bash-completion/completions/gpupool"
        ask = ('complete_it() { COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _gpupool; '
               'echo "${COMPREPLY[*]}"; }')
        asked, expected = [], []
        for path, options in self.commands_and_options("gpupool"):
            common = {"--help", "--json", "--endpoint", "--token-file", "--server-key"}
            asked.append(f"complete_it gpupool {' '.join(path)} --")
            expected.append(options | common)
            if path:
                asked.append(f"complete_it gpupool {' '.join(path[:-1])} {path[-1]}")
                expected.append({path[-1]})
        script = "\n".join([f"source {file}", ask, *asked])
        said = pool.run("bash", "-c", script).stdout.splitlines()
        self.assertEqual(len(said), len(expected))
        for question, answer, wanted in zip(asked, said, expected):
            self.assertLessEqual(wanted, set(answer.split()), question)

    def test_the_shells_can_read_what_is_for_them(self):
        share = self.tree / "usr/share"
        for shell, file in (("bash", share / "bash-completion/completions/gpupool"),
                            ("zsh", share / "zsh/vendor-completions/_gpupool"),
                            ("fish", share / "fish/vendor_completions.d/gpupool.fish")):
            self.assertTrue(file.exists())
            if shutil.which(shell):
                pool.run(shell, "-n", file)
        if shutil.which("shellcheck"):
            pool.run("shellcheck", "-s", "bash", share / "bash-completion/completions/gpupool")


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
        config = config.replace("127.0.0.1:7400", "127.0.0.1:*").replace(":7490", ":0")
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
