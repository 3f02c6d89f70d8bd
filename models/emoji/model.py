"""The picture model: a small diffusion transformer over pixels, conditioned on words.

The tensor names are those of the original DiT, so that the engine in gpu/ reads this model and the
published DiT checkpoints with the same code. train.py, golden.py and bench/image_peer.py share this
file: the network, the sampler, the tokenizer and the safetensors reader and writer each exist once.
"""
import json
import math
import re
import struct

import torch
import torch.nn.functional as F
from torch import nn

STOPWORDS = ["a", "an", "and", "at", "for", "in", "of", "on", "or", "s", "the", "to", "with"]


def make_config(vocab_size):
    """The shape of the network and the conventions that the engine has to know."""
    return {
        "model": "emoji-dit",
        "image_size": 32,
        "patch_size": 4,
        "channels": 3,
        "hidden_size": 192,
        "depth": 8,
        "num_heads": 3,
        "mlp_ratio": 4,
        "vocab_size": vocab_size,
        "null_token": 0,
        "frequency_embedding_size": 256,
        "timestep_scale": 1000,
        "layer_norm_eps": 1e-6,
        "activation": "gelu_tanh",
        "objective": "rectified_flow_velocity",
        "x_t": "(1-t)*x0+t*noise",
        "text_pooling": "mean",
        "tokenizer": "lowercase; drop apostrophes; other punctuation and hyphen -> space; split; "
        "drop stopwords and unknown words; empty -> [null_token]",
        "stopwords": STOPWORDS,
        "qkv_bias": False,
        "attn_proj_bias": False,
        "mlp_bias": False,
        "pos_embed": "fixed 2d sincos (stored)",
        "time_embedding": "[cos,sin], freqs exp(-ln(1e4)*i/128), argument 1000*t",
        "patch_input_order": "c,py,px",
        "final_output_order": "py,px,c",
        "pixel_range": "[-1,1]",
        "sampler": "euler t=1->0, x-=v/steps",
        "default_steps": 30,
        "default_guidance": 3.0,
    }


# Text -------------------------------------------------------------------------------------------


def words_of(text):
    """Splits a text into words by the rules in config.json, stopwords dropped."""
    text = re.sub(r"['\u2018\u2019]", "", text.lower())
    return [word for word in re.findall("[a-z0-9]+", text) if word not in STOPWORDS]


def tokens_of(text, index):
    """The tokens of a prompt; unknown words are dropped, and an empty prompt is the null token."""
    return [index[word] for word in words_of(text) if word in index] or [0]


def padded(token_lists):
    """A batch of token lists as one matrix, with the weights that make a sum over it a mean."""
    longest = max(8, max(len(tokens) for tokens in token_lists))
    tokens = torch.zeros(len(token_lists), longest, dtype=torch.long)
    weights = torch.zeros(len(token_lists), longest)
    for row, these in enumerate(token_lists):
        tokens[row, : len(these)] = torch.tensor(these)
        weights[row, : len(these)] = 1 / len(these)
    return tokens, weights


# Network ----------------------------------------------------------------------------------------


def sincos_positions(width, side):
    """Fixed 2-D position embedding: the first half encodes the column, the second half the row."""
    quarter = width // 4
    omega = 10000.0 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    rows, columns = torch.meshgrid(
        torch.arange(side, dtype=torch.float64), torch.arange(side, dtype=torch.float64),
        indexing="ij",
    )
    halves = []
    for position in (columns, rows):
        angle = position.reshape(-1, 1) * omega
        halves.append(torch.cat([angle.sin(), angle.cos()], dim=1))
    return torch.cat(halves, dim=1).float().unsqueeze(0)


class PatchEmbedding(nn.Module):
    """A patch is flattened as (channel, row, column). A product is faster than a convolution."""

    def __init__(self, channels, patch, width):
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(channels, width, patch, patch)

    def forward(self, x):
        n, c, h, w = x.shape
        p = self.patch
        x = x.reshape(n, c, h // p, p, w // p, p).permute(0, 2, 4, 1, 3, 5)
        x = x.reshape(n, (h // p) * (w // p), c * p * p)
        return F.linear(x, self.proj.weight.flatten(1), self.proj.bias)


class TimeEmbedding(nn.Module):
    def __init__(self, frequencies, width, scale):
        super().__init__()
        half = frequencies // 2
        freqs = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float32) / half)
        self.register_buffer("angular", freqs * scale, persistent=False)
        self.mlp = nn.Sequential(
            nn.Linear(frequencies, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, t):
        angle = t[:, None] * self.angular[None]
        return self.mlp(torch.cat([angle.cos(), angle.sin()], dim=1))


class TextEmbedding(nn.Module):
    def __init__(self, vocab_size, width):
        super().__init__()
        self.embedding_table = nn.Embedding(vocab_size, width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, tokens, weights):
        return self.mlp((self.embedding_table(tokens) * weights[..., None]).sum(1))


class Attention(nn.Module):
    """`explicit` writes the softmax out: compiled, its backward pass on a CPU takes less than half
    the time of PyTorch's fused attention. Sampling uses the fused form.
    """

    explicit = False

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width, bias=False)

    def forward(self, x):
        n, tokens, width = x.shape
        qkv = self.qkv(x).reshape(n, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attend = explicit_attention if self.explicit else F.scaled_dot_product_attention
        return self.proj(attend(q, k, v).transpose(1, 2).reshape(n, tokens, width))


def explicit_attention(q, k, v):
    """Softmax attention over [n, heads, tokens, width], as two batched products."""
    shape = q.shape
    q, k, v = (part.reshape(-1, *shape[2:]) for part in (q, k, v))
    scores = torch.bmm(q, k.mT).float() * shape[-1] ** -0.5
    weights = torch.exp(scores - scores.amax(-1, keepdim=True).detach())
    weights = weights / weights.sum(-1, keepdim=True)
    return torch.bmm(weights.to(q.dtype), v).reshape(shape)


class Mlp(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden, bias=False)
        self.fc2 = nn.Linear(hidden, width, bias=False)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Modulation(nn.Sequential):
    """Index 1 holds the weights, as in DiT; the SiLU at index 0 is shared by all blocks."""

    def __init__(self, width, parts):
        super().__init__(nn.Identity(), nn.Linear(width, parts * width))
        self.parts = parts

    def forward(self, condition):
        return self[1](condition).unsqueeze(1).chunk(self.parts, dim=-1)


class Block(nn.Module):
    def __init__(self, width, heads, ratio, eps):
        super().__init__()
        self.eps = eps
        self.attn = Attention(width, heads)
        self.mlp = Mlp(width, ratio * width)
        self.adaLN_modulation = Modulation(width, 6)

    def forward(self, x, condition):
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(condition)
        x = x + gate1 * self.attn(normed(x, self.eps) * (1 + scale1) + shift1)
        return x + gate2 * self.mlp(normed(x, self.eps) * (1 + scale2) + shift2)


class FinalLayer(nn.Module):
    def __init__(self, width, outputs, eps):
        super().__init__()
        self.eps = eps
        self.adaLN_modulation = Modulation(width, 2)
        self.linear = nn.Linear(width, outputs)

    def forward(self, x, condition):
        shift, scale = self.adaLN_modulation(condition)
        return self.linear(normed(x, self.eps) * (1 + scale) + shift)


def normed(x, eps):
    return F.layer_norm(x, (x.shape[-1],), eps=eps)


class EmojiDiT(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, eps = config["hidden_size"], config["layer_norm_eps"]
        self.channels, self.patch = config["channels"], config["patch_size"]
        self.side = config["image_size"] // self.patch
        self.x_embedder = PatchEmbedding(self.channels, self.patch, width)
        self.register_buffer("pos_embed", sincos_positions(width, self.side))
        self.t_embedder = TimeEmbedding(
            config["frequency_embedding_size"], width, config["timestep_scale"]
        )
        self.y_embedder = TextEmbedding(config["vocab_size"], width)
        self.blocks = nn.ModuleList(
            Block(width, config["num_heads"], config["mlp_ratio"], eps)
            for _ in range(config["depth"])
        )
        self.final_layer = FinalLayer(width, self.patch**2 * self.channels, eps)

    def condition(self, t, tokens, weights):
        return F.silu(self.t_embedder(t) + self.y_embedder(tokens, weights))

    def patches(self, x):
        return self.x_embedder(x) + self.pos_embed

    def forward(self, x, t, tokens, weights):
        condition = self.condition(t, tokens, weights)
        x = self.patches(x)
        for block in self.blocks:
            x = block(x, condition)
        x = self.final_layer(x, condition)
        n, s, p, c = x.shape[0], self.side, self.patch, self.channels
        x = x.reshape(n, s, s, p, p, c).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(n, c, s * p, s * p)

    def initialise(self):
        """adaLN-Zero: every block starts as the identity and the output starts at zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.x_embedder.proj.weight.view(self.pos_embed.shape[-1], -1))
        nn.init.zeros_(self.x_embedder.proj.bias)
        # Words start far apart. From the usual small numbers the text would have to grow out of
        # nothing, and the first thousand steps would learn pictures of no word in particular.
        nn.init.normal_(self.y_embedder.embedding_table.weight)
        for module in self.modules():
            if isinstance(module, Modulation):
                nn.init.zeros_(module[1].weight)
        nn.init.zeros_(self.final_layer.linear.weight)


@torch.no_grad()
def sample(model, token_lists, noise, steps=30, guidance=3.0):
    """Euler from t = 1 to t = 0 with classifier-free guidance; each step is one batch of 2 n."""
    n = len(token_lists)
    tokens, weights = padded(list(token_lists) + [[0]] * n)
    x = noise.clone()
    for i in range(steps):
        t = torch.full((2 * n,), 1 - i / steps)
        cond, uncond = model(torch.cat([x, x]), t, tokens, weights).float().chunk(2)
        x = x - (uncond + guidance * (cond - uncond)) / steps
    return x.clamp(-1, 1)


# Files ------------------------------------------------------------------------------------------

_DTYPES = {"F32": (torch.float32, torch.int32), "BF16": (torch.bfloat16, torch.int16)}


def write_safetensors(path, tensors, metadata):
    """Length of the header (8 bytes), JSON header (padded to 8), raw little-endian values."""
    header, chunks, offset = {"__metadata__": metadata}, [], 0
    for name, tensor in tensors.items():
        dtype = {torch.float32: "F32", torch.bfloat16: "BF16"}[tensor.dtype]
        chunk = tensor.contiguous().view(_DTYPES[dtype][1]).numpy().tobytes()
        span = [offset, offset + len(chunk)]
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": span}
        chunks.append(chunk)
        offset += len(chunk)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(chunks))


def read_safetensors(path):
    """The tensors of a file, widened to f32 (which is exact for bf16), and its metadata."""
    with open(path, "rb") as file:
        raw = file.read()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        dtype = _DTYPES[entry["dtype"]][0]
        flat = torch.frombuffer(bytearray(raw[begin:end]), dtype=dtype)
        tensors[name] = flat.reshape(entry["shape"]).float()
    return tensors, metadata


def load_model(config_path, weights_path):
    """The shipped network in f32, ready to sample."""
    with open(config_path, encoding="utf-8") as file:
        config = json.load(file)
    model = EmojiDiT(config)
    model.load_state_dict(read_safetensors(weights_path)[0])
    return model.eval().requires_grad_(False), config


def load_vocab(path):
    with open(path, encoding="utf-8") as file:
        return {word: token for token, word in enumerate(json.load(file))}
