"""A fixed number of augmented views of every training picture, made once and kept in the cache.

What is worked out of a view once, such as the answer of a teacher, then holds for every epoch that
shows it. A view is a function of (seed, number of the view, row): pictures are augmented in blocks
of 256 rows, and a last block is filled up, so that no row depends on how many there are.
"""

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.common.files import atomic_path, locked
from fer_keras.data import augmentation as augmentation_package
from fer_keras.data.augmentation.policies import build_policy, mixes_pictures
from fer_keras.data.prepared import cache_folder
from fer_keras.data.samples import Samples

BLOCK = 256
# Another process that makes the same file is waited for; it may take hours.
_PATIENCE_S = 24 * 3600.0


@dataclass(frozen=True)
class Feed:
    """What a method is fed.

    Attributes:
        train: The training split; with several views, all rows of the first, then all of the next.
        validation: The validation split.
        augmentation: The policy that is left for the pipeline.
        views: Each pass visits the rows of one view, the next pass those of the next; after the
            last view the pictures are mirrored from one round to the next.
    """

    train: Samples
    validation: Samples
    augmentation: str
    views: int = 1


def fixed_views(
    samples: Samples, augmentation: str, *, seed: int, count: int, cache_dir: Path | None = None
) -> list[np.ndarray]:
    """The views of a split, from the cache where they are there.

    Args:
        samples: Single pictures.
        augmentation: A policy that leaves targets as they are.
        seed: The run's seed.
        count: How many views, at least 1.
        cache_dir: In place of `$FER_KERAS_CACHE`.

    Returns:
        For each view `(n, height, width, channels)` uint8, memory-mapped; without augmentation the
        pictures themselves.

    Raises:
        ConfigError: The policy mixes pictures, the samples are no single pictures, or several views
            are asked for without augmentation.
        DataError: The cache cannot be written.
    """
    if samples.images.ndim != 4:
        raise ConfigError(
            f"fixed views: expected single pictures. Received: {samples.images.shape[1:]}."
        )
    if mixes_pictures(augmentation):
        raise ConfigError(
            f"augmentation={augmentation!r} mixes targets with the pictures; fixed views are of "
            "pictures alone. Choose another, for instance augmentation=standard."
        )
    if augmentation == "none":
        if count > 1:
            raise ConfigError(
                f"{count} views without augmentation are all the same. Set views=1, or choose an "
                "augmentation, for instance augmentation=standard."
            )
        return [samples.images]
    folder = cache_folder(cache_dir) / "views"

    def make(view: int) -> np.ndarray:
        change = block_augmenter(augmentation, samples.images.shape[1:], [seed, view])
        images = samples.images
        changed = np.empty(images.shape, np.uint8)
        starts = range(0, len(images), BLOCK)
        title = f"view {view + 1}/{count}"
        for start in tqdm(starts, desc=title, leave=False, disable=not sys.stderr.isatty()):
            block = np.asarray(images[start : start + BLOCK], np.float32)
            rows = len(block)
            block = np.concatenate([block, np.zeros((BLOCK - rows, *block.shape[1:]), np.float32)])
            changed[start : start + rows] = change(block, start)[:rows]
        return changed

    name = views_digest(samples, augmentation, seed)
    return [
        stored_once(folder / f"{name}-{view}.npy", partial(make, view)) for view in range(count)
    ]


def views_digest(samples: Samples, augmentation: str, seed: int) -> str:
    """32 hexadecimal digits that change with the pictures, the policy, its program and the seed.

    Args:
        samples: What is augmented.
        augmentation: The policy.
        seed: The run's seed.
    """
    digest = hashlib.sha256()
    # A policy that is changed keeps its name.
    for path in sorted(Path(augmentation_package.__path__[0]).glob("*.py")):
        digest.update(path.read_bytes())
    digest.update(json.dumps([samples.fingerprint, augmentation, seed, keras.__version__]).encode())
    return digest.hexdigest()[:32]


def stored_once(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """An array that is worked out the first time and memory-mapped from then on.

    Args:
        path: The file, `.npy`; its name holds all that the numbers depend on.
        make: Works it out. Of several processes one does, the others wait for it.

    Returns:
        The array, memory-mapped.

    Raises:
        DataError: The cache cannot be written, or the file is damaged.
    """
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with locked(path.with_suffix(".lock"), _PATIENCE_S):
                if not path.is_file():
                    values = make()
                    with atomic_path(path) as temporary:
                        np.save(temporary, values, allow_pickle=False)
    except OSError as error:
        raise DataError(
            f"Cannot write the cache: {error.strerror or error}. Free some space or name another "
            f"folder with FER_KERAS_CACHE; nothing was changed: {path}"
        ) from error
    try:
        stored: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"The cache is damaged ({error}). Delete this file and run again: {path}"
        ) from error
    return stored


def block_augmenter(
    name: str, image_shape: tuple[int, ...], seed: list[int]
) -> Callable[[np.ndarray, int], np.ndarray]:
    """A function of pictures and the number of the first one, as the pipeline would change them.

    Args:
        name: A policy of `fer_keras.data.augmentation.policies`.
        image_shape: That of a picture, pair or clip.
        seed: Two numbers.

    Returns:
        From `(m, ...)` float32 in 0..255 to whole grey levels of the same shape.
    """
    policy = build_policy(name, image_shape)
    if policy is None:
        return lambda pictures, start: pictures

    def change(pictures: np.ndarray, start: int) -> np.ndarray:
        step_seed = tf.random.fold_in(tf.constant(seed, tf.int32), start)
        changed, _ = policy(tf.constant(pictures), tf.zeros((len(pictures), 1)), step_seed)
        # The pipeline hands whole grey levels on.
        return np.asarray(tf.round(changed))

    return change
