"""Pictures and captions for the picture model.

Pictures come from the PNG files of the Noto Color Emoji sources, names from Unicode's
emoji-test.txt, keywords from CLDR's English annotations. One Emoji object per kept picture.
"""
import os
import re
import unicodedata
import xml.etree.ElementTree as ET
from dataclasses import dataclass

import numpy as np
from PIL import Image

from model import words_of

SKIN_TONES = range(0x1F3FB, 0x1F400)
HAIR = range(0x1F9B0, 0x1F9B4)
GENDER_SIGNS = {0x2640, 0x2642}
MAN_OR_WOMAN = {0x1F468, 0x1F469}
ZWJ, VARIATION_16 = 0x200D, 0xFE0F


@dataclass
class Emoji:
    name: str
    keywords: list
    share: float  # how often it is drawn
    picture: np.ndarray  # uint8, [3, 32, 32]


def plain(text):
    """The tokenizer knows ASCII letters and digits only: "gyōza" becomes "gyoza"."""
    text = text.replace("\u2019", "'")
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def is_kept(codes, name, group, subgroup):
    """Drops what 32 pixels and a bag of words cannot tell apart."""
    if group in ("Flags", "Component") or subgroup in ("keycap", "family"):
        # Flags and keycaps are mostly text; the family subgroup repeats the same little people.
        return False
    if any(code in SKIN_TONES or code in HAIR or code in GENDER_SIGNS for code in codes):
        return False
    if ZWJ in codes and codes[0] in MAN_OR_WOMAN:
        return False
    return not (name.startswith("Japanese ") and name.endswith(" button"))


def share_of(group, subgroup):
    """Little people, signs and clock faces, over a quarter of all, look much alike at 32 pixels.
    They are drawn less often, which leaves time for the animals, food and things people ask for.
    """
    return 0.25 if group in ("People & Body", "Symbols") or subgroup == "time" else 1.0


def read_names(path):
    """Yields (code points, name, share) of every fully qualified emoji that is kept."""
    group = subgroup = ""
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.startswith("# group:"):
                group = line.split(":", 1)[1].strip()
            elif line.startswith("# subgroup:"):
                subgroup = line.split(":", 1)[1].strip()
            else:
                match = re.match(r"([0-9A-F ]+?) *; fully-qualified *# \S+ E[\d.]+ (.+)", line)
                if match:
                    codes = [int(code, 16) for code in match.group(1).split()]
                    if is_kept(codes, match.group(2).strip(), group, subgroup):
                        yield codes, plain(match.group(2).strip()), share_of(group, subgroup)


def read_keywords(path):
    """CLDR's keywords by emoji, without variation selectors."""
    keywords = {}
    for entry in ET.parse(path).getroot().iter("annotation"):
        if entry.get("type") != "tts":
            text = entry.get("cp").replace(chr(VARIATION_16), "")
            keywords[text] = [plain(word.strip()) for word in entry.text.split("|")]
    return keywords


def read_picture(path, side):
    """Composited on white, its visible part centred, then scaled down."""
    picture = Image.open(path).convert("RGBA")
    left, top, right, bottom = picture.getchannel("A").getbbox()
    edge = max(picture.size)
    canvas = Image.new("RGBA", (edge, edge), (255, 255, 255, 255))
    visible = picture.crop((left, top, right, bottom))
    place = ((edge - visible.width) // 2, (edge - visible.height) // 2)
    canvas.alpha_composite(visible, place)
    small = canvas.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(small).transpose(2, 0, 1).copy()


def load(png_dir, emoji_test, annotations, side=32):
    """All kept emoji that have a picture, in Unicode's order."""
    keywords = read_keywords(annotations)
    emojis = []
    for codes, name, share in read_names(emoji_test):
        codes = [code for code in codes if code != VARIATION_16]
        path = os.path.join(png_dir, "emoji_u" + "_".join(f"{code:04x}" for code in codes) + ".png")
        if os.path.exists(path):
            these = keywords.get("".join(map(chr, codes)), [])
            emojis.append(Emoji(name, these, share, read_picture(path, side)))
    return emojis


def make_vocab(emojis):
    """Index 0 is the null token; the words of all names and keywords follow in order."""
    words = set()
    for emoji in emojis:
        words.update(words_of(" ".join([emoji.name] + emoji.keywords)))
    return ["<null>"] + sorted(words)


class Captions:
    """Draws captions: 10 % null, 45 % name, 30 % name and 0 to 3 keywords, 15 % 1 to 4 words."""

    def __init__(self, emojis, vocab):
        index = {word: token for token, word in enumerate(vocab)}

        def encode(text):
            return [index[word] for word in words_of(text)]

        self.names = [encode(emoji.name) for emoji in emojis]
        self.keywords = [[encode(word) for word in emoji.keywords] for emoji in emojis]
        self.words = [
            sorted(set(name).union(*keywords)) for name, keywords in zip(self.names, self.keywords)
        ]

    def draw(self, which, rng):
        kind = rng.random()
        if kind < 0.10:
            return [0]
        if kind < 0.55:
            tokens = self.names[which]
        elif kind < 0.85:
            tokens = list(self.names[which])
            count = min(int(rng.integers(0, 4)), len(self.keywords[which]))
            for pick in rng.permutation(len(self.keywords[which]))[:count]:
                tokens += self.keywords[which][pick]
        else:
            count = min(int(rng.integers(1, 5)), len(self.words[which]))
            tokens = [self.words[which][i] for i in rng.permutation(len(self.words[which]))[:count]]
        return tokens[:CAPTION_TOKENS_MAX] or [0]


CAPTION_TOKENS_MAX = 16


class Batches:
    """An endless stream of shuffled batches; the state of `rng` is the whole state."""

    def __init__(self, emojis, vocab, size, rng):
        self.pictures = np.stack([emoji.picture for emoji in emojis])
        self.shares = np.array([emoji.share for emoji in emojis])
        self.captions = Captions(emojis, vocab)
        self.size, self.rng, self.order = size, rng, np.empty(0, dtype=np.int64)

    def next(self):
        """Pictures in [-1, 1], tokens and mean weights, padded to one fixed width."""
        while len(self.order) < self.size:
            drawn = np.flatnonzero(self.rng.random(len(self.shares)) < self.shares)
            self.order = np.concatenate([self.order, self.rng.permutation(drawn)])
        chosen, self.order = self.order[: self.size], self.order[self.size :]
        pictures = self.pictures[chosen].astype(np.float32) / 127.5 - 1
        for row in np.flatnonzero(self.rng.random(self.size) < 0.2):
            pictures[row] = shifted(pictures[row], *self.rng.integers(-1, 2, 2))
        tokens = np.zeros((self.size, CAPTION_TOKENS_MAX), dtype=np.int64)
        weights = np.zeros((self.size, CAPTION_TOKENS_MAX), dtype=np.float32)
        for row, which in enumerate(chosen):
            these = self.captions.draw(which, self.rng)
            tokens[row, : len(these)] = these
            weights[row, : len(these)] = 1 / len(these)
        return pictures, tokens, weights


def shifted(picture, dy, dx):
    """Moves a picture by a pixel; white comes in at the edge."""
    grown = np.pad(picture, ((0, 0), (1, 1), (1, 1)), constant_values=1.0)
    side = picture.shape[1]
    return grown[:, 1 + dy : 1 + dy + side, 1 + dx : 1 + dx + side]
