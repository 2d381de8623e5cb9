"""Lets `keras.models.load_model` find the layers of this package after `import fer_keras` alone.

Keras looks a layer up by its registered name, and a layer is registered when its module runs. To
run them all would import Keras with `import fer_keras`, which the runtime does without. So Keras
gets stand-ins, as soon as it is imported: each imports its module when a file asks for the layer.
"""

import importlib
import importlib.abc
import importlib.machinery
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_PACKAGE = Path(__file__).parents[1]
_ROOMS = ("models", "methods")
_REGISTERED = re.compile(
    r'^@keras\.saving\.register_keras_serializable\(package="fer_keras"\)\nclass (\w+)', re.M
)


class StandIn:
    """Takes the place of a layer's class until a file needs it.

    Args:
        module: Where the class is defined.
        name: The class.
    """

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    def from_config(self, config: dict[str, Any]) -> Any:
        """The layer, of its own class; see Keras' `from_config`.

        Args:
            config: Of the layer.
        """
        # The module registers the class itself in the place of this object.
        return getattr(importlib.import_module(self.module), self.name).from_config(config)


def own_layers() -> dict[str, StandIn]:
    """The layers that files of this package may hold, by registered name; nothing is imported."""
    found = {}
    for room in _ROOMS:
        for path in sorted((_PACKAGE / room).glob("*.py")):
            for name in _REGISTERED.findall(path.read_text(encoding="utf-8")):
                found[f"fer_keras>{name}"] = StandIn(f"fer_keras.{room}.{path.stem}", name)
    return found


def register_when_imported() -> None:
    """Registers the layers with Keras: now where it is imported already, else when it is."""
    if "keras" in sys.modules:
        _register(sys.modules["keras"])
    elif not any(isinstance(finder, _KerasFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _KerasFinder())


def _register(keras: ModuleType) -> None:
    saving: Any = getattr(keras, "saving", None)
    # A Keras that is too old, or is being imported just now, is no reason to fail here.
    if hasattr(saving, "get_custom_objects"):
        known = saving.get_custom_objects()
        for name, stand_in in own_layers().items():
            known.setdefault(name, stand_in)


class _KerasFinder(importlib.abc.MetaPathFinder):
    """Finds Keras where Python does, and registers the layers once its module has run."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of Keras; of no other module."""
        if fullname != "keras":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        loader = None if spec is None else spec.loader
        if loader is None:
            return None
        run = loader.exec_module

        def run_and_register(module: ModuleType) -> None:
            run(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            _register(module)

        loader.exec_module = run_and_register  # type: ignore[method-assign]
        return spec
