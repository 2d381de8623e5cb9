"""Keeps the log lines away that TensorFlow and LiteRT print before they can be told otherwise."""

import gc
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import ModuleType
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
    unused: tuple[str, ...] = ("matplotlib", "sklearn", "pandas", "IPython")
    if os.environ.get("KERAS_BACKEND") != "jax":
        unused += ("jax",)
    _load("keras", "loading Keras", without=unused)
    tensorflow = sys.modules.get("tensorflow")
    parts = f"{sys.modules['keras'].__path__[0]}/_tf_keras"
    if tensorflow is not None and parts not in getattr(tensorflow, "__path__", [parts]):
        # Keras was hidden when TensorFlow looked for it; keras-cv imports tensorflow.keras.
        tensorflow.__path__.insert(0, parts)


def load_tensorflow() -> None:
    """As `load_keras`, for what reads data before a backend is chosen.

    TensorFlow would load Keras too, whose backend is then fixed, JAX for its converter, and SciPy
    for a data adapter of its own old Keras.
    """
    _load("tensorflow", "loading TensorFlow", without=("jax", "keras", "scipy"))


@contextmanager
def only_steps(*, compiled: bool) -> Iterator[None]:
    """Loads Keras, and in the block other modules, for a process that does nothing but take steps.

    Beside JAX and PyTorch TensorFlow is then loaded only when something uses it, and PyTorch comes
    without its compiler.

    Args:
        compiled: Whether PyTorch's compiler will be used.
    """
    if "keras" in sys.modules:
        yield
        return
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend == "tensorflow":
        load_tensorflow()
        load_keras()
        yield
        return
    stand_ins: dict[str, Any] = {}
    if "tensorflow" not in sys.modules:
        stand_ins["tensorflow"] = _LoadedWhenUsed("tensorflow")
    if backend == "torch" and not compiled and "torch._dynamo" not in sys.modules:
        # Keras keeps two functions from the compiler, which it loads for that.
        compiler = stand_ins["torch._dynamo"] = ModuleType("torch._dynamo")
        compiler.disable = lambda: lambda function: function  # type: ignore[attr-defined]
    with _replaced(stand_ins):
        load_keras()
        yield


class _LoadedWhenUsed(ModuleType):
    """Stands for a module that is imported when something of it is used."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = importlib.util.find_spec(name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def _load(package: str, what: str, without: tuple[str, ...]) -> None:
    if package in sys.modules:
        return
    unasked = os.environ.get(_LEVEL, _QUIET) == _QUIET
    os.environ.setdefault(_LEVEL, _QUIET)
    # Else it depends on the processor, and with it the last digits of every figure.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    quiet = without_log_lines() if unasked else nullcontext()
    with progress(what), quiet, _hidden(without), _uncollected():
        importlib.import_module(package)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for garbage while modules load, which make little of it; nor in them later on."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


def _hidden(packages: tuple[str, ...]) -> AbstractContextManager[None]:
    """Packages that are not imported for a while, as if they were not installed.

    Those that are loaded already stay.
    """
    return _replaced({name: None for name in packages if name not in sys.modules})


@contextmanager
def _replaced(modules: dict[str, Any]) -> Iterator[None]:
    """Modules in whose place an import gets something else for a while."""
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in modules.items():
            if name in sys.modules and sys.modules[name] is module:
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
