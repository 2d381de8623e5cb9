"""Knowledge distillation: a small network learns the answers of a larger one beside the labels.

Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015), section 2.
The teacher sees the very pictures that the student sees, augmentation included: Beyer et al.,
"Knowledge distillation: A good teacher is patient and consistent" (CVPR 2022), section 3.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import keras
from keras import ops

from fer_keras.common.constraints import Positive, Range
from fer_keras.common.errors import ConfigError
from fer_keras.methods.base import Method, check_outputs, soft_cross_entropy
from fer_keras.models.layers import class_names_of


class Distillation(Method):
    """Trains `logits` by the targets and by the probabilities of a frozen teacher."""

    def __init__(
        self,
        network: keras.Model,
        class_names: Sequence[str],
        *,
        teacher: keras.Model,
        temperature: float,
        weight: float,
    ) -> None:
        """Builds the method; see `build`."""
        super().__init__(network, class_names)
        check_outputs(teacher, ("logits",), "Distillation (its teacher)")
        theirs = class_names_of(teacher)
        if theirs != self.class_names:
            raise ConfigError(
                f"Expected a teacher with the classes {', '.join(self.class_names)}, in this "
                f"order. Received: {', '.join(theirs)}."
            )
        if tuple(teacher.inputs[0].shape) != tuple(network.inputs[0].shape):
            raise ConfigError(
                f"Expected a teacher for pictures {tuple(network.inputs[0].shape[1:])}. Received: "
                f"{tuple(teacher.inputs[0].shape[1:])}."
            )
        teacher.trainable = False
        self.teacher = teacher
        self.temperature = temperature
        self.weight = weight

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """The network's outputs, and while training `teacher_logits` too; see `Method.call`."""
        outputs = super().call(inputs, training=training)
        if training:
            # Inference mode: the statistics of the teacher's batch norms must not drift.
            outputs["teacher_logits"] = self.teacher(inputs, training=False)["logits"]
        return outputs

    def sample_losses(self, y: Any, outputs: dict[str, Any], training: bool) -> Any:
        """Both losses of each sample, `(batch,)`; evaluating, the one against the targets alone."""
        label_losses = soft_cross_entropy(y, outputs["logits"])
        if not training:
            return label_losses
        t = self.temperature
        soft = ops.softmax(ops.cast(outputs["teacher_logits"], "float32") / t, axis=-1)
        student = ops.cast(outputs["logits"], "float32") / t
        # The gradient of a softened softmax shrinks by 1 / t^2.
        teacher_losses = t * t * soft_cross_entropy(ops.stop_gradient(soft), student)
        return (1 - self.weight) * label_losses + self.weight * teacher_losses


def build(
    network: keras.Model,
    class_names: Sequence[str],
    *,
    teacher: keras.Model,
    temperature: Positive = 2.0,
    weight: Annotated[float, Range(above=0, high=1)] = 0.7,
) -> Distillation:
    """Training by a teacher.

    Args:
        network: Functional network with the output `logits` `(batch, classes)`.
        class_names: The ordered names of the classes.
        teacher: A trained network for the same pictures and classes; it is frozen. In an
            experiment, and with `--set`, the option holds what `fer_keras.training.start` takes:
            its `.keras` file, its run folder or the name of its experiment.
        temperature: Softens both distributions, above 0.
        weight: Share of the teacher's loss, above 0 and at most 1; the rest is that of the targets.

    Returns:
        The method, to be compiled with an optimizer.

    Raises:
        ConfigError: The teacher knows other classes or takes other
            pictures, or a network has no fitting `logits`.
    """
    return Distillation(
        network, class_names, teacher=teacher, temperature=temperature, weight=weight
    )
