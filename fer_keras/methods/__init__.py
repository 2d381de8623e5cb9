"""How a network is trained: one method, one file, found by name.

A method file has `build(network, class_names, *, ...) -> Method`; its keyword-only parameters are
the method's options. A new file in this folder is a new method, nothing else has to be touched.
"""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fer_keras.common.constraints import checked_options
from fer_keras.common.installed import require_keras
from fer_keras.common.plugins import find_plugins, load_plugin
from fer_keras.models.graphs import named_network

if TYPE_CHECKING:
    import keras

    from fer_keras.methods.base import Method

__all__ = ["build_method", "list_methods", "method_module"]


def list_methods() -> tuple[str, ...]:
    """The names of all methods, sorted: the files of this folder, without importing them."""
    return tuple(find_plugins(Path(__file__).parent, "build"))


def method_module(name: str) -> ModuleType:
    """The module of a method.

    Args:
        name: One of `list_methods()`, or the path of a `.py` file of one's own with a `build`.

    Raises:
        ConfigError: No such method, or a file that cannot be used.
    """
    return load_plugin(name, __name__, Path(__file__).parent, "build", "method")


def build_method(
    name: str, network: "keras.Model", class_names: Sequence[str], /, **options: Any
) -> "Method":
    """Wraps a network in the training method of that name.

    Args:
        name: One of `list_methods()`, or the path of a `.py` file of one's own.
        network: Functional network with a dict of named outputs; `logits` `(batch, classes)` is
            always among them. A plain one of `fer_keras.build_model` stands for all outputs that it
            was built with.
        class_names: The ordered names of the classes, as in `logits` and in the targets.
        **options: The keyword-only parameters of the method's `build`.

    Returns:
        The method, ready for `compile(optimizer=...)` and `fit`.

    Raises:
        ConfigError: Unknown method or option, or an output that the network does not have.
    """
    require_keras("build_method")
    build = method_module(name).build
    options = checked_options(build, options, f"Method {name!r}")
    method: Method = build(named_network(network), tuple(class_names), **options)
    return method
