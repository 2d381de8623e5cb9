"""Argument types that the commands share; the messages are those that argparse prints."""

import argparse
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from fer_keras.common.errors import ConfigError

# Holds a token where no file is named.
TOKEN_VARIABLE = "FER_KERAS_TOKEN"


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


def port(text: str) -> int:
    """A port, 0..65535; 0 = a free one."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a number in 0..65535, received {text!r}")
    return int(text)


def _number(text: str, is_valid: Callable[[float], bool], expected: str) -> float:
    """A number; `is_valid` is false for NaN, as every comparison is."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not is_valid(value):
        raise argparse.ArgumentTypeError(f"expected {expected}, received {text!r}")
    return value


def share(text: str) -> float:
    """A number in 0..1."""
    return _number(text, lambda value: 0 <= value <= 1, "a number in 0..1")


def least_score(text: str) -> float:
    """A finite number from 0."""
    return _number(text, lambda value: 0 <= value < math.inf, "a number from 0")


def add_least(parser: argparse.ArgumentParser) -> None:
    """Add `--min-quality` (see `fer_keras.runtime.faces.look.quality`) and `--min-score`."""
    parser.add_argument(
        "--min-quality",
        type=share,
        default=0.0,
        metavar="Q",
        help="leave out faces of a lower quality, 0..1: small, blurred, turned away or cut by the "
        "border (default: 0)",
    )
    parser.add_argument(
        "--min-score",
        type=least_score,
        default=0.0,
        metavar="S",
        help="leave out faces of which the detector is less sure, 0..1, with haar from 0 on "
        "(default: 0)",
    )


def add_listening(group: argparse._ActionsContainer, default_port: int) -> None:
    """Add `--host`, `--port` and `--token-file`; `read_token` reads the last.

    Args:
        group: A parser or a group of one.
        default_port: Of the command.
    """
    group.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine alone")
    group.add_argument(
        "--port",
        type=port,
        default=default_port,
        metavar="N",
        help=f"0 takes a free one (default: {default_port})",
    )
    group.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="holds the token that others than this machine must show",
    )


def read_token(path: Path | None) -> str | None:
    """The token of a file, else that of the variable `TOKEN_VARIABLE`.

    Args:
        path: Of `--token-file`.

    Raises:
        ConfigError: The file cannot be read.
    """
    if path is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--token-file: cannot be read ({error}): {path}") from error


def seconds(text: str) -> float:
    """A finite number of seconds from 0."""
    return _number(text, lambda value: 0 <= value < math.inf, "seconds from 0")


def rate(text: str) -> float:
    """A finite number over 0, such as frames per second."""
    return _number(text, lambda value: 0 < value < math.inf, "a number over 0")


def milliseconds(text: str) -> float:
    """A finite number of milliseconds over 0, "33" or "33ms"."""
    return rate(text.removesuffix("ms"))


def every(text: str) -> tuple[int, float]:
    """Frames or seconds: "5" as `(5, 0.0)`, "0.5s" as `(1, 0.5)`."""
    if re.fullmatch(r"[0-9.]+s", text):
        return 1, rate(text[:-1])
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(
            f"expected frames, such as 5, or seconds, such as 0.5s, received {text!r}"
        )
    return positive(text), 0.0


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add `--engine` and `--device` (see `fer_keras.runtime.engines`)."""
    parser.add_argument(
        "--engine",
        choices=("litert", "onnx", "openvino"),
        default="litert",
        help="what runs the model; onnx and openvino need their packages and an export with "
        "--formats (default: litert)",
    )
    parser.add_argument(
        "--device",
        default="cpu",
        metavar="NAME",
        help="an accelerator by the engine's name, such as cuda (onnx) or gpu (openvino); refused "
        "where it cannot be used (default: cpu)",
    )


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


def add_published_arguments(parser: argparse.ArgumentParser, labels_of_others: str = "") -> None:
    """Add `--network`, `--labels` and `--decision`, by which authors' PyTorch files are read.

    Args:
        parser: Gets them.
        labels_of_others: What `--labels` means for other models, where it means anything.
    """
    parser.add_argument(
        "--network",
        default="",
        metavar="FAMILY",
        help="whose weights a PyTorch file holds: ddamfn, esr (its folder), manet, "
        "manet_diversified, resnet18, vgg19 (docs/published-weights.md)",
    )
    parser.add_argument(
        "--labels",
        default="",
        metavar="LABELS",
        help="the classes of a PyTorch file: the authors' order for a data set (rafdb, affectnet7, "
        "affectnet8, ferplus, fer2013, ckplus), or the names with commas between them"
        + (labels_of_others and f"; {labels_of_others}"),
    )
    parser.add_argument(
        "--decision",
        default="",
        help="how a PyTorch network answers; default: the authors' way (esr: vote, or mean; "
        "resnet18 and vgg19: ten_crop, or centre)",
    )


def check_published_arguments(
    arguments: argparse.Namespace, labels_of_others: bool = False
) -> None:
    """Refuse `--labels` and `--decision` without `--network`, and `--network` without `--labels`.

    Args:
        arguments: Of a parser with `add_published_arguments`.
        labels_of_others: Whether `--labels` has a meaning without `--network` too.

    Raises:
        ConfigError: One of them is missing.
    """
    if arguments.network and not arguments.labels:
        raise ConfigError(
            f"--network {arguments.network}: expected --labels too, the order of the classes in "
            "the file: rafdb, affectnet7, affectnet8, ferplus, fer2013 or ckplus as the authors "
            "have them, or the names with commas between them"
        )
    alone = arguments.decision or (arguments.labels and not labels_of_others)
    if alone and not arguments.network:
        raise ConfigError("--labels and --decision: expected --network, whose weights they are of")
