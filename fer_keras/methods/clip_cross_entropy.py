"""Cross-entropy for clips: of the whole clip, and with a share of the loss of every real frame.

The second part is deep supervision over time: the frames' logits (`frame_logits`) learn to name the
clip's class as soon as it can be told. For networks whose frame scores come from tokens of their
own, as in `clip_transformer`, it is what gives these scores a meaning. Ours.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from fer_keras.common.constraints import Share
from fer_keras.methods.base import Method, soft_cross_entropy


class ClipCrossEntropy(Method):
    """Trains `logits` by cross-entropy, and `frame_logits` of the frames that are no padding.

    Attributes:
        frame_accuracy: Share of the real frames whose own scores name the clip's class.
    """

    required_outputs = ("logits", "frame_logits", "frame_mask")

    def __init__(
        self, network: keras.Model, class_names: Sequence[str], *, frame_weight: float = 0.3
    ) -> None:
        """Builds the method; see `build`."""
        super().__init__(network, class_names)
        self.frame_weight = frame_weight
        self.frame_accuracy = keras.metrics.CategoricalAccuracy(name="frame_accuracy")

    def sample_losses(self, y: Any, outputs: dict[str, Any], training: bool) -> Any:
        """`(1 - w) * loss of the clip + w * mean loss of its real frames`, `(batch,)`."""
        of_clip = soft_cross_entropy(y, outputs["logits"])
        if not self.frame_weight:
            return of_clip
        real = ops.cast(outputs["frame_mask"], "float32")
        of_frames = soft_cross_entropy(ops.expand_dims(y, 1), outputs["frame_logits"])
        of_frames = ops.sum(real * of_frames, axis=1) / ops.sum(real, axis=1)
        return (1.0 - self.frame_weight) * of_clip + self.frame_weight * of_frames

    def update_metrics(self, y: Any, outputs: dict[str, Any]) -> None:
        """Updates `frame_accuracy`."""
        scores = outputs["frame_logits"]
        expected = ops.broadcast_to(ops.expand_dims(y, 1), ops.shape(scores))
        self.frame_accuracy.update_state(expected, scores, outputs["frame_mask"])


def build(
    network: keras.Model, class_names: Sequence[str], *, frame_weight: Share = 0.3
) -> ClipCrossEntropy:
    """Cross-entropy training of a network over clips.

    Args:
        network: Functional network with the outputs `logits` `(batch, classes)`, `frame_logits`
            `(batch, frames, classes)` and `frame_mask` `(batch, frames)`.
        class_names: The ordered names of the classes.
        frame_weight: Share of the frames' loss, 0..1.

    Returns:
        The method, to be compiled with an optimizer.

    Raises:
        ConfigError: The network lacks an output.
    """
    return ClipCrossEntropy(network, class_names, frame_weight=frame_weight)
