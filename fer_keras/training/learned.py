"""Pictures that are learned are shown less often (`training.skip_learned`).

After Jordan's airbench for 96 % on CIFAR-10 (2024), whose runs train on the harder half of each
batch as a small network trained before them sees it. Here the network itself says what is hard: the
losses are those of its own training steps, so there is neither a second network nor a second pass.
Easy pictures that are shown count for those that are not, so the gradient is on average that of all
pictures, as in Qin et al., "InfoBatch: Lossless Training Speed Up by Unbiased Dynamic Data Pruning"
(ICLR 2024).

What a pass shows is a function of the seed, the pass and the mean losses before it, and all passes
are equally long, so schedules and steps are known before the training. What was learned of each
picture lies in variables of the method, which a checkpoint has.
"""

from typing import Any

import keras
import numpy as np

from fer_keras.common.errors import ConfigError
from fer_keras.config import Experiment
from fer_keras.data.augmentation.policies import mixes_pictures
from fer_keras.data.pipeline import Pass

# Stands for the loss of a picture that was not seen. Finite, as all that a checkpoint holds; larger
# than any loss, so that what was never seen is hardest.
UNSEEN = float(np.finfo(np.float32).max)
# Share of the earlier mean in the new one. Augmentation makes single losses noisy.
_MOMENTUM = 0.5


class LearnedPictures:
    """The mean losses of the training pictures, and what a pass leaves out by them.

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
        method.remember_losses(count, UNSEEN)
        self._mean = method.add_weight(
            name="mean_losses",
            shape=(count,),
            initializer=keras.initializers.Constant(UNSEEN),
            trainable=False,
            dtype="float32",
        )

    def pass_of(self, epoch: int, seed: int, *, begins: bool) -> Pass | None:
        """What a pass shows.

        Args:
            epoch: Number of the pass, from 0.
            seed: The run's seed.
            begins: Whether it has not begun: then what the last one showed is taken in. Within a
                pass the means stay as they were, so that a resumed run shows the same pictures.

        Returns:
            The pictures and their weights; None where nothing is skipped.
        """
        if not self.left_out:
            return None
        mean = _as_array(self._mean)
        if begins:
            last = _as_array(self._method.last_losses)
            known = np.where(mean < UNSEEN, _MOMENTUM * mean + (1 - _MOMENTUM) * last, last)
            mean = np.where(last < UNSEEN, known, mean).astype(np.float32)
            self._mean.assign(mean)
            self._method.last_losses.assign(np.full_like(last, UNSEEN))
        return harder_pass(mean, left_out=self.left_out, seed=seed, epoch=epoch)


def harder_pass(losses: np.ndarray, *, left_out: int, seed: int, epoch: int) -> Pass:
    """A pass that leaves out some of the pictures that are learned.

    Left out are `left_out` of the `2 * left_out` with the smallest losses, drawn for the pass:
    those that come back show whether they are still known, and none is gone for ever. The others
    are visited in the order of `shuffle`.

    Args:
        losses: Of every picture, `(n,)`; among equal ones the draw decides.
        left_out: How many, 0 to n / 2.
        seed: The run's seed.
        epoch: Number of the pass, from 0.

    Returns:
        `n - left_out` pictures. Of those with the smallest losses, each counts twice.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(losses))
    learned = np.argsort(losses[order], kind="stable")[: 2 * left_out]
    weights = np.ones(len(losses), np.float32)
    weights[order[learned]] = 2
    # What was never seen is left out by mere chance.
    weights[losses == UNSEEN] = 1
    return Pass(np.delete(order, rng.choice(learned, left_out, replace=False)), weights)


def _as_array(variable: Any) -> np.ndarray:
    array: np.ndarray = keras.ops.convert_to_numpy(variable.value)
    return array
