"""Small TFLite models whose answers can be told from the picture, for the tests of the runtime."""

import functools
import hashlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Grey 24 x 24: bright -> happiness, dark -> sadness, left half brighter than right -> surprise.
# The pair model says the same of the face minus the neutral face.
CLASS_NAMES = ("neutral", "happiness", "surprise", "sadness")
SIDE = 24
BRIGHT, MIDDLE, DARK = (np.full((SIDE, SIDE), value, np.uint8) for value in (250, 128, 5))
LEFT = np.where(np.arange(SIDE) < SIDE // 2, 250, 5).astype(np.uint8) * np.ones((SIDE, 1), np.uint8)


def _network(channels: int, batch_size: int | None, softmax: bool) -> Any:
    import keras

    image = keras.Input((SIDE, SIDE, channels), batch_size=batch_size, dtype="float32")
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    dense = keras.layers.Dense(4, activation="softmax" if softmax else None)
    network = keras.Model(image, dense(flat))
    mean = np.full((SIDE, SIDE, channels), 1 / (SIDE * SIDE * channels), np.float32)
    left_minus_right = mean * np.where(np.arange(SIDE) < SIDE // 2, 2, -2)[None, :, None]
    kernel = np.stack([0 * mean, 20 * mean, 20 * left_minus_right, -20 * mean], axis=-1)
    dense.set_weights([kernel.reshape(-1, 4), np.array([0, -12, -6, 8], np.float32)])
    return network


def _pair_network() -> Any:
    import keras

    pair = keras.Input((2, SIDE, SIDE, 1), dtype="float32")
    scaled = keras.layers.Rescaling(1 / 255)(pair)
    difference = keras.layers.Subtract()([scaled[:, 1], scaled[:, 0]])
    dense = keras.layers.Dense(4, activation="softmax")
    network = keras.Model(pair, dense(keras.layers.Flatten()(difference)))
    mean = np.full((SIDE, SIDE), 1 / SIDE**2, np.float32)
    left_minus_right = mean * np.where(np.arange(SIDE) < SIDE // 2, 2, -2)
    kernel = np.stack([0 * mean, 20 * mean, 20 * left_minus_right, -20 * mean], axis=-1)
    dense.set_weights([kernel.reshape(-1, 4), np.array([0, -6, -6, -6], np.float32)])
    return network


@functools.cache
def tflite(
    kind: str = "float32",
    channels: int = 1,
    batch_size: int | None = None,
    softmax: bool = True,
) -> bytes:
    """The model as LiteRT reads it.

    kind is "float32", "int8" (uint8 pixels in), "custom", "pair" or "pair_int8".
    """
    import tensorflow as tf

    pair = kind.startswith("pair")
    network = _pair_network() if pair else _network(channels, batch_size, softmax)
    if kind == "custom":
        import keras

        bessel = keras.layers.Lambda(lambda x: tf.math.bessel_i0e(x), output_shape=(4,))
        network = keras.Model(network.input, bessel(network.output))
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.allow_custom_ops = kind == "custom"
    if kind.endswith("int8"):
        pictures = [BRIGHT, MIDDLE, DARK, LEFT, np.full_like(DARK, 0), np.full_like(DARK, 255)]
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        inputs = [np.repeat(p[None, :, :, None], channels, 3) for p in pictures]
        if pair:
            inputs = [np.stack([first, second], axis=1) for first in inputs for second in inputs]
        converter.representative_dataset = lambda: ([x.astype(np.float32)] for x in inputs)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
    with warnings.catch_warnings():
        # Keras gives no statistics for the input; the representative pictures do.
        warnings.simplefilter("ignore")
        return bytes(converter.convert())


def write_card(path: Path, names: Sequence[str] = CLASS_NAMES, **facts: Any) -> Path:
    """The card of a bare file, beside it."""
    content = {
        "name": path.stem, "labels": list(names), "image_size": [SIDE, SIDE], "source": "here",
        "licence": "MIT", **facts,
    }  # fmt: skip
    where = path.with_name(path.stem + ".card.json")
    where.write_text(json.dumps(content))
    return where


def write_export(
    folder: Path, channels: int = 1, extra: dict[str, Any] | None = None, **models: bytes
) -> Path:
    """An export folder with a hand-written manifest and `extra` entries in it.

    models are named by precision.
    """
    folder.mkdir(parents=True, exist_ok=True)
    models = models or {"float32": tflite(channels=channels), "int8": tflite("int8", channels)}
    files = {f"model_{precision}.tflite": content for precision, content in models.items()}
    files["labels.txt"] = "".join(f"{name}\n" for name in CLASS_NAMES).encode()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    manifest = {
        "format": 1,
        "name": "tiny",
        "class_names": list(CLASS_NAMES),
        "image_size": [SIDE, SIDE],
        "channels": channels,
        "input": "raw pixels 0..255",
        "temperature": 1.0,
        "output": "probabilities",
        "precision_files": {precision: f"model_{precision}.tflite" for precision in models},
        "files": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in files.items()
        },
        "dataset": "none",
        "label_rule": "hard",
        **(extra or {}),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def write_pair_export(folder: Path) -> Path:
    """An export folder of the pair model, float32 and int8."""
    models = {"float32": tflite("pair"), "int8": tflite("pair_int8")}
    return write_export(folder, extra={"input_kind": "pair"}, **models)
