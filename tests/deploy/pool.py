"""What the tests of deploy/ share: where things lie, commands, waiting, and pools of real daemons."""

import base64
import hmac
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import unittest

SOURCE = pathlib.Path(os.environ.get("GPUPOOL_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
BUILD = pathlib.Path(os.environ.get("GPUPOOL_BUILD_DIR", SOURCE / "build" / "release"))
DEPLOY = SOURCE / "deploy"
SKIPPED = 77  # as ctest knows it (SKIP_RETURN_CODE)
PNG = b"\x89PNG\r\n\x1a\n"
# The default of systemd, whose environment has no variables of this one's shell.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(*command, timeout=120, check=True, **options):
    """Runs a command to its end; what it said is in the error if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, timeout=timeout, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(words)}: {done.returncode}\n{done.stdout}")
    return done


def packages(name, pins, seconds=300):
    """The Python that has these packages of PyPI, pinned by a file of requirements, in an environment
    made once in the build folder. None where there is no way to get them; why is printed."""
    folder = BUILD / name
    mark = folder / "pins"
    if not mark.exists() or mark.read_text() != pins.read_text():
        shutil.rmtree(folder, ignore_errors=True)
        try:
            run("python3", "-m", "venv", folder)
            run(folder / "bin/pip", "install", "-q", "--disable-pip-version-check", "--retries", "1",
                "--timeout", "15", "--require-hashes", "-r", pins, timeout=seconds)
        except (AssertionError, subprocess.TimeoutExpired) as trouble:
            print(f"no packages from PyPI: {trouble}")
            return None
        mark.write_text(pins.read_text())
    return folder / "bin" / "python3"


def mint(secret, **claims):
    """A token with any claims, rightly signed with this secret of key main; None takes one away."""

    def encode(part):
        return base64.urlsafe_b64encode(part).rstrip(b"=").decode()

    now = int(time.time())
    header = {"alg": "HS256", "typ": "JWT", "kid": "main"}
    body = {"aud": "gpupool", "iat": now, "exp": now + 3600} | claims
    body = {name: value for name, value in body.items() if value is not None}
    text = ".".join(encode(json.dumps(part).encode()) for part in (header, body))
    return f"{text}.{encode(hmac.digest(secret, text.encode(), 'sha256'))}"


def wait_until(condition, what, seconds=60):
    """Polls until the condition has a value, and returns it."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds} s")


def ready_values(path):
    """The lines "key = value" of a broker's ready file; {} while there is none."""
    try:
        lines = pathlib.Path(path).read_text().splitlines()
    except FileNotFoundError:
        return {}
    return dict(line.split(" = ", 1) for line in lines)


def start(command, log, **options):
    """A process in a group of its own, whose output goes to the file `log`."""
    with open(log, "ab") as said:
        return subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                stdout=said, stderr=subprocess.STDOUT, start_new_session=True,
                                **options)


def wait_for_client(process, ready_file, log):
    """Until clients can reach the broker that this process is; its ready file's values."""

    def values():
        if process.poll() is not None:
            raise AssertionError("the broker ended: " + pathlib.Path(log).read_text())
        found = ready_values(ready_file)
        return found if "client" in found else None

    return wait_until(values, "the broker is up")


def stop(process, seconds=60):
    """SIGTERM, and SIGKILL to one that does not end. Returns how it ended."""
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def main():
    """Runs the tests of the calling module; ctest hears of it if all of them were skipped."""
    result = unittest.main(module="__main__", verbosity=2, exit=False).result
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(SKIPPED if result.skipped and len(result.skipped) >= result.testsRun else 0)


def lines_matching(pattern, text):
    return [line for line in text.splitlines() if re.search(pattern, line)]
