"""A program in a pseudo-terminal of 80 x 24, and the screen that a person would see."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

import pyte

GIVE_UP_S = 30


class Terminal:
    def __init__(self, words, env, rows=24, columns=80):
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.bytes = b""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.descriptor = ours
        self.process = subprocess.Popen(
            [str(word) for word in words], stdin=theirs, stdout=theirs, stderr=theirs,
            env={"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8"} | env,
            start_new_session=True)
        os.close(theirs)

    def press(self, keys):
        os.write(self.descriptor, keys.encode())

    def look(self):
        """Reads what there is; False once the program has closed its end."""
        if not select.select([self.descriptor], [], [], 0.1)[0]:
            return True
        try:
            piece = os.read(self.descriptor, 65_536)
        except OSError:
            return False
        self.bytes += piece
        self.stream.feed(piece)
        return bool(piece)

    @property
    def lines(self):
        return [line.rstrip() for line in self.screen.display]

    @property
    def text(self):
        return "\n".join(self.lines)

    def wait_for(self, condition, what):
        """Until the screen is as wanted: a text that it has, or a function of this terminal."""
        wanted = condition if callable(condition) else lambda me: condition in me.text
        give_up = time.monotonic() + GIVE_UP_S
        while time.monotonic() < give_up:
            if wanted(self):
                return self
            if not self.look():
                break
        raise AssertionError(f"{what}: not on the screen\n{self.text}")

    def end(self):
        """How the program ended, once it has."""
        give_up = time.monotonic() + GIVE_UP_S
        while self.look() and time.monotonic() < give_up:
            pass
        code = self.process.wait(GIVE_UP_S)
        os.close(self.descriptor)
        return code

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            os.close(self.descriptor)
