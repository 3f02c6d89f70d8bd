"""The systemd units: what they close, and that systemd understands every line of them."""

import pathlib
import re
import tempfile
import unittest

import pool

UNITS = sorted((pool.DEPLOY / "systemd").glob("*.service"))
EXPOSURE_MAX = 4.0


class Units(unittest.TestCase):
    def test_there_is_one_for_a_box_a_broker_and_a_worker(self):
        self.assertEqual([unit.name for unit in UNITS],
                         ["gpupoold-broker.service", "gpupoold-worker.service",
                          "gpupoold.service"])

    def test_their_exposure_is_below_four(self):
        for unit in UNITS:
            with self.subTest(unit.name):
                said = pool.run("systemd-analyze", "security", "--offline=true", unit).stdout
                level = re.search(r"exposure level for \S+: ([0-9.]+)", said)
                self.assertIsNotNone(level, said)
                print(f"{unit.name}: exposure {level[1]}")
                self.assertLess(float(level[1]), EXPOSURE_MAX)

    def test_systemd_finds_nothing_wrong_in_them(self):
        for unit in UNITS:
            with self.subTest(unit.name), tempfile.TemporaryDirectory() as folder:
                copy = pathlib.Path(folder) / unit.name
                # The program is where it was built; everything else is as installed.
                copy.write_text(unit.read_text().replace("/usr/bin/gpupoold",
                                                         str(pool.BUILD / "gpupoold")))
                said = pool.run("systemd-analyze", "verify", "--man=no", copy).stdout
                self.assertEqual(pool.lines_matching(re.escape(unit.name), said), [])

    def test_a_loosened_line_says_why(self):
        # Below a setting that is looser than the strictest stands nothing; above it, a comment.
        loose = {"MemoryDenyWriteExecute=false", "PrivateUsers=false", "RemoveIPC=false",
                 "ProcSubset=all", "LimitMEMLOCK=infinity", "DeviceAllow=char-nvidia* rw"}
        for unit in UNITS:
            lines = unit.read_text().splitlines()
            for index, line in enumerate(lines):
                if line not in loose:
                    continue
                above = index
                while above > 0 and "=" in lines[above] and not lines[above].startswith("#"):
                    above -= 1
                self.assertTrue(lines[above].startswith("#"), f"{unit.name}: {line}: why?")


if __name__ == "__main__":
    pool.main()
