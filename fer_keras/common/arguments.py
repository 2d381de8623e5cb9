"""Argument types that the commands share; the messages are those that argparse prints."""

import argparse
import math
import re
from collections.abc import Sequence


def positive(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, received {text!r}")
    return int(text)


# Smaller faces no detector finds.
LEAST_MIN_FACE = 12


def face_pixels(text: str) -> int:
    """The side of a face in pixels, from `LEAST_MIN_FACE`."""
    if not text.isdecimal() or int(text) < LEAST_MIN_FACE:
        raise argparse.ArgumentTypeError(
            f"expected a whole number from {LEAST_MIN_FACE}, received {text!r}"
        )
    return int(text)


def share(text: str) -> float:
    """A number in 0..1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    # Written so that NaN fails.
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number in 0..1, received {text!r}")
    return value


def add_min_quality(parser: argparse.ArgumentParser) -> None:
    """Add `--min-quality` (see `fer_keras.runtime.faces.look.quality`)."""
    parser.add_argument(
        "--min-quality",
        type=share,
        default=0.0,
        metavar="Q",
        help="leave out faces of a lower quality, 0..1: small, blurred, turned away or cut by the "
        "border (default: 0)",
    )


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


def add_prior(parser: argparse.ArgumentParser) -> None:
    """Add `--prior` and `--labels` (see `fer_keras.common.prior`); read them by `words`."""
    parser.add_argument(
        "--prior",
        nargs="+",
        metavar="PRIOR",
        help="how frequent each emotion is where you look: training (the model as it is), "
        "balanced:TAU with TAU in 0..1, uniform (balanced:1), or shares such as happiness=0.3 "
        "neutral=0.6; default: the model's own choice (default_prior in its manifest)",
    )
    parser.add_argument(
        "--labels",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="keep only these emotions, two or more: --labels anger,happiness",
    )


def words(given: Sequence[str]) -> list[str]:
    """The words of an option, whether spaces or commas separate them."""
    return [word for text in given for word in text.split(",") if word]
