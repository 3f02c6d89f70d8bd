#!/usr/bin/env python3
"""Times PyTorch on one guided picture, as the peer of our engine in `bench/run image`.

The same weights and the same sampler: 30 steps, each one batch of 2 (with the prompt and without
it); or a network of DiT-XL/2's shape with random weights, whose times are of one guided step. In
f32 and in bf16. Prints one JSON object; a time is null where torch.compile cannot run (it needs a
C++ compiler) or was not asked for.
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

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
DIT_XL2 = {"image_size": 32, "patch_size": 2, "channels": 4, "hidden_size": 1152, "depth": 28,
           "num_heads": 16}


class InPrecision(torch.nn.Module):
    """A network whose weights and inputs are of one type."""

    def __init__(self, network, dtype):
        super().__init__()
        self.network, self.dtype = network.to(dtype), dtype

    def forward(self, x, t, tokens, weights):
        return self.network(x.to(self.dtype), t.to(self.dtype), tokens, weights.to(self.dtype))


def random_dit_xl2():
    """The published network has biases everywhere; the small one leaves them out."""
    torch.manual_seed(1)
    network = net.EmojiDiT({**net.make_config(1001), **DIT_XL2})
    for module in network.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.01)
            if module.bias is None:
                module.bias = torch.nn.Parameter(torch.zeros(module.out_features))
    return network.eval().requires_grad_(False)


def shipped(folder):
    network, _ = net.load_model(
        os.path.join(folder, "config.json"), os.path.join(folder, "emoji-32.safetensors")
    )
    return network


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


def rounded(seconds, share):
    return [round(value * share, 4) for value in seconds] if seconds else None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=5, help="measured pictures per variant")
    parser.add_argument("--prompt", default="a red heart")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", default=FOLDER, help="folder with the weights")
    parser.add_argument("--network", choices=("emoji", "dit-xl2"), default="emoji")
    parser.add_argument("--no-compile", action="store_true", help="skip torch.compile")
    parser.add_argument("--json", action="store_true", help="one line instead of indented JSON")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    small = args.network == "emoji"
    vocab = net.load_vocab(os.path.join(args.model, "vocab.json"))
    tokens = net.tokens_of(args.prompt, vocab) if small else [7]
    share = 1 if small else 1 / args.steps
    generator = torch.Generator().manual_seed(args.seed)
    noise = torch.randn(1, 3 if small else 4, 32, 32, generator=generator)
    runs = {}
    for name, dtype in DTYPES.items():
        model = InPrecision(shipped(args.model) if small else random_dit_xl2(), dtype)
        runs[f"eager_{name}_s"] = rounded(times_of(model, tokens, noise, args), share)
        if not args.no_compile:
            compiled = compiled_times(model, tokens, noise, args)
            runs[f"compile_{name}_s"] = rounded(compiled, share)
        del model  # before the next: the large one has 2.7 GB
    medians = {key: statistics.median(times) for key, times in runs.items() if times}
    report = {"runs": runs, "threads": args.threads, "steps": args.steps}
    for kind in ("eager", "compile"):
        times = {key: s for key, s in medians.items() if key.startswith(kind)}
        best = min(times, key=times.get) if times else None
        report[f"torch_{kind}_s"] = times.get(best)
        report[f"{kind}_precision"] = best and best.split("_")[1]
    report["torch"] = torch.__version__
    print(json.dumps(report, indent=None if args.json else 1))


if __name__ == "__main__":
    main()
