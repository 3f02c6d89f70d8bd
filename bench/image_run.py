"""`bench/run image`: seconds per picture, beside PyTorch on the same weights and threads."""
import json
import pathlib
import statistics
import subprocess
import sys

from common import ROOT, build, command, machine, tell, today

VENV = ROOT / "build" / "bench-venv"


def has_torch(python):
    look = [str(python), "-c", "import numpy, torch"]
    return subprocess.run(look, stderr=subprocess.DEVNULL, check=False).returncode == 0


def python_with_torch():
    """The interpreter of the peer: ours if it has PyTorch, else one in a folder of its own."""
    for python in (VENV / "bin" / "python", pathlib.Path(sys.executable)):
        if python.exists() and has_torch(python):
            return python
    tell(f"installing PyTorch into {VENV.relative_to(ROOT)}; --no-peer does without it")
    command(sys.executable, "-m", "venv", VENV)
    command(VENV / "bin" / "pip", "install", "--quiet", "torch", "numpy")
    return VENV / "bin" / "python"


def summary(rounds):
    """Of (median, fastest, slowest) of each round: the median one and the extremes; or nothing."""
    if not rounds:
        return None
    medians, fastest, slowest = zip(*rounds)
    return {
        "median": statistics.median(medians),
        "fastest": min(fastest),
        "slowest": max(slowest),
    }


def round_of(runs):
    return statistics.median(runs), min(runs), max(runs)


def measure_image(args):
    ours_program = build("bench_image")
    python = None if args.no_peer else python_with_torch()
    shared = ["--threads", args.threads, "--prompt", "a red heart", "--steps", 30, "--json"]
    ours, eager, compiled, torch = [], [], [], None
    for turn in range(args.rounds):
        tell(f"round {turn + 1} of {args.rounds}")
        one = json.loads(command(ours_program, "--repeat", 5, *shared))
        ours.append((one["ours_s"], one["fastest_s"], one["slowest_s"]))
        if python is None:
            continue
        peer = json.loads(command(python, ROOT / "bench" / "image_peer.py", "--repeat", 3, *shared))
        torch = peer["torch"]
        eager.append(round_of(peer["runs"]["eager_s"]))
        if peer["runs"]["compile_s"]:
            compiled.append(round_of(peer["runs"]["compile_s"]))
    return summary(ours), summary(eager), summary(compiled), torch


def image(args):
    ours, eager, compiled, torch = measure_image(args)
    seconds = {
        "ours_s": ours["median"],
        "torch_eager_s": eager and eager["median"],
        "torch_compile_s": compiled and compiled["median"],
    }
    report = {
        **seconds,
        "ratio_ours_over_torch_eager": eager and round(ours["median"] / eager["median"], 3),
        "dit_xl2": {"ours_s": None, "torch_eager_s": None},
        "ranks2_over_threads2": None,
        "spread": {"ours": ours, "torch_eager": eager, "torch_compile": compiled},
        "threads": args.threads,
        "rounds": args.rounds,
        "torch": torch,
        "machine": machine(),
        "date": today(),
    }
    if args.json:
        print(json.dumps(report))
        return
    print("Seconds per picture of 32 x 32: 30 guided steps, f32, the weights of models/emoji,")
    print(f"on {args.threads} thread(s), in turn {args.rounds} times. Nothing is stored.\n")
    print(f"{'':16} {'median':>8} {'fastest':>8} {'slowest':>8} {'against ours':>13}")
    for name, times in (("gpupool", ours), ("torch eager", eager), ("torch.compile", compiled)):
        if times is None:
            print(f"{name:16} {'absent':>8}")
            continue
        against = f"{times['median'] / ours['median']:.2f} x"
        row = " ".join(f"{times[key]:8.4f}" for key in ("median", "fastest", "slowest"))
        print(f"{name:16} {row} {against:>13}")
    print(f"\n{report['machine']}; torch {torch or 'absent'}; {report['date']}")
