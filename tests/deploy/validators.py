"""The checkers that Debian does not have, from PyPI, in an environment inside the build folder. Made
once; made anew when the pins change. Without a network: None, and the reason is printed."""

import pathlib

import pool

PINS = pathlib.Path(__file__).with_name("requirements.txt")


def environment():
    """The folder of its programs, or None where there is no way to get them."""
    found = pool.packages("deploy-validators", PINS)
    return found and found.parent
