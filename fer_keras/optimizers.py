"""Optimizers and learning-rate schedules of a recipe, all from Keras."""

from typing import Any

import keras

from fer_keras.config import TrainingConfig


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


def build_optimizer(training: TrainingConfig, steps_per_epoch: int) -> Any:
    """The optimizer of a recipe.

    Args:
        training: The recipe.
        steps_per_epoch: Optimizer steps of one pass.

    Returns:
        A Keras optimizer. Weight decay leaves out biases and batch-norm parameters.
    """
    common: dict[str, Any] = {
        "learning_rate": build_schedule(training, steps_per_epoch),
        "weight_decay": training.weight_decay or None,
        "global_clipnorm": training.clip_norm or None,
        "clipvalue": training.clip_value or None,
    }
    if training.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(
            momentum=training.momentum, nesterov=training.nesterov, **common
        )
    elif training.optimizer == "adam":
        optimizer = keras.optimizers.Adam(**common)
    else:
        optimizer = keras.optimizers.AdamW(**{**common, "weight_decay": training.weight_decay})
    if training.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "alpha"])
    return optimizer
