"""The Python packages and the browser that the tests of the page need. `python3 test_page.py` comes
here: it makes an environment once, and runs pytest of it on that file."""

import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "deploy"))
import pool  # noqa: E402

PINS = HERE / "requirements.txt"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def browser():
    """A Chromium of this machine; GPUPOOL_CHROMIUM names another. None: there is none."""
    named = os.environ.get("GPUPOOL_CHROMIUM")
    if named:
        return named
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def python():
    return pool.packages("web-packages", PINS)


def main(file):
    """Runs the tests of one file; ctest hears of it if there is nothing to run them with."""
    if browser() is None:
        print(f"skipped: none of {', '.join(BROWSERS)} is installed")
        return pool.SKIPPED
    missing = [name for name in ("gpupoold", "gpupool") if not (pool.BUILD / name).exists()]
    if missing:
        print(f"skipped: not built in {pool.BUILD}: {' '.join(missing)}")
        return pool.SKIPPED
    found = python()
    if found is None:
        print("skipped: the packages are not there")
        return pool.SKIPPED
    command = [found, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--rootdir", HERE, file,
               *sys.argv[1:]]
    return subprocess.run([str(word) for word in command], cwd=HERE).returncode
