"""Networks by name: `build_network("compact")` looks in `models/compact.py`.

A new file in this folder is a new network; nothing has to be registered.
"""

from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import Any

from fer_keras.common.constraints import checked_options
from fer_keras.common.errors import ConfigError
from fer_keras.common.installed import require_keras
from fer_keras.common.plugins import find_plugins, load_plugin

__all__ = ["build_network", "list_networks", "network_module"]

# A clip of two frames would read like a pair.
MIN_CLIP_FRAMES = 3


def list_networks(pattern: str = "*") -> tuple[str, ...]:
    """Lists the networks that `build_network` knows.

    Args:
        pattern: Shell-style pattern, for instance `"vgg*"`.

    Returns:
        The names in alphabetical order.
    """
    names = find_plugins(Path(__file__).parent, "build")
    return tuple(name for name in names if fnmatch(name, pattern))


def build_network(
    name: str,
    image_shape: Sequence[int] = (48, 48, 1),
    num_classes: int = 8,
    **options: Any,
) -> Any:
    """Builds an untrained network.

    Args:
        name: One of `list_networks()`, or the path of a `.py` file of one's own.
        image_shape: `(height, width, channels)` of the pictures; channels 1 or 3. For a network
            that reads pairs `(2, height, width, channels)`, for one that reads clips
            `(frames, height, width, channels)`, 3 frames or more.
        num_classes: Number of classes, at least 2.
        **options: Keyword options of the network's `build`, described in its module.

    Returns:
        A functional `keras.Model`: raw pixels `(batch, height, width, channels)` in 0..255 in, or
        `(batch, 2, height, width, channels)` for pairs, `(batch, frames, height, width, channels)`
        for clips, a dict of named outputs out. `logits` `(batch, num_classes)` is always there,
        `embedding` `(batch, d)` and `features` `(batch, h, w, c)` where the network has them, for
        clips also `frame_logits` `(batch, frames, num_classes)` and `frame_mask`
        `(batch, frames)`.

    Raises:
        ConfigError: If the name, the shape, the number of classes or an option is not usable, or
            Keras is not installed.
    """
    require_keras("build_network")
    module = network_module(name)
    build: Callable[..., Any] = module.build
    shape = _checked_shape(name, image_shape, getattr(module, "INPUT_KIND", "image"))
    if not _is_int(num_classes) or num_classes < 2:
        raise ConfigError(
            f"Invalid value for `num_classes`. Expected an integer >= 2. Received: "
            f"num_classes={num_classes!r}"
        )
    return build(shape, int(num_classes), **checked_options(build, options, f"Network {name!r}"))


def network_module(name: str) -> ModuleType:
    """The module of a network.

    Args:
        name: One of `list_networks()`, or the path of a `.py` file of one's own with a `build`.

    Raises:
        ConfigError: No such network, or a file that cannot be used.
    """
    return load_plugin(name, __name__, Path(__file__).parent, "build", "network")


def _checked_shape(name: str, image_shape: Sequence[int], kind: str) -> tuple[int, ...]:
    """The shape of one picture, for networks that read clips that of a clip."""
    shape = tuple(image_shape) if isinstance(image_shape, Sequence) else ()
    picture = shape[1:] if len(shape) == 4 else shape
    valid = (
        len(picture) == 3
        and all(_is_int(side) and side > 0 for side in shape)
        and picture[2] in (1, 3)
    )
    if not valid:
        raise ConfigError(
            "Invalid value for `image_shape`. Expected (height, width, channels) with positive "
            f"integers and 1 or 3 channels. Received: image_shape={image_shape!r}"
        )
    received = "image" if len(shape) == 3 else "pair" if shape[0] == 2 else "clip"
    if received != kind or (received == "clip" and shape[0] < MIN_CLIP_FRAMES):
        given = {
            "image": "single pictures",
            "pair": "pairs of a neutral and a target face, image_shape (2, height, width, "
            "channels)",
            "clip": "clips, image_shape (frames, height, width, channels) with "
            f"{MIN_CLIP_FRAMES} frames or more",
        }
        mend = {
            "image": "dataset.neutral=none and dataset.clip_frames=0",
            "pair": "dataset.neutral=auto and dataset.clip_frames=0",
            "clip": "dataset.clip_frames=12 and dataset.neutral=none",
        }
        raise ConfigError(
            f"Network {name!r} reads {given[kind]}. Received: {image_shape!r}. Mend: {mend[kind]}"
        )
    return tuple(int(side) for side in (shape if kind == "clip" else picture))


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
