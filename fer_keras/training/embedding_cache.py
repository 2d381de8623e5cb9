"""Embeddings of a frozen encoder, worked out once: to train what reads them then takes seconds.

A file of the cache is named by everything its numbers depend on: the encoder's configuration and
weights, the pixels, the augmentation with its seed, backend and version of Keras. So nothing stale
is ever read, and two experiments that differ in the head, or in which neutral face stands beside
which picture, share one file.
"""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from fer_keras.common.errors import ConfigError
from fer_keras.common.files import atomic_path
from fer_keras.config import Experiment
from fer_keras.data.augmentation.policies import mixes_pictures
from fer_keras.data.gathered import GatheredImages
from fer_keras.data.prepared import cache_folder
from fer_keras.data.samples import Samples
from fer_keras.data.views import block_augmenter
from fer_keras.models.layers import FrozenEncoder

# Pictures of one call of the encoder.
_BLOCK = 256


def feed_embeddings(
    method: Any, train: Samples, validation: Samples, experiment: Experiment
) -> tuple[Samples, Samples]:
    """Makes a method train from embeddings what stands behind the network's frozen encoder.

    Args:
        method: Its network starts with a `FrozenEncoder`; from now on it is fed embeddings. The
            network itself stays whole: it is what is saved and evaluated.
        train: Training pictures.
        validation: Validation pictures.
        experiment: `training.cached_embeddings` says how often each training picture is encoded,
            augmented anew by `augmentation`; one pass then has so many times as many steps.

    Returns:
        Both splits with embeddings in the place of pictures.

    Raises:
        ConfigError: The network has no frozen encoder, or the method needs the pictures.
    """
    copies, policy = experiment.training.cached_embeddings, experiment.augmentation
    if "teacher" in experiment.method.options or method.needs_rows:
        raise ConfigError(
            f"training.cached_embeddings: the method {experiment.method.name} needs the pictures. "
            "Set it to 0."
        )
    if mixes_pictures(policy):
        raise ConfigError(
            f"training.cached_embeddings: augmentation={policy!r} mixes targets with the pictures, "
            "embeddings are of pictures alone. Set it to 0."
        )
    if copies > 1 and policy == "none":
        raise ConfigError(
            f"training.cached_embeddings={copies}: without augmentation all copies are the same. "
            "Expected 1."
        )
    entrance = frozen_entrance(method.network)
    method.fed = keras.Model(entrance.output, method.network.output, name="behind_the_encoder")
    encoder = entrance.encoder
    parts = [
        embed_samples(train, encoder, augmentation=policy, seed=[experiment.seed, copy])
        for copy in range(copies)
    ]
    return _joined(parts), embed_samples(validation, encoder)


def frozen_entrance(network: Any) -> Any:
    """The `FrozenEncoder` through which all that a network reads must pass.

    Args:
        network: Functional network.

    Returns:
        The layer.

    Raises:
        ConfigError: It does not start with one.
    """
    consumers = [
        node.operation
        for operation in network.operations
        for node in operation._inbound_nodes
        if any(tensor is network.inputs[0] for tensor in node.input_tensors)
    ]
    if len(consumers) != 1 or not isinstance(consumers[0], FrozenEncoder):
        raise ConfigError(
            f"training.cached_embeddings: expected a network that starts with a frozen encoder, "
            f"such as difference_of_embeddings. Received: {network.name!r}. Set it to 0."
        )
    return consumers[0]


def embed_samples(
    samples: Samples,
    encoder: Any,
    *,
    augmentation: str = "none",
    seed: list[int] | None = None,
    cache_dir: Path | None = None,
) -> Samples:
    """A split with embeddings in the place of its pictures.

    Args:
        samples: Pictures, or pairs of them.
        encoder: `keras.Model` from pictures to vectors `(batch, d)`.
        augmentation: A policy of `fer_keras.data.augmentation.policies` that every picture passes
        first.
        seed: Two numbers that seed it.
        cache_dir: In place of `$FER_KERAS_CACHE`.

    Returns:
        The samples with `images` float32 `(n, d)`, of pairs `(n, 2, d)`, which are read like an
        array from a file of the cache.
    """
    cache = _Cache(encoder, augmentation, seed or [0, 0], cache_folder(cache_dir) / "embeddings")
    images = samples.images
    if not isinstance(images, GatheredImages):
        return _with_vectors(samples, cache.embed(images))
    ends = np.cumsum([len(source) for source in images.sources])
    sources = []
    for source, end in zip(images.sources, ends.tolist(), strict=True):
        used = bool(((images.rows >= end - len(source)) & (images.rows < end)).any())
        # Rows that nobody reads need no embedding.
        width = encoder.output.shape[-1]
        unread = np.broadcast_to(np.zeros(width, np.float32), (len(source), width))
        sources.append(cache.embed(source) if used else unread)
    return _with_vectors(samples, GatheredImages(sources, images.rows).as_array())


def _with_vectors(samples: Samples, vectors: np.ndarray) -> Samples:
    return replace(samples, images=vectors, fingerprint=f"{samples.fingerprint}:embeddings")


def _joined(parts: list[Samples]) -> Samples:
    """Several encodings of one split, one after the other."""
    first = parts[0]
    if len(parts) == 1:
        return first
    facts = {name: np.concatenate([values] * len(parts)) for name, values in first.facts.items()}
    vectors = np.concatenate([part.images[:] for part in parts])
    targets = np.concatenate([first.targets] * len(parts))
    return replace(first, images=vectors, targets=targets, facts=facts)


class _Cache:
    """The files of one encoder and one augmentation."""

    def __init__(self, encoder: Any, augmentation: str, seed: list[int], folder: Path) -> None:
        digest = hashlib.sha256(json.dumps(encoder.get_config(), default=str).encode())
        for variable in encoder.variables:
            digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)).tobytes())
        how = [augmentation, *(seed if augmentation != "none" else [])]
        digest.update(json.dumps([*how, keras.__version__, keras.backend.backend()]).encode())
        self._encoder, self._digest, self._folder = encoder, digest, folder
        self._augmentation, self._seed = augmentation, seed

    def embed(self, pictures: np.ndarray) -> np.ndarray:
        """`(n, d)` float32 of `(n, height, width, channels)`, from the cache where it is there."""
        digest = self._digest.copy()
        digest.update(json.dumps(pictures.shape).encode())
        for start in range(0, len(pictures), _BLOCK):
            digest.update(np.ascontiguousarray(pictures[start : start + _BLOCK]).tobytes())
        path = self._folder / f"{digest.hexdigest()}.npy"
        if not path.is_file():
            self._folder.mkdir(parents=True, exist_ok=True)
            vectors = self._encode(pictures)
            with atomic_path(path) as temporary:
                np.save(temporary, vectors, allow_pickle=False)
        # As an array of its own class; a memory map is one, but says so to nobody.
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))

    def _encode(self, pictures: np.ndarray) -> np.ndarray:
        change = block_augmenter(self._augmentation, pictures.shape[1:], self._seed)
        vectors = np.empty((len(pictures), self._encoder.output.shape[-1]), np.float32)
        starts = range(0, len(pictures), _BLOCK)
        for start in tqdm(starts, desc="encoding", leave=False, disable=not sys.stderr.isatty()):
            block = change(np.asarray(pictures[start : start + _BLOCK], np.float32), start)
            count = len(block)
            if count < _BLOCK and start:
                # One shape for all calls: a second one would compile the graph again.
                filler = np.zeros((_BLOCK - count, *block.shape[1:]), np.float32)
                block = np.concatenate([block, filler])
            vectors[start : start + count] = self._encoder.predict_on_batch(block)[:count]
        return vectors
