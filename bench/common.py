"""What every benchmark of bench/run shares: building, running, and naming the machine."""
import datetime
import os
import pathlib
import platform
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "release"


def tell(text):
    """What goes on, for a person; standard output is for the numbers."""
    print(text, file=sys.stderr, flush=True)


def command(*words):
    """Runs a program from the root of the tree and gives back what it printed."""
    words = [str(word) for word in words]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"bench/run: {' '.join(words)} ended with {done.returncode}")
    return done.stdout


def build(target):
    tell(f"building {target}")
    if not (BUILD / "build.ninja").exists():
        command("cmake", "--preset", "release")
    command("cmake", "--build", "--preset", "release", "--target", target)
    return BUILD / target


def machine():
    model = platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}"


def today():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
