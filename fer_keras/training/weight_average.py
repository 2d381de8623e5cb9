"""The moving average of the weights over the steps: what is evaluated and kept, not trained on.

Keras' optimizer averages what it trains. The statistics of batch normalisation belong to the
weights that they were measured with, so they are averaged alike: with those of the last step, an
average of 0.999 gave every picture of FER+ the same answer for the first three epochs.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras


class WeightAverage:
    """The averages of a method that is trained with `training.ema_momentum`.

    Args:
        method: Compiled, its optimizer built. It gets a variable for each statistic, which a
            checkpoint then has.
        momentum: Share of an average that stays at every step; 0 = there are no averages.
    """

    def __init__(self, method: Any, momentum: float) -> None:
        self._method = method
        self._momentum = momentum
        # A hundredth of the steps that an average goes back.
        self._every = max(1, round(0.01 / (1 - momentum)))
        self._statistics: list[tuple[Any, Any]] = []
        if not momentum:
            return
        layers = [each for each in method._flatten_layers() if _is_norm(each)]
        for variable in [v for layer in layers for v in (layer.moving_mean, layer.moving_variance)]:
            average = method.add_weight(
                name="average", shape=variable.shape, trainable=False, dtype="float32"
            )
            # A copy: JAX gives the buffer of each variable away in a step, and only once.
            average.assign(keras.ops.copy(variable.value))
            self._statistics.append((variable, average))

    def update(self, step: int) -> None:
        """Takes the statistics into their average; the optimizer averages the weights itself.

        Args:
            step: Number of the step that was done, from 1.
        """
        if not self._statistics or step % self._every:
            return
        # On JAX the values live outside the variables while `fit` runs.
        if hasattr(self._method, "jax_state_sync"):
            self._method.jax_state_sync()
        # The first figures take the place of those of a network that has seen nothing.
        share = 1.0 if step == self._every else 1 - self._momentum**self._every
        for variable, average in self._statistics:
            average.assign(average + share * (variable - average))

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Puts the averages in the place of the weights within the block, where there are some.

        Copies, and no sums as `keras.callbacks.SwapEMAWeights` has on TensorFlow: the weights come
        back bit for bit.
        """
        if not self._momentum:
            yield
            return
        optimizer = self._method.optimizer
        # Mixed float16 wraps the optimizer.
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        averages = optimizer._model_variables_moving_average
        weights = zip(optimizer._trainable_variables, averages, strict=True)
        pairs = [*weights, *self._statistics]
        own = [keras.ops.convert_to_numpy(keras.ops.copy(variable.value)) for variable, _ in pairs]
        for variable, average in pairs:
            variable.assign(keras.ops.copy(average.value))
        try:
            yield
        finally:
            for (variable, _), values in zip(pairs, own, strict=True):
                variable.assign(values)


def _is_norm(layer: Any) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
