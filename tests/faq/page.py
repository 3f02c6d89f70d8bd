"""docs/faq.md as the tests read it: its questions, and of each the block of what programs print.

A block is compared with what the same commands print today, without what differs from one run to
the next: moments, job numbers, addresses, and amounts that were measured. These are checked by their
arithmetic instead (test_faq.py). Where a terminal breaks a line depends on how long the numbers in it
are, so lines are those of the sentences. GPUPOOL_FAQ_REWRITE=1 writes what is printed today into
the page.
"""

import difflib
import os
import pathlib
import re
import shlex

import pool

PAGE = pool.SOURCE / "docs" / "faq.md"
REWRITES = os.environ.get("GPUPOOL_FAQ_REWRITE") == "1"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
AMOUNT = r"\d+\.\d+ s"
# What differs from one run to the next, in this order, and what stands for it.
VARIES = [
    (UUID, "<request>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<moment>"),
    (r"\b\d\d:\d\d:\d\d UTC", "<time> UTC"),
    (r"\bin \d+:\d\d:\d\d", "in <span>"),
    (r"tcp://[\w.*:]+", "<endpoint>"),
    (r"\b\d+\.\d+\.\d+\+[\w.]+", "<build>"),
    (r"[█▒░]{10,}", "<bar>"),
    (r"\bdevices \d, \d", "devices <n>, <n>"),
    (r"\bjob \d+", "job <job>"),
    (r"\d+ <moment>", "<job> <moment>"),  # in a table of receipts
    (r"(\.\d)0+ s\b", r"\1 s"),  # more digits where others beside it need them
    (rf"\b(ran|charged|waited|took|succeeded|failed|receipts?:) {AMOUNT}", r"\1 <s>"),
    (rf"{AMOUNT} (given back|left|used)\b", r"<s> \1"),
    (r"\bdeclare \d+ s and \d+ more fits?\b", "declare <n> s and <n> more fit"),
]


class Question:
    """A heading, its words, and the commands and output below it."""

    def __init__(self, heading, body):
        self.heading = heading
        self.slug = re.sub(r"[^a-z0-9]+", "_", heading.lower()).strip("_")
        # Outside of fences, inside of them, and so on; a fence's first line says what is in it.
        parts = re.split(r"(?m)^```", body)
        self.words = "".join(parts[::2]).strip()
        kinds = [part.split("\n", 1) for part in parts[1::2]]
        self.settings = [text for kind, text in kinds if kind == "toml"]
        self.blocks = [text for kind, text in kinds if kind == ""]

    @property
    def commands(self):
        return [line[2:] for line in self.blocks[0].splitlines() if line.startswith("$ ")]

    def outputs(self):
        """Below each command."""
        return [part.partition("\n")[2] for part in ("\n" + self.blocks[0]).split("\n$ ")[1:]]

    def play(self, faq, token=None, varies=()):
        """Carries out the commands as they stand there, with the request id that was told before, and
        compares what they say. `varies`: patterns of what else is measured here. Returns what was
        said, by command."""
        said = []
        for command in self.commands:
            words = shlex.split(command)
            assert words[0] == "gpupool", command
            known = re.findall(UUID, "".join(said))
            if known:
                words = [re.sub(UUID, known[-1], word) for word in words]
            said.append(faq.run(*words[1:], token=token).stdout)
        if REWRITES:
            self.rewrite(said)
        else:
            for one in zip(self.commands, said, self.outputs(), strict=True):
                self.compare(*one, varies)
        return said

    def compare(self, command, printed, page, varies):
        today, promised = (normalised(text, varies) for text in (printed, page))
        if today == promised:
            return
        lines = difflib.unified_diff(promised.split("\n"), today.split("\n"), "docs/faq.md",
                                     "today", lineterm="")
        raise AssertionError(
            "\n".join((self.heading, f"$ {command}", *lines, "It printed:", printed,
                       "If that is right: GPUPOOL_FAQ_REWRITE=1 tests/faq/test_faq.py")))

    def rewrite(self, said):
        known = re.findall(UUID, "".join(said))
        parts = []
        for command, printed in zip(self.commands, said, strict=True):
            command = re.sub(UUID, known[-1], command) if known else command
            printed = re.sub(r"tcp://127\.0\.0\.1:\d+", "tcp://127.0.0.1:7400", printed)
            parts.append(f"$ {command}\n{printed.replace('.dirty', '')}")
        text = PAGE.read_text()
        begin = text.index(f"## {self.heading}\n")
        old = text.index(self.blocks[0], begin)
        PAGE.write_text(text[:old] + "".join(parts) + text[old + len(self.blocks[0]):])


def normalised(text, varies=()):
    """Without what varies, in lines that end where parts of sentences do."""
    text = " ".join(text.split())
    for pattern, word in (*((one, "<n>") for one in varies), *VARIES):
        text = re.sub(pattern, word, text)
    return re.sub(r"([;:.,]) ", r"\1\n", text)


def questions():
    text = PAGE.read_text()
    parts = re.split(r"(?m)^## (.+)$", text)[1:]
    return [Question(*one) for one in zip(parts[::2], parts[1::2], strict=True)]
