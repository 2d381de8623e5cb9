"""Pictures that are learned are shown less often (`training.skip_learned`).

After Jordan's airbench for 96 % on CIFAR-10 (2024), whose runs train on the harder half of each
batch as a small network trained before them sees it. Here the network itself says what is hard: the
losses are those of its own training steps, so there is neither a second network nor a second pass.
Which ones a pass leaves out is a function of the seed, the pass and the mean losses before it
(`fer_keras.data.pipeline.harder_order`), and all passes are equally long, so schedules and steps
are known before the training. What was learned of each picture lies in variables of the method,
which a checkpoint has.
"""

from typing import Any

import keras
import numpy as np

from fer_keras.common.errors import ConfigError
from fer_keras.config import Experiment
from fer_keras.data.augmentation.policies import mixes_pictures

# Stands for the loss of a picture that was not seen. Finite, as all that a checkpoint holds; larger
# than any loss, so that what was never seen is hardest.
_UNSEEN = float(np.finfo(np.float32).max)
# Share of the earlier mean in the new one. Augmentation makes single losses noisy.
_MOMENTUM = 0.5


class LearnedPictures:
    """The mean losses of the training pictures, and how many a pass leaves out.

    Attributes:
        left_out: Pictures that a pass does not visit; 0 where nothing is skipped.

    Args:
        experiment: Its `training.skip_learned`.
        method: What trains. With a share above 0 it gets two variables.
        count: Training pictures, views not counted.

    Raises:
        ConfigError: The experiment cannot say what a picture alone costs.
    """

    def __init__(self, experiment: Experiment, method: Any, count: int) -> None:
        training = experiment.training
        self.left_out = round(training.skip_learned * count)
        self._method = method
        if not self.left_out:
            return
        if training.sampling != "shuffle":
            raise ConfigError(
                "training.skip_learned chooses the pictures of a pass, and so does "
                f"training.sampling. Expected shuffle. Received: {training.sampling}."
            )
        if mixes_pictures(experiment.augmentation):
            raise ConfigError(
                f"training.skip_learned: augmentation={experiment.augmentation!r} mixes pictures, "
                "so none has a loss of its own. Set it to 0, or choose another augmentation."
            )
        method.remember_losses(count, _UNSEEN)
        self._mean = method.add_weight(
            name="mean_losses",
            shape=(count,),
            initializer=keras.initializers.Constant(_UNSEEN),
            trainable=False,
            dtype="float32",
        )

    def losses(self, first: bool) -> np.ndarray | None:
        """The mean losses by which the pictures of a pass are chosen.

        Args:
            first: Whether the pass has not begun: then what the last one showed is taken in. Within
                a pass they stay as they were, so that a resumed run leaves out the same pictures.

        Returns:
            `(pictures,)` float32; None where nothing is skipped.
        """
        if not self.left_out:
            return None
        mean = _as_array(self._mean)
        if first:
            last = _as_array(self._method.last_losses)
            known = np.where(mean < _UNSEEN, _MOMENTUM * mean + (1 - _MOMENTUM) * last, last)
            mean = np.where(last < _UNSEEN, known, mean).astype(np.float32)
            self._mean.assign(mean)
            self._method.last_losses.assign(np.full_like(last, _UNSEEN))
        return mean


def _as_array(variable: Any) -> np.ndarray:
    array: np.ndarray = keras.ops.convert_to_numpy(variable.value)
    return array
