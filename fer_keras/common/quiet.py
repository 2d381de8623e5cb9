"""Keeps the log lines away that TensorFlow and LiteRT print before they can be told otherwise."""

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from fer_keras.common.progress import progress

_LEVEL, _QUIET = "TF_CPP_MIN_LOG_LEVEL", "3"
# Information and warnings of absl, and what they say of themselves. Errors pass.
_LOG_LINE = (
    r"^([IW][0-9]{4} |WARNING: All log messages before absl::InitializeLog"
    r"|INFO: Created TensorFlow Lite)"
)


def load_keras() -> None:
    """Imports Keras with its backend, which takes seconds: with a bar, and without log lines.

    Whoever has set `TF_CPP_MIN_LOG_LEVEL` gets the lines they asked for.
    """
    # Keras has wrappers and galleries for them, which no command uses; they load for seconds.
    _load("keras", "loading Keras", without=("matplotlib", "sklearn"))


def load_tensorflow() -> None:
    """As `load_keras`, for what reads data before a backend is chosen.

    TensorFlow would load Keras too, whose backend is then fixed, and JAX for its converter.
    """
    _load("tensorflow", "loading TensorFlow", without=("jax", "keras"))


def _load(package: str, what: str, without: tuple[str, ...]) -> None:
    if package in sys.modules:
        return
    unasked = os.environ.get(_LEVEL, _QUIET) == _QUIET
    os.environ.setdefault(_LEVEL, _QUIET)
    # Else it depends on the processor, and with it the last digits of every figure.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    quiet = without_log_lines() if unasked else nullcontext()
    with progress(what), quiet, _hidden(without):
        importlib.import_module(package)


@contextmanager
def _hidden(packages: tuple[str, ...]) -> Iterator[None]:
    """Packages that are not imported for a while, as if they were not installed.

    Those that are loaded already stay.
    """
    absent: dict[str, Any] = {name: None for name in packages if name not in sys.modules}
    sys.modules.update(absent)
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


@contextmanager
def without_log_lines() -> Iterator[None]:
    """Standard error without TensorFlow's log lines; unchanged where there is no grep."""
    grep = shutil.which("grep")
    if grep is None:
        yield
        return
    sys.stderr.flush()
    unfiltered = os.dup(2)
    # A process of its own: what TensorFlow says before it ends this one is not lost.
    command = [grep, "-a", "-v", "-E", "--line-buffered", _LOG_LINE]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=unfiltered, start_new_session=True
    ) as filtering:
        os.dup2(filtering.stdin.fileno(), 2)  # type: ignore[union-attr]
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(unfiltered, 2)
            os.close(unfiltered)
            filtering.stdin.close()  # type: ignore[union-attr]
