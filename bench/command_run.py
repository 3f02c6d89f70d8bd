"""`bench/run run`: how long `gpupool run -- true` takes, from the shell and back.

A real gpupoold with one slot whose executor waits, warm; its ledger on the disk of the build folder,
so every hold and settle is durable. Each call is a client program of its own: it connects, submits,
follows the job and returns its exit code. In turn with it: the same with a file to upload, bare
bubblewrap with the same walls, a process alone, and where they are there `systemd-run --wait` and
`srun`. Between two calls there is a pause, in which the slot is cleared and the next executor starts.
"""
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

from common import BUILD, build, machine, tell, today
from dispatch_run import Pool

PAUSE_S = 0.1
CALLS = 40
APP = """
[[apps]]
name = "run"
executor = "command"
any_command = true
tiers = ["bench"]
"""
BWRAP = (
    "bwrap --unshare-all --die-with-parent --new-session --ro-bind /usr /usr --symlink usr/bin /bin "
    "--symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc --dev /dev --tmpfs /tmp true"
).split()


def timed(words, environment=None):
    """Milliseconds of one call; None if it does not do what it should."""
    start = time.perf_counter()
    done = subprocess.run(
        words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )
    return 1000 * (time.perf_counter() - start) if done.returncode == 0 else None


def peers():
    found = {"a process alone": ["/bin/true"]}
    if shutil.which("bwrap"):
        found["bubblewrap alone"] = BWRAP
    if shutil.which("systemd-run") and os.path.isdir("/run/systemd/system"):
        found["systemd-run --wait"] = ["systemd-run", "--wait", "--quiet", "/bin/true"]
    if shutil.which("srun"):
        found["srun"] = ["srun", "true"]
    return found


def run(args):
    for target in ("gpupoold", "gpupool", "gpupool_supervisor", "gpupool_diffusion", "gpupool_command"):
        build(target)
    calls = dict(peers())
    measured = {}
    with contextlib.closing(Pool(slots=1, apps=APP)) as pool:
        environment = dict(
            os.environ,
            GPUPOOL_TOKEN=pool.tokens.read_text().split()[0],
            GPUPOOL_ENDPOINT=pool.endpoint,
        )
        file = pool.folder / "input"
        file.write_bytes(os.urandom(100_000))
        client = str(BUILD / "gpupool")
        ours = {
            "gpupool run -- true": [client, "run", "--duration", "10", "--", "true"],
            "with a file of 100 KB": [client, "run", "--duration", "10", "--file", str(file), "--", "true"],
        }
        time.sleep(1)
        for turn in range(args.rounds):
            tell(f"round {turn + 1} of {args.rounds}")
            for name, words in {**ours, **calls}.items():
                for _ in range(CALLS):
                    time.sleep(PAUSE_S)
                    took = timed(words, environment)
                    if took is None and name in ours:
                        sys.exit(f"bench/run: {' '.join(words)} failed:\n" + (pool.folder / "log").read_text())
                    if took is not None:
                        measured.setdefault(name, []).append(took)
    show(args, measured)


def show(args, measured):
    p50 = {name: statistics.median(all_of) for name, all_of in measured.items()}
    if args.json:
        print(
            json.dumps(
                {
                    "gpupool_true_p50_ms": p50["gpupool run -- true"],
                    "systemd_run_p50_ms": p50.get("systemd-run --wait"),
                    "srun_p50_ms": p50.get("srun"),
                    "bubblewrap_p50_ms": p50.get("bubblewrap alone"),
                    "with_file_p50_ms": p50["with a file of 100 KB"],
                    "machine": machine(),
                    "at": today(),
                }
            )
        )
        return
    print(f"{machine()}, {today()}; {args.rounds} rounds of {CALLS} calls, each durable\n")
    print(f"{'':28}{'p50 ms':>10}{'p95 ms':>10}{'least':>10}")
    for name, all_of in measured.items():
        ordered = sorted(all_of)
        p95 = ordered[int(0.95 * (len(ordered) - 1))]
        print(f"{name:28}{p50[name]:10.1f}{p95:10.1f}{ordered[0]:10.1f}")
    for name in ("systemd-run --wait", "srun"):
        if name not in measured:
            print(f"{name:28}{'not here':>10}")
