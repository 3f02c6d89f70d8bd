#!/usr/bin/env python3
"""Times PyTorch on one guided picture, as the peer of our engine in `bench/run image`.

The same weights, the same f32, the same sampler: 30 steps, each one batch of 2 (with the prompt
and without it). Prints one JSON object; torch_compile_s is null where torch.compile cannot run
(it needs a C++ compiler) or was not asked for.
"""
import argparse
import json
import os
import statistics
import sys
import time

# Two OpenMP runtimes or a forgotten setting would time something else than --threads says.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_CORETYPE"):
    os.environ.pop(variable, None)

import torch  # noqa: E402

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "models", "emoji")
sys.path.insert(0, FOLDER)
import model as net  # noqa: E402


def times_of(model, tokens, noise, args):
    """One picture unmeasured (compilation, caches), then the seconds of each repeat."""
    net.sample(model, [tokens], noise, args.steps, args.guidance)
    seconds = []
    for _ in range(args.repeat):
        begin = time.perf_counter()
        net.sample(model, [tokens], noise, args.steps, args.guidance)
        seconds.append(time.perf_counter() - begin)
    return seconds


def compiled_times(model, tokens, noise, args):
    """None where this machine cannot compile; says why on standard error."""
    try:
        return times_of(torch.compile(model, dynamic=False), tokens, noise, args)
    except Exception as error:  # torch raises many kinds: no compiler, a compiler's own failure
        print(f"torch.compile is not available: {str(error).splitlines()[0]}", file=sys.stderr)
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=5, help="measured pictures per variant")
    parser.add_argument("--prompt", default="a red heart")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", default=FOLDER, help="folder with the weights")
    parser.add_argument("--no-compile", action="store_true", help="skip torch.compile")
    parser.add_argument("--json", action="store_true", help="one line instead of indented JSON")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    model, _ = net.load_model(
        os.path.join(args.model, "config.json"), os.path.join(args.model, "emoji-32.safetensors")
    )
    vocab = net.load_vocab(os.path.join(args.model, "vocab.json"))
    tokens = net.tokens_of(args.prompt, vocab)
    noise = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(args.seed))

    eager = times_of(model, tokens, noise, args)
    compiled = None if args.no_compile else compiled_times(model, tokens, noise, args)
    report = {
        "torch_eager_s": round(statistics.median(eager), 4),
        "torch_compile_s": round(statistics.median(compiled), 4) if compiled else None,
        "runs": {
            "eager_s": [round(value, 4) for value in eager],
            "compile_s": [round(value, 4) for value in compiled] if compiled else None,
        },
        "threads": args.threads,
        "steps": args.steps,
        "precision": "f32",
        "torch": torch.__version__,
    }
    print(json.dumps(report, indent=None if args.json else 1))


if __name__ == "__main__":
    main()
