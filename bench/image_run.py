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


def summary(times):
    """The median and the extremes of what each round measured; or nothing."""
    if not times:
        return None
    return {"median": statistics.median(times), "fastest": min(times), "slowest": max(times)}


class Measured:
    """Lists of seconds by name, one a round. A variant that did not run stays empty."""

    def __init__(self, args):
        self.args = args
        self.seconds = {}
        self.torch = None

    def add(self, name, seconds):
        if seconds is not None:
            self.seconds.setdefault(name, []).append(seconds)

    def ours(self, program, what, *options, threads=None):
        words = [what, "--threads", threads or self.args.threads, "--json", *options]
        return json.loads(command(program, *words))

    def peer(self, python, *options):
        words = ["--threads", self.args.threads, "--json", *options]
        peer = json.loads(command(python, ROOT / "bench" / "image_peer.py", *words))
        self.torch = peer["torch"]
        return {key[:-2]: statistics.median(runs) for key, runs in peer["runs"].items() if runs}

    def take_turn(self, program, python):
        small = ["--prompt", "a red heart", "--steps", 30]
        large = ["--steps", 2, "--repeat", 1]
        self.add("ours", self.ours(program, "picture", "--repeat", 5, *small)["ours_s"])
        two = self.ours(program, "picture", "--repeat", 5, *small, threads=2)
        self.add("threads2", two["ours_s"])
        ranks = self.ours(program, "ranks", "--repeat", 5, *small, threads=2)
        self.add("ranks2", ranks["ours_s"])
        if python:
            for name, seconds in self.peer(python, "--repeat", 3, *small).items():
                self.add(name, seconds)
        self.add("dit_xl2 ours", self.ours(program, "dit-xl2", *large)["ours_s"])
        if python:
            for name, seconds in self.peer(
                python, "--network", "dit-xl2", "--no-compile", *large
            ).items():
                self.add(f"dit_xl2 {name}", seconds)

    def spread(self):
        return {name: summary(times) for name, times in self.seconds.items()}


def best_of(spread, kind):
    """The faster of f32 and bf16, by its median."""
    found = [spread[f"{kind}_{dtype}"] for dtype in ("f32", "bf16") if f"{kind}_{dtype}" in spread]
    return min((one["median"] for one in found), default=None)


def ratio(one, other):
    return round(one / other, 3) if one and other else None


def print_table(report, spread):
    print("Seconds: a picture of 32 x 32 in 30 guided steps with the weights of models/emoji, and one")
    print("guided step of a network of DiT-XL/2's shape with random weights (dit_xl2). Ours is f32.")
    print(f"{report['threads']} thread(s), in turn {report['rounds']} times. Nothing is stored.\n")
    print(f"{'':20} {'median':>8} {'fastest':>8} {'slowest':>8}")
    for name, times in spread.items():
        row = " ".join(f"{times[key]:8.4f}" for key in ("median", "fastest", "slowest"))
        print(f"{name:20} {row}")
    print("\nours over torch's best of f32 and bf16: eager", report["ours_over_torch_eager"], end="")
    print(", torch.compile", report["ours_over_torch_compile"], end="")
    print(", DiT-XL/2 eager", report["dit_xl2"]["ours_over_torch_eager"])
    print("two ranks of one thread over two threads:", report["ranks2_over_threads2"])
    for network, speed in report["products"].items():
        print(f"products of {network}: {speed['ours_gflops']:.0f} GFLOP/s, oneDNN with its own", end="")
        print(f" threads {speed['onednn_gflops']:.0f}")
    print(f"\n{report['machine']}; torch {report['torch'] or 'absent'}; {report['date']}")


def image(args):
    program = build("bench_image")
    python = None if args.no_peer else python_with_torch()
    measured = Measured(args)
    for turn in range(args.rounds):
        tell(f"round {turn + 1} of {args.rounds}")
        measured.take_turn(program, python)
    products = measured.ours(program, "products", "--repeat", 20)
    spread = measured.spread()
    eager, compiled = best_of(spread, "eager"), best_of(spread, "compile")
    large, large_eager = spread["dit_xl2 ours"]["median"], best_of(spread, "dit_xl2 eager")
    ours = spread["ours"]["median"]
    report = {
        "ours_s": ours,
        "torch_eager_s": eager,
        "torch_compile_s": compiled,
        "ours_over_torch_eager": ratio(ours, eager),
        "ours_over_torch_compile": ratio(ours, compiled),
        "dit_xl2": {  # of one guided step
            "ours_s": large,
            "torch_eager_s": large_eager,
            "ours_over_torch_eager": ratio(large, large_eager),
        },
        "ranks2_over_threads2": ratio(spread["ranks2"]["median"], spread["threads2"]["median"]),
        "products_over_onednn": min(  # of the two networks
            ratio(speed["ours_gflops"], speed["onednn_gflops"]) for speed in products.values()
        ),
        "products": products,
        "spread": spread,
        "threads": args.threads,
        "rounds": args.rounds,
        "torch": measured.torch,
        "machine": machine(),
        "date": today(),
    }
    if args.json:
        print(json.dumps(report))
    else:
        print_table(report, spread)
