"""deploy/Containerfile, which nothing here can build: a linter reads it, everything that it copies and
calls is there, and it installs what the packages have."""

import re
import unittest

import pool
import validators

FILE = pool.DEPLOY / "Containerfile"


def instructions():
    """Its instructions, each on one line, without comments."""
    lines = [line for line in FILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines() if line.strip()]


class Container(unittest.TestCase):
    def test_a_linter_finds_nothing_wrong(self):
        programs = validators.environment()
        if programs is None:
            self.skipTest("no hadolint: PyPI cannot be reached")
        self.assertEqual(pool.run(programs / "hadolint", FILE, check=False).stdout, "")

    def test_what_it_copies_is_there(self):
        copied = [line.split()[1:-1] for line in instructions() if line.startswith("COPY")]
        self.assertTrue(copied)
        for sources in copied:
            for source in sources:
                self.assertTrue((pool.SOURCE / source).exists(), source)

    def test_the_targets_that_it_builds_are_targets(self):
        text = (pool.SOURCE / "CMakeLists.txt").read_text()
        text += (pool.SOURCE / "cmake/packages.cmake").read_text()
        build = next(line for line in instructions() if "cmake --preset" in line)
        for target in re.search(r'targets="([a-z_ ]+)"', build)[1].split():
            self.assertRegex(text, rf"(add_executable|add_custom_target)\({target} ")

    def test_it_runs_the_daemon_of_the_package_as_nobody_special(self):
        last = instructions()
        self.assertIn('ENTRYPOINT ["/usr/bin/gpupoold"]', last)
        self.assertIn("USER 7400:7400", last)
        cmake = (pool.SOURCE / "cmake/packages.cmake").read_text()
        self.assertIn("install(FILES ${PACKAGE_FILES}/gpupoold DESTINATION bin", cmake)
        self.assertIn("install(FILES ${PACKAGING}/gpupool.toml DESTINATION /etc/gpupool", cmake)

    def test_its_health_is_what_the_packaged_configuration_and_worker_write(self):
        check = next(line for line in instructions() if line.startswith("HEALTHCHECK"))
        self.assertIn("/run/gpupool/ready", check)
        self.assertIn('ready_file = "/run/gpupool/ready"',
                      (pool.DEPLOY / "debian/gpupool.toml").read_text())
        self.assertIn("gpupoold.pid", (pool.DEPLOY / "worker-config").read_text())


if __name__ == "__main__":
    pool.main()
