#!/usr/bin/env python3
"""Trains the small picture model and ships it. See README.md for the commands.

    train.py train   pictures and captions in, checkpoints out (background, hours or minutes)
    train.py export  a checkpoint's averaged weights to safetensors, with config and vocabulary
    train.py sheet   a contact sheet of the exported model
    train.py golden  inputs and outputs of the exported model, for the engine's tests
"""
import argparse
import json
import os
import time

# A thread that waits must sleep: where others use the same cores, spinning at the end of every
# small product stole the time that the last thread needed, and throughput fell to a tenth.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from PIL import Image, ImageDraw

import data
import model as net
from optimiser import MuonAndAdam

WARM_UP_STEPS = 100
DECAY_SHARE = 0.30
FINAL_FACTOR = 0.02


# Training ---------------------------------------------------------------------------------------


def draw_times(size, generator):
    """Logit-normal, a little towards noise, where the words decide; an eighth uniform, so that no
    time is unseen."""
    t = torch.sigmoid(torch.randn(size, generator=generator) + 0.4)
    uniform = torch.rand(size, generator=generator)
    return torch.where(torch.rand(size, generator=generator) < 0.125, uniform, t)


def make_loss(model, precision):
    def loss(x0, noise, t, tokens, weights):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            target = noise - x0
            v = model(x0 + t[:, None, None, None] * target, t, tokens, weights)
        return ((v.float() - target) ** 2).mean()

    return loss


def learning_factor(step, progress):
    """Warm-up by steps; then constant; a linear decay over the last part of the budget."""
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    left = min(1.0, max(0.0, 1 - progress) / DECAY_SHARE)
    return warm * (FINAL_FACTOR + (1 - FINAL_FACTOR) * left)


class Training:
    """Everything that a checkpoint holds: weights, their average, optimiser, random states."""

    def __init__(self, args):
        torch.manual_seed(args.seed)
        self.args = args
        emojis = data.load(args.png, args.emoji_test, args.annotations)
        self.vocab = data.make_vocab(emojis)
        self.config = net.make_config(len(self.vocab))
        self.batches = data.Batches(
            emojis, self.vocab, args.batch, np.random.default_rng(args.seed)
        )
        self.generator = torch.Generator().manual_seed(args.seed)
        self.model = net.EmojiDiT(self.config)
        self.model.initialise()
        self.average = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self.optimiser = MuonAndAdam(self.model)
        self.step, self.images, self.seconds = 0, 0, 0.0
        with open(os.path.join(args.out, "names.txt"), "w", encoding="utf-8") as file:
            file.writelines(emoji.name + "\n" for emoji in emojis)
        print(f"{len(emojis)} pictures, {len(self.vocab)} tokens", flush=True)

    def save(self):
        """Written beside the old checkpoint and renamed over it, so that one always is whole."""
        path = os.path.join(self.args.out, "checkpoint.pt")
        torch.save(
            {
                "model": self.model.state_dict(),
                "average": self.average,
                "optimiser": self.optimiser.state(),
                "vocab": self.vocab,
                "config": self.config,
                "counters": (self.step, self.images, self.seconds),
                "order": self.batches.order.tolist(),
                "numpy": self.batches.rng.bit_generator.state,
                "torch": self.generator.get_state(),
            },
            path + ".new",
        )
        os.replace(path + ".new", path)

    def load(self, path):
        saved = torch.load(path, weights_only=True)
        if saved["vocab"] != self.vocab:
            raise SystemExit("the checkpoint was made from other pictures or captions")
        self.model.load_state_dict(saved["model"])
        for name, value in saved["average"].items():
            self.average[name].copy_(value)
        self.optimiser.load(saved["optimiser"])
        self.step, self.images, self.seconds = saved["counters"]
        self.batches.order = np.array(saved["order"], dtype=np.int64)
        self.batches.rng.bit_generator.state = saved["numpy"]
        self.generator.set_state(saved["torch"])

    def progress(self):
        if self.args.steps:
            return self.step / self.args.steps
        return self.seconds / (60 * self.args.minutes)

    @torch.no_grad()
    def update_average(self):
        """The horizon grows with the steps, so that a short run does not average its beginning."""
        decay = min(self.args.average, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(
            list(self.average.values()), list(self.model.parameters()), 1 - decay
        )

    def run_step(self, loss):
        x0, tokens, weights = (torch.from_numpy(part) for part in self.batches.next())
        noise = torch.randn(x0.shape, generator=self.generator)
        value = loss(x0, noise, draw_times(len(x0), self.generator), tokens, weights)
        value.backward()
        factor = learning_factor(self.step, self.progress())
        norm = self.optimiser.step(factor)
        self.update_average()
        self.step += 1
        self.images += len(x0)
        return float(value.detach()), norm, factor


def command_train(args):
    os.makedirs(args.out, exist_ok=True)
    torch.set_num_threads(args.threads)
    net.Attention.explicit = args.compile
    training = Training(args)
    if args.resume:
        training.load(os.path.join(args.out, "checkpoint.pt"))
    loss = make_loss(training.model, args.precision)
    if args.compile:
        loss = torch.compile(loss)
    last_time = last_saved = time.monotonic()
    values, images = [], training.images
    while training.progress() < 1:
        begin = time.monotonic()
        value, norm, factor = training.run_step(loss)
        values.append(value)
        now = time.monotonic()
        training.seconds += now - begin
        if training.step % args.log_every == 0:
            rate = (training.images - images) / (now - last_time)
            print(
                f"step {training.step} minutes {training.seconds / 60:.1f} "
                f"loss {np.mean(values):.4f} norm {norm:.3f} factor {factor:.3f} "
                f"images/s {rate:.1f} images {training.images}",
                flush=True,
            )
            last_time, values, images = now, [], training.images
        if now - last_saved > 60 * args.save_minutes:
            training.save()
            last_saved = now
    training.save()
    print(f"done: {training.step} steps, {training.images} images, {training.seconds:.0f} s")


# Shipping ---------------------------------------------------------------------------------------

WEIGHTS, CONFIG, VOCAB = "emoji-32.safetensors", "config.json", "vocab.json"
GOLDEN, SHEET = "golden.safetensors", "contact-sheet.png"
SHEET_PROMPTS = [
    "a red heart", "cat face", "pizza", "dog face", "smiling face with sunglasses", "hamburger",
    "banana", "red apple", "strawberry", "automobile", "airplane", "rocket",
    "house", "evergreen tree", "sunflower", "rose", "crescent moon", "star",
    "sun", "soccer ball", "guitar", "crown", "key", "light bulb",
    "fire", "ghost", "octopus", "penguin", "frog", "snowman",
]
GOLDEN_PROMPTS = ["red heart", "cat face", "smiling face with sunglasses", "pizza"]
GOLDEN_TIMES = [1.0, 0.75, 0.5, 0.1]


def place(folder, name, write):
    """Writes a file beside its final name and renames it, so that a reader never sees half."""
    path = os.path.join(folder, name)
    write(path + ".new")
    os.replace(path + ".new", path)
    print(f"{name}: {os.path.getsize(path)} bytes")


def write_json(value, indent):
    def write(path):
        with open(path, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=indent, ensure_ascii=False)
            file.write("\n")

    return write


def command_export(args):
    """bf16 halves the file; the rounded weights are the model, and the engine widens them."""
    saved = torch.load(os.path.join(args.out, "checkpoint.pt"), weights_only=True)
    tensors = {name: saved["model"][name] for name in saved["model"]} | saved["average"]
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}
    step, images, seconds = saved["counters"]
    metadata = {key: str(value) for key, value in saved["config"].items() if key != "stopwords"}
    metadata |= {"steps": str(step), "images": str(images), "seconds": f"{seconds:.0f}"}
    place(args.model, WEIGHTS, lambda path: net.write_safetensors(path, tensors, metadata))
    place(args.model, CONFIG, write_json(saved["config"], 1))
    place(args.model, VOCAB, write_json(saved["vocab"], None))


def load_shipped(folder):
    model, config = net.load_model(os.path.join(folder, CONFIG), os.path.join(folder, WEIGHTS))
    return model, config, net.load_vocab(os.path.join(folder, VOCAB))


def start_noise(count, seed):
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def as_picture(x, side):
    pixels = ((x + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)


def contact_sheet(pictures, labels, columns=6, side=128):
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (side + 16), rows * (side + 26)), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (picture, label) in enumerate(zip(pictures, labels)):
        left, top = i % columns * (side + 16) + 8, i // columns * (side + 26) + 4
        sheet.paste(as_picture(picture, side), (left, top))
        short = label if len(label) <= 23 else label[:22] + "."
        pen.text((left + side // 2, top + side + 2), short, fill="black", anchor="ma")
    return sheet


def command_sheet(args):
    torch.set_num_threads(args.threads)
    model, _, vocab = load_shipped(args.model)
    prompts = SHEET_PROMPTS
    if args.random:
        with open(args.random, encoding="utf-8") as file:
            names = [line.strip() for line in file if line.strip()]
        picks = np.random.default_rng(args.seed).permutation(len(names))[:30]
        prompts = [names[i] for i in picks]
    tokens = [net.tokens_of(prompt, vocab) for prompt in prompts]
    pictures = net.sample(model, tokens, start_noise(len(prompts), args.seed), args.sampler_steps)
    target = args.to or os.path.join(args.model, SHEET)
    contact_sheet(pictures, prompts).save(target, optimize=True)
    print(f"{target}: {os.path.getsize(target)} bytes")


@torch.no_grad()
def command_golden(args):
    """What the engine has to reproduce in f32, computed from the shipped, widened weights."""
    torch.set_num_threads(args.threads)
    model, _, vocab = load_shipped(args.model)
    token_lists = [net.tokens_of(prompt, vocab) for prompt in GOLDEN_PROMPTS]
    tokens, weights = net.padded(token_lists)
    x, t = start_noise(len(GOLDEN_PROMPTS), args.seed), torch.tensor(GOLDEN_TIMES)
    noise = start_noise(1, args.seed + 1)
    tensors = {
        "x": x,
        "t": t,
        "v": model(x, t, tokens, weights),
        "cond_silu": model.condition(t, tokens, weights),
        "x_embed": model.patches(x),
        "sample_noise": noise,
        "sample_image": net.sample(model, token_lists[:1], noise),
    }
    metadata = {
        "prompts": "|".join(GOLDEN_PROMPTS),
        "tokens": json.dumps(token_lists),
        "sample": f"{GOLDEN_PROMPTS[0]}, 30 Euler steps, cfg 3.0: "
        "x-=v/n, v=vu+3*(vc-vu), t=1-i/n; at the end clamped to [-1,1]",
    }
    place(args.model, GOLDEN, lambda path: net.write_safetensors(path, tensors, metadata))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)

    train = commands.add_parser("train", help="train for a budget of minutes or of steps")
    train.add_argument("--png", required=True, help="png/128 of the Noto emoji sources")
    train.add_argument("--emoji-test", required=True, help="Unicode's emoji-test.txt")
    train.add_argument("--annotations", required=True, help="CLDR's common/annotations/en.xml")
    train.add_argument("--out", required=True, help="folder for checkpoints, outside git")
    train.add_argument("--minutes", type=float, default=85, help="budget of wall-clock time")
    train.add_argument("--steps", type=int, default=0, help="budget of steps, instead of minutes")
    train.add_argument("--batch", type=int, default=64)
    train.add_argument("--average", type=float, default=0.9993, help="decay of the weight average")
    train.add_argument("--seed", type=int, default=1)
    train.add_argument("--threads", type=int, default=2)
    train.add_argument("--precision", choices=["f32", "bf16"], default="bf16")
    train.add_argument("--compile", action="store_true", help="use torch.compile (needs g++)")
    train.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    train.add_argument("--save-minutes", type=float, default=3)
    train.add_argument("--log-every", type=int, default=50)
    train.set_defaults(run=command_train)

    export = commands.add_parser("export", help="write weights, config and vocabulary")
    export.add_argument("--out", required=True, help="folder with the checkpoint")
    export.set_defaults(run=command_export)

    sheet = commands.add_parser("sheet", help="draw a contact sheet of 30 prompts")
    sheet.add_argument("--random", metavar="FILE", help="30 random lines of FILE (names.txt)")
    sheet.add_argument("--sampler-steps", type=int, default=30)
    sheet.add_argument("--to", help="where to write the sheet (default: in --model)")
    sheet.set_defaults(run=command_sheet)

    golden = commands.add_parser("golden", help="write golden.safetensors")
    golden.set_defaults(run=command_golden)

    for command in (export, sheet, golden):
        command.add_argument("--model", required=True, help="folder of the shipped model")
        command.add_argument("--threads", type=int, default=2)
        command.add_argument("--seed", type=int, default=7)

    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
