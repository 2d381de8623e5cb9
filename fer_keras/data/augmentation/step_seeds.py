"""Lets the random layers of Keras and keras-cv draw from the seed of a step, without any state."""

from typing import Any

import keras
import tensorflow as tf


def step_seeds(seed: Any) -> Any:
    """A Keras seed generator whose draws are folds of one given seed, so it holds no state.

    Args:
        seed: int32 `(2,)`.
    """

    class StepSeeds(keras.random.SeedGenerator):
        def __init__(self) -> None:
            self._draws = 0

        def next(self, ordered: bool = True) -> Any:
            self._draws += 1
            return tf.random.fold_in(tf.cast(seed, tf.int32), self._draws)

    return StepSeeds()


def draw_from(layer: Any, seeds: Any) -> None:
    """Makes a layer, and the layers inside it, take random numbers from `seeds`.

    Args:
        layer: A preprocessing layer.
        seeds: Of `step_seeds`.
    """
    # Plain attributes: Keras must not track the generator as state of the layer.
    for inner in layer._flatten_layers(include_self=True):
        object.__setattr__(inner, "_get_seed_generator", lambda backend=None: seeds)
        if hasattr(inner, "_random_generator"):
            object.__setattr__(inner, "_random_generator", _StatelessGenerator(seeds))
    ratio = getattr(layer, "ratio_factor", None)
    if ratio is not None and hasattr(ratio, "seeds"):
        ratio.seeds = seeds


class _StatelessGenerator:
    """The part of `tf.random.Generator` that keras-cv uses, drawing from the step's seed."""

    def __init__(self, seeds: Any) -> None:
        self._seeds = seeds

    def uniform(
        self, shape: Any, minval: Any = 0, maxval: Any = None, dtype: Any = "float32"
    ) -> Any:
        unit = tf.random.stateless_uniform(shape, self._seeds.next(), dtype=dtype)
        low, high = tf.cast(minval, dtype), tf.cast(1 if maxval is None else maxval, dtype)
        return low + unit * (high - low)
