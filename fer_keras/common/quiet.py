"""Loads TensorFlow and Keras without the log lines that TensorFlow prints before it can be told."""

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from fer_keras.common.progress import progress

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
# Information and warnings of absl, and what it says of itself. Errors pass.
_LOG_LINE = r"^([IW][0-9]{4} |WARNING: All log messages before absl::InitializeLog)"


def load_keras() -> None:
    """Imports Keras and TensorFlow, which takes seconds: with a bar, and without log lines.

    Whoever has set `TF_CPP_MIN_LOG_LEVEL` gets the lines they asked for.
    """
    if "keras" in sys.modules:
        return
    unasked = _LEVEL not in os.environ
    os.environ.setdefault(_LEVEL, "3")
    # Else it depends on the processor, and with it the last digits of every figure.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with progress("loading Keras"), _filtered_stderr() if unasked else nullcontext():
        importlib.import_module("keras")


@contextmanager
def _filtered_stderr() -> Iterator[None]:
    """Standard error without TensorFlow's log lines; unchanged where there is no grep."""
    grep = shutil.which("grep")
    if grep is None:
        yield
        return
    sys.stderr.flush()
    unfiltered = os.dup(2)
    # A process of its own: what TensorFlow says before it ends this one is not lost.
    command = [grep, "-a", "-v", "-E", "--line-buffered", _LOG_LINE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=unfiltered) as filtering:
        os.dup2(filtering.stdin.fileno(), 2)  # type: ignore[union-attr]
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(unfiltered, 2)
            os.close(unfiltered)
            filtering.stdin.close()  # type: ignore[union-attr]
