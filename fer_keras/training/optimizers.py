"""Optimizers and learning-rate schedules of a recipe, all from Keras.

AdamW is the default: in one trial of three epochs on FER+ (one seed each, scored on PublicTest) it
was ahead of SGD with Nesterov momentum, and short schedules are what CPUs allow. Longer schedules
were not compared. A layer's learning rate (`training.layer_rates`) is a factor of the step, not of
the gradient: Adam divides a gradient's factor out.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import keras

from fer_keras.common.errors import ConfigError
from fer_keras.config import TrainingConfig
from fer_keras.loading.transfer import is_classifier


@keras.saving.register_keras_serializable(package="fer_keras")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up in front of any schedule.

    Args:
        schedule: The schedule that holds after the warm-up; it counts steps from the start.
        steps: Steps of warm-up.
    """

    def __init__(self, schedule: Any, steps: int) -> None:
        self.schedule = schedule
        self.steps = steps

    def __call__(self, step: Any) -> Any:
        """The learning rate of a step, a scalar tensor."""
        progress = (keras.ops.cast(step, "float32") + 1.0) / max(self.steps, 1)
        return self.schedule(step) * keras.ops.minimum(progress, 1.0)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the schedule."""
        return {
            "schedule": keras.optimizers.schedules.serialize(self.schedule),
            "steps": self.steps,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "WarmUp":
        """Rebuilds what `get_config` described."""
        schedule = keras.optimizers.schedules.deserialize(config["schedule"])
        return cls(schedule, config["steps"])


def build_schedule(training: TrainingConfig, steps_per_epoch: int) -> Any:
    """The learning-rate schedule of a recipe.

    Args:
        training: The recipe.
        steps_per_epoch: Optimizer steps of one pass.

    Returns:
        A Keras schedule over steps; the state of a resumed run needs nothing but the step.
    """
    schedules = keras.optimizers.schedules
    peak = training.learning_rate
    schedule: Any
    if training.schedule == "cosine":
        schedule = schedules.CosineDecay(peak, training.epochs * steps_per_epoch)
    elif training.schedule == "step":
        decay_steps = training.decay_epochs * steps_per_epoch
        schedule = schedules.ExponentialDecay(
            peak, decay_steps, training.decay_rate, staircase=True
        )
    elif training.schedule == "exponential":
        schedule = schedules.ExponentialDecay(
            peak, steps_per_epoch, training.decay_rate, staircase=True
        )
    else:
        schedule = schedules.ExponentialDecay(peak, steps_per_epoch, 1.0)
    return WarmUp(schedule, round(training.warmup_epochs * steps_per_epoch))


class _LayerRates:
    """In front of a Keras optimizer: a factor of the learning rate for every variable.

    A factor of the gradient would do for SGD only: Adam divides it out again. Gradient, variable
    and learning rate come together in `update_step`, on PyTorch for all variables at once.
    """

    layer_rates: Mapping[str, float]
    head_steps: int
    weight_decay: Any
    iterations: Any

    def build(self, variables: Sequence[Any]) -> None:
        super().build(variables)  # type: ignore[misc]
        layers = [variable.path.split("/")[0] for variable in variables]
        # Whether it waits for the classifiers, and its factor.
        self._factors = [
            (
                bool(self.head_steps) and not is_classifier(layer),
                rate_factor(layer, self.layer_rates),
            )
            for layer in layers
        ]
        if all(waits for waits, _ in self._factors):
            raise ConfigError(
                "training.head_epochs: expected a classifier that is trained, a layer called "
                f"logits. Received: {', '.join(dict.fromkeys(layers))}. Mend: set it to 0"
            )

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = learning_rate * self._now(*self._factor(variable))
        super().update_step(gradient, variable, rate)  # type: ignore[misc]

    def _parallel_update_step(
        self, gradients: Sequence[Any], variables: Sequence[Any], learning_rate: Any
    ) -> None:
        for factor in sorted(set(self._factors)):
            chosen = [
                (gradient, variable)
                for gradient, variable in zip(gradients, variables, strict=True)
                if self._factor(variable) == factor
            ]
            if chosen:
                rate = learning_rate * self._now(*factor)
                super()._parallel_update_step(*zip(*chosen, strict=True), rate)  # type: ignore[misc]

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        whole = self.weight_decay
        if whole is None:
            return
        decayed = [
            variable
            for variable in variables
            if self._use_weight_decay(variable)  # type: ignore[attr-defined]
        ]
        for factor in sorted({self._factor(variable) for variable in decayed}):
            self.weight_decay = whole * self._now(*factor)
            group = [variable for variable in decayed if self._factor(variable) == factor]
            super()._apply_weight_decay(group)  # type: ignore[misc]
        self.weight_decay = whole

    def _factor(self, variable: Any) -> tuple[bool, float]:
        return self._factors[self._get_variable_index(variable)]  # type: ignore[attr-defined]

    def _now(self, waits: bool, factor: float) -> Any:
        """The factor in this step."""
        if not waits:
            return factor
        return factor * keras.ops.cast(self.iterations >= self.head_steps, "float32")


class _RateOnce:
    """In front of a Keras optimizer on TensorFlow: the schedule is asked once a step.

    Keras asks it for every variable that decays, and each time is a dozen operations to trace.
    """

    _rate_of_step: Any = None

    def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> None:
        import tensorflow as tf

        # With several devices each has its own part of the step.
        if not tf.distribute.has_strategy():
            self._rate_of_step = super()._get_current_learning_rate()  # type: ignore[misc]
        try:
            super().apply(grads, trainable_variables)  # type: ignore[misc]
        finally:
            self._rate_of_step = None

    def _get_current_learning_rate(self) -> Any:
        if self._rate_of_step is None:
            return super()._get_current_learning_rate()  # type: ignore[misc]
        return self._rate_of_step


class _Adam:
    """What Keras' Adam has."""

    beta_1: float
    beta_2: float
    epsilon: float
    iterations: Any
    _momentums: Sequence[Any]
    _velocities: Sequence[Any]


class _AdamInOneOperation(_Adam):
    """In front of Keras' Adam on TensorFlow: one operation a variable in the place of twenty."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        import tensorflow as tf

        if isinstance(gradient, tf.IndexedSlices) or tf.distribute.has_strategy():
            super().update_step(gradient, variable, learning_rate)  # type: ignore[misc]
            return
        variable = variable.value if isinstance(variable, keras.Variable) else variable
        place = self._get_variable_index(variable)  # type: ignore[attr-defined]
        kind = variable.dtype
        step = tf.cast(self.iterations.value + 1, kind)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].value.handle,
            v=self._velocities[place].value.handle,
            beta1_power=tf.cast(self.beta_1, kind) ** step,
            beta2_power=tf.cast(self.beta_2, kind) ** step,
            lr=tf.cast(learning_rate, kind),
            beta1=tf.cast(self.beta_1, kind),
            beta2=tf.cast(self.beta_2, kind),
            epsilon=tf.cast(self.epsilon, kind),
            grad=tf.cast(gradient, kind),
        )


class _AdamInOnePass(_Adam):
    """In front of Keras' Adam on PyTorch: one pass through the memory in the place of ten.

    PyTorch's own operation adds its epsilon behind the correction of the second moment, Keras
    before it (Kingma and Ba, ICLR 2015, section 2, has both forms), so it is given a larger one.
    """

    def _parallel_update_step(
        self, gradients: Sequence[Any], variables: Sequence[Any], learning_rate: Any
    ) -> None:
        import torch
        from torch.optim.adam import adam

        places = [self._get_variable_index(each) for each in variables]  # type: ignore[attr-defined]
        values = [each.value for each in variables]
        first = [self._momentums[place].value for place in places]
        second = [self._velocities[place].value for place in places]
        # It reads memory from end to end, whatever axis lies where.
        if not all(map(_lie_alike, values, first, second)):
            super()._parallel_update_step(  # type: ignore[misc]
                gradients, variables, learning_rate
            )
            return
        before = int(self.iterations)
        adam(
            [each.data for each in values],
            [
                gradient if _lie_alike(value, gradient) else torch.empty_like(value).copy_(gradient)
                for value, gradient in zip(values, gradients, strict=True)
            ],
            first,
            second,
            [],
            list(torch.full((len(values),), float(before), device=values[0].device).unbind()),
            fused=True,
            amsgrad=False,
            beta1=self.beta_1,
            beta2=self.beta_2,
            lr=float(learning_rate),
            weight_decay=0.0,
            eps=self.epsilon / (1 - self.beta_2 ** (before + 1)) ** 0.5,
            maximize=False,
        )


def _lie_alike(first: Any, *others: Any) -> bool:
    """Whether PyTorch's tensors of one shape lie in memory with the same axes in the same order."""
    strides, sides = first.stride(), first.shape
    return all(
        other.stride() == strides
        or all(
            here == there or side == 1
            for here, there, side in zip(strides, other.stride(), sides, strict=True)
        )
        for other in others
    )


class _AverageApart:
    """In front of a Keras optimizer: its moving average of the weights stays beside them.

    Keras overwrites the weights when `fit` ends; a run that is resumed inside an epoch calls it
    twice. On PyTorch it averages one variable after the other, in a dozen calls each.
    """

    ema_momentum: float
    iterations: Any
    _model_variables_moving_average: Sequence[Any]

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        pass

    def _update_model_variables_moving_average(self, trainable_variables: Sequence[Any]) -> None:
        if keras.backend.backend() != "torch":
            super()._update_model_variables_moving_average(  # type: ignore[misc]
                trainable_variables
            )
            return
        import torch

        share = 1 - self.ema_momentum if int(self.iterations) else 1.0
        with torch.no_grad():
            torch._foreach_lerp_(
                [average.value for average in self._model_variables_moving_average],
                [variable.value for variable in trainable_variables],
                share,
            )


def rate_factor(layer: str, layer_rates: Mapping[str, float]) -> float:
    """The factor of the learning rate of a layer.

    Args:
        layer: Its name.
        layer_rates: Pattern -> factor, as in `TrainingConfig.layer_rates`.

    Returns:
        That of the last pattern that fits; 1 where none does.
    """
    fitting = [factor for pattern, factor in layer_rates.items() if fnmatchcase(layer, pattern)]
    return float(fitting[-1]) if fitting else 1.0


def freeze_layers(network: Any, layer_rates: Mapping[str, float]) -> None:
    """Freezes the layers whose factor is 0; batch norm then keeps its statistics.

    Args:
        network: Functional network; its layers are changed.
        layer_rates: Pattern -> factor, as in `TrainingConfig.layer_rates`.

    Raises:
        ConfigError: A pattern fits no layer with weights, a factor is no number of 0 or more, or no
            layer is left to train.
    """
    layers = [layer for layer in network.layers if layer.weights]
    for pattern, factor in layer_rates.items():
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not factor >= 0:
            raise ConfigError(
                f"training.layer_rates: expected a number of 0 or more. Received: {pattern}="
                f"{factor!r}."
            )
        if not any(fnmatchcase(layer.name, pattern) for layer in layers):
            raise ConfigError(
                f"training.layer_rates: no layer of {network.name!r} fits the pattern {pattern!r}. "
                f"Its layers: {', '.join(layer.name for layer in layers[:12])}, ..."
            )
    for layer in layers:
        if rate_factor(layer.name, layer_rates) == 0:
            layer.trainable = False
    if not network.trainable_variables:
        raise ConfigError("training.layer_rates: expected a layer that is not frozen. Found none.")


def build_optimizer(training: TrainingConfig, steps_per_epoch: int) -> Any:
    """The optimizer of a recipe.

    Args:
        training: The recipe.
        steps_per_epoch: Optimizer steps of one pass.

    Returns:
        A Keras optimizer. Weight decay leaves out biases and batch-norm parameters.
    """
    kinds = {
        "sgd": keras.optimizers.SGD,
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
    }
    # Asked for its own class, Keras gives one of PyTorch's that updates all variables at once; one
    # derived from its own would not.
    kind: Any = type(kinds[training.optimizer]())
    backend = keras.backend.backend()
    adams = {"torch": _AdamInOnePass, "tensorflow": _AdamInOneOperation}
    if training.optimizer in ("adam", "adamw") and backend in adams:
        kind = type(kind.__name__, (adams[backend], kind), {})
    head_steps = round(training.head_epochs * steps_per_epoch)
    if training.layer_rates or head_steps:
        rates = {"layer_rates": dict(training.layer_rates), "head_steps": head_steps}
        kind = type(kind.__name__, (_LayerRates, kind), rates)
    if training.ema_momentum:
        kind = type(kind.__name__, (_AverageApart, kind), {})
    if backend == "tensorflow":
        kind = type(kind.__name__, (_RateOnce, kind), {})
    common: dict[str, Any] = {
        "use_ema": training.ema_momentum > 0,
        "ema_momentum": training.ema_momentum,
        "learning_rate": build_schedule(training, steps_per_epoch),
        "weight_decay": training.weight_decay or None,
        "global_clipnorm": training.clip_norm or None,
        "clipvalue": training.clip_value or None,
    }
    if training.optimizer == "sgd":
        common |= {"momentum": training.momentum, "nesterov": training.nesterov}
    if training.optimizer == "adamw":
        common["weight_decay"] = training.weight_decay
    optimizer = kind(**common)
    if training.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "alpha"])
    return optimizer
