"""Whether a converted file answers as Keras does: the gate that every export has to pass."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_keras.common.metrics import expected_calibration_error

# Largest allowed difference of a probability from Keras.
_MAX_DIFFERENCE = {
    "saved_model": 1e-6, "float32": 1e-5, "float16": 1e-3, "onnx": 1e-5, "openvino": 1e-5,
}  # fmt: skip
# Files with 8-bit weights: the same decision, not the same probability.
_MIN_SAME_ARG_MAX = 0.99
_MAX_ACCURACY_LOSS = 0.005
# Of few images so many may be lost by chance; `_MIN_SAME_ARG_MAX` bounds their share.
_MAX_LOST_IMAGES = 5
# Valence and arousal reach from -1 to 1: how far they may be off in any picture, and with 8-bit
# weights on average.
_MAX_AFFECT_DIFFERENCE = {**dict.fromkeys(_MAX_DIFFERENCE, 1e-4), "float16": 1e-2}
_MEAN_AFFECT_DIFFERENCE = 0.05

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Parity:
    """How far a file is from Keras on held-out images.

    Attributes:
        max_difference: Largest absolute difference of a probability.
        same_arg_max: Share of images with the same predicted class, 0..1.
        accuracy: Of the file, 0..1.
        keras_accuracy: Of Keras on the same images, 0..1.
        ece: Expected calibration error of the file in 15 bins; NaN where it gives no numbers.
        affect_difference: Absolute differences of valence and arousal from Keras: the largest and
            the mean; None where the network has none.
        num_images: How many they were.
    """

    max_difference: float
    same_arg_max: float
    accuracy: float
    keras_accuracy: float
    ece: float = math.nan
    affect_difference: tuple[float, float] | None = None
    num_images: int = 1_000

    def problem(self, precision: str) -> str | None:
        """Why the file must not be published; None where it may.

        Args:
            precision: `saved_model`, `float32`, `float16`, `dynamic`, `int8`, `onnx` or `openvino`.
        """
        if self.affect_difference is not None:
            allowed = _MAX_AFFECT_DIFFERENCE.get(precision)
            largest, mean = self.affect_difference
            which, found = ("mean", mean) if allowed is None else ("largest", largest)
            if not found <= (allowed or _MEAN_AFFECT_DIFFERENCE):
                return (
                    f"{precision}: {which} difference of valence and arousal {found:.2e}, allowed "
                    f"{allowed or _MEAN_AFFECT_DIFFERENCE:.0e}"
                )
        limit = _MAX_DIFFERENCE.get(precision)
        if limit is not None:
            # Written so that NaN fails.
            if self.max_difference <= limit:
                return None
            return (
                f"{precision}: largest probability difference {self.max_difference:.2e}, allowed "
                f"{limit:.0e}"
            )
        loss = abs(self.accuracy - self.keras_accuracy)
        allowed_loss = max(_MAX_ACCURACY_LOSS, _MAX_LOST_IMAGES / self.num_images)
        if self.same_arg_max >= _MIN_SAME_ARG_MAX and loss <= allowed_loss + 1e-12:
            return None
        return (
            f"{precision}: same arg max on {self.same_arg_max:.2%}, needed "
            f"{_MIN_SAME_ARG_MAX:.0%}; accuracy {self.accuracy:.4f} against "
            f"{self.keras_accuracy:.4f}, allowed difference {allowed_loss:.4f}"
        )


def compare(
    probabilities: Scores,
    reference: Scores,
    labels: npt.ArrayLike,
    affect: tuple[Scores, Scores] | None = None,
) -> Parity:
    """Compares a file's probabilities with those of Keras.

    Args:
        probabilities: `(n, classes)` of the file.
        reference: `(n, classes)` of Keras.
        labels: `(n,)` true class indices.
        affect: Valence and arousal `(n, 2)` of the file and of Keras, where there are.

    Returns:
        The figures of the parity gate.
    """
    truth = np.asarray(labels)
    ours, theirs = reference.argmax(axis=1), probabilities.argmax(axis=1)
    usable = np.isfinite(probabilities).all()
    confidences = np.clip(probabilities.max(axis=1), 0.0, 1.0)
    ece = expected_calibration_error(confidences, theirs == truth) if usable else math.nan
    difference = np.abs(probabilities.astype(np.float64) - reference.astype(np.float64)).max()
    return Parity(
        float(difference),
        float((ours == theirs).mean()),
        float((theirs == truth).mean()),
        float((ours == truth).mean()),
        ece,
        _affect_difference(*affect) if affect else None,
        len(truth),
    )


def _affect_difference(ours: Scores, theirs: Scores) -> tuple[float, float]:
    difference = np.abs(ours.astype(np.float64) - theirs)
    return float(difference.max()), float(difference.mean())
