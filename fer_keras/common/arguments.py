"""Argument types that the commands share; the messages are those that argparse prints."""

import argparse
import math
import re


def positive(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, received {text!r}")
    return int(text)


def seconds(text: str) -> float:
    """A finite number of seconds from 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    # Written so that NaN fails.
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected seconds from 0, received {text!r}")
    return value


def rate(text: str) -> float:
    """A finite number over 0, such as frames per second."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number over 0, received {text!r}")
    return value


def every(text: str) -> tuple[int, float]:
    """Frames or seconds: "5" as `(5, 0.0)`, "0.5s" as `(1, 0.5)`."""
    if re.fullmatch(r"[0-9.]+s", text):
        return 1, rate(text[:-1])
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(
            f"expected frames, such as 5, or seconds, such as 0.5s, received {text!r}"
        )
    return positive(text), 0.0
