"""The checkers that Debian does not have, from PyPI, in an environment inside the build folder. Made
once; made anew when the pins change. Without a network: None, and the reason is printed."""

import hashlib
import pathlib
import shutil
import subprocess

import pool

PINS = pathlib.Path(__file__).with_name("requirements.txt")


def environment():
    """The folder of its programs, or None where there is no way to get them."""
    folder = pool.BUILD / "deploy-validators"
    mark = folder / "pins"
    pins = hashlib.sha256(PINS.read_bytes()).hexdigest()
    if not mark.exists() or mark.read_text() != pins:
        shutil.rmtree(folder, ignore_errors=True)
        try:
            pool.run("python3", "-m", "venv", folder)
            pool.run(folder / "bin/pip", "install", "-q", "--disable-pip-version-check",
                     "--retries", "1", "--timeout", "15", "--require-hashes", "-r", PINS,
                     timeout=180)
        except (AssertionError, subprocess.TimeoutExpired) as trouble:
            print(f"no validators from PyPI: {trouble}")
            return None
        mark.write_text(pins)
    return folder / "bin"
