"""Sharpness-aware minimisation (SAM): steps towards weights whose neighbours are good too.

Source: Foret, Kleiner, Mobahi and Neyshabur, "Sharpness-Aware Minimization for Efficiently
Improving Generalization" (ICLR 2021), algorithm 1. A step takes the gradient twice: at the weights
w, and at w + rho g / |g|, where the loss is highest nearby. The second gradient is the one that the
optimizer gets, at w; clipping, weight decay and the schedule are its own and act as ever.

Everything but the weights is as in one pass. Both passes see the same batch and draw the same
dropout. Loss, metrics and what else a pass changes, such as the statistics of batch norm, are those
of the first pass, at the weights that are kept.

Keras has no hook for a second gradient that is the same on every backend, so this file knows them.

It is a step, not an optimizer or a method, because it needs two passes of whatever method there is.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

# Keeps the length of a gradient of zeros from dividing; that of the authors.
_EPS = 1e-12


def train_step(method: Any, rho: float, *arguments: Any, twice: bool = False) -> Any:
    """One step of `fit`, in the place of Keras' own.

    Args:
        method: A compiled `Method`.
        rho: How far away, in the Euclidean length of all weights together, above 0.
        *arguments: What Keras gives to `train_step`: the batch, on JAX the state before it.
        twice: Whether what a pass changes beside the weights, such as the statistics of batch norm,
            goes on through the second pass, as in programs that call the network twice.

    Returns:
        What Keras' own returns: the metrics, on JAX with the state after the step.
    """
    if keras.backend.backend() == "jax":
        return _jax_step(method, rho, twice, *arguments)
    return _stateful_step(method, rho, twice, *arguments)


def ascend(weights: Sequence[Any], gradients: Sequence[Any], rho: float) -> list[Any]:
    """The weights at the distance `rho` in the direction of the gradient.

    Args:
        weights: Tensors.
        gradients: One of the same shape for each; None where the loss does not depend on it. Their
            scale does not matter, so it may be that of mixed precision.
        rho: See `train_step`.

    Returns:
        Tensors of the shapes of the weights.
    """
    squares = [ops.sum(ops.square(ops.cast(g, "float32"))) for g in gradients if g is not None]
    if not squares:
        return list(weights)
    factor = rho / (ops.sqrt(ops.sum(ops.stack(squares))) + _EPS)
    return [
        w if g is None else w + ops.cast(factor * ops.cast(g, "float32"), w.dtype)
        for w, g in zip(weights, gradients, strict=True)
    ]


def _jax_step(method: Any, rho: float, twice: bool, state: Any, data: Any) -> Any:
    import jax

    weights, others, optimizer_state, metrics = state
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    differentiate = jax.value_and_grad(method.compute_loss_and_updates, has_aux=True)

    def gradients(at: Any, rest: Any) -> Any:
        return differentiate(
            at, rest, metrics, x, y, sample_weight,
            training=True, optimizer_variables=optimizer_state,
        )  # fmt: skip

    (_, (loss, outputs, others_after, metrics_after)), first = gradients(weights, others)
    near = ascend(weights, first, rho)
    (_, (_, _, others_last, _)), second = gradients(near, others_after if twice else others)
    metrics = metrics_after
    if twice:
        others_after = others_last
    weights, optimizer_state = method.optimizer.stateless_apply(optimizer_state, second, weights)
    logs, metrics = method._update_metrics_variables(metrics, loss, x, y, outputs, sample_weight)
    return logs, (weights, others_after, optimizer_state, metrics)


def _stateful_step(method: Any, rho: float, twice: bool, data: Any) -> Any:
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    trained, others = method.trainable_variables, method.non_trainable_variables
    weights, others_before = _values(trained), _values(others)
    with _draws_again():
        outputs, loss, first = _gradients(method, trained, x, y, sample_weight)
    others_after = _values(others)
    _assign(trained, ascend(weights, first, rho))
    if not twice:
        _assign(others, others_before)
    _, _, second = _gradients(method, trained, x, y, sample_weight)
    # Copies, not differences: a second gradient that is not finite leaves no trace.
    _assign(trained, weights)
    if not twice:
        _assign(others, others_after)
    method._loss_tracker.update_state(loss, sample_weight=ops.shape(outputs["logits"])[0])
    with _without_gradients():
        method.optimizer.apply(second, trained)
    return method.compute_metrics(x, y, outputs, sample_weight=sample_weight)


def _gradients(method: Any, trained: Any, x: Any, y: Any, sample_weight: Any) -> Any:
    """Outputs, loss and gradients of a pass in training mode."""

    def losses() -> tuple[Any, Any, Any]:
        outputs = method(x, training=True)
        loss = method.compute_loss(x, y, outputs, sample_weight, training=True)
        return outputs, loss, method.optimizer.scale_loss(loss)

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            outputs, loss, scaled = losses()
        gradients = tape.gradient(scaled, trained)
        return outputs, loss, [g if g is None else tf.convert_to_tensor(g) for g in gradients]
    method.zero_grad()
    outputs, loss, scaled = losses()
    scaled.backward()
    # The next pass sets them to None or adds to them.
    return outputs, loss, [variable.value.grad for variable in trained]


def _values(variables: Any) -> list[Any]:
    return [ops.stop_gradient(ops.copy(variable)) for variable in variables]


def _assign(variables: Any, values: Any) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _draws_again() -> Any:
    """What PyTorch's global generator gives inside, it gives once more after it."""
    if keras.backend.backend() != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.random.fork_rng()


def _without_gradients() -> Any:
    if keras.backend.backend() != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.no_grad()
