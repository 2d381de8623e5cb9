"""When an answer is unsure, and which labels are meant: two thresholds on the probabilities.

The thresholds are fitted at export, on pictures of the validation split
(`fer_keras.evaluation.thresholds`). Here they are only compared with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.errors import ModelFileError


@dataclass(frozen=True)
class Decision:
    """The thresholds of a model.

    Attributes:
        reject_threshold: An answer whose highest probability is below it is unsure, 0..1; 0 where
            the model has no threshold.
        conformal_threshold: Every label with at least this probability is in the label set, 0..1;
            1 where the model has no threshold, so that the set is the dominant label alone.
    """

    reject_threshold: float = 0.0
    conformal_threshold: float = 1.0

    def unsure(self, probabilities: npt.ArrayLike) -> bool:
        """Whether to abstain.

        Args:
            probabilities: `(classes,)`, sum 1.

        Returns:
            True where the highest probability is below `reject_threshold`.
        """
        return bool(np.max(probabilities) < self.reject_threshold)

    def label_set(self, probabilities: npt.ArrayLike) -> list[int]:
        """The conformal set: the labels that cannot be ruled out at the stated coverage.

        Args:
            probabilities: `(classes,)`, sum 1.

        Returns:
            Indices of the labels with at least `conformal_threshold`, the most probable first;
            the most probable alone where none has (Sadinle, Lei and Wasserman, "Least Ambiguous
            Set-Valued Classifiers with Bounded Error Levels", JASA 2019: the set may be empty
            there, and adding a label can only raise its coverage).
        """
        p = np.asarray(probabilities)
        # Stable, so that among equals the first is dominant, as it is for argmax.
        order = np.argsort(-p, kind="stable")
        members = int((p >= self.conformal_threshold).sum())
        return [int(i) for i in order[: max(1, members)]]


def read_decision(manifest: Mapping[str, Any], path: Path) -> Decision:
    """The thresholds that a manifest holds.

    Args:
        manifest: The content of `manifest.json`; without `decision`, as older exports are, there
            are no thresholds.
        path: Named in messages.

    Returns:
        The thresholds.

    Raises:
        ModelFileError: `decision` is not an object, or a threshold is not a number in 0..1.
    """
    if "decision" not in manifest:
        return Decision()
    block = manifest["decision"]
    if not isinstance(block, dict):
        raise ModelFileError(
            f"decision: expected an object, received {block!r}. Export the model again: {path}"
        )
    thresholds: dict[str, float] = {}
    for key in ("reject_threshold", "conformal_threshold"):
        value: Any = block.get(key)
        # Written so that NaN fails; True is an int for Python.
        if type(value) not in (int, float) or not 0 <= value <= 1:
            raise ModelFileError(
                f"decision.{key}: expected a number in 0..1, received {value!r}. Export the model "
                f"again: {path}"
            )
        thresholds[key] = float(value)
    return Decision(**thresholds)
