"""When an answer is unsure, and which labels are meant: two thresholds on the probabilities.

The thresholds are fitted at export, on pictures of the validation split
(`fer_keras.evaluation.thresholds`), to the probabilities for the model's default prior, and to
those of every twentieth of the way to equal shares. Here they are only compared with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.errors import ModelFileError
from fer_keras.common.prior import PriorChoice, parse_prior, read_default_prior


@dataclass(frozen=True)
class Decision:
    """The thresholds of a model.

    Attributes:
        reject_threshold: An answer whose highest probability is below it is unsure, 0..1; 0 where
            the model has no threshold.
        conformal_threshold: Every label with at least this probability is in the label set, 0..1;
            1 where the model has no threshold, so that the set is the dominant label alone.
        class_thresholds: In its place one for each label, so that the sets cover every class as
            often; empty where there are none, as in older exports.
    """

    reject_threshold: float = 0.0
    conformal_threshold: float = 1.0
    class_thresholds: tuple[float, ...] = ()

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
            Indices of the labels with at least their threshold, the most probable first; with it
            the most probable label, whatever its own (Sadinle, Lei and Wasserman, "Least Ambiguous
            Set-Valued Classifiers with Bounded Error Levels", JASA 2019: the set may be empty
            there, and adding a label can only raise its coverage).
        """
        p = np.asarray(probabilities)
        # Stable, so that among equals the first is dominant, as it is for argmax.
        first, *rest = (int(i) for i in np.argsort(-p, kind="stable"))
        return [first, *(i for i in rest if p[i] >= self.threshold_of(i))]

    def threshold_of(self, label: int) -> float:
        """From which probability on a label belongs to a set.

        Args:
            label: Its index.
        """
        return self.class_thresholds[label] if self.class_thresholds else self.conformal_threshold


def read_decision(
    manifest: Mapping[str, Any], path: Path, prior: PriorChoice | None = None
) -> Decision:
    """The thresholds that a manifest holds for a prior.

    Args:
        manifest: The content of `manifest.json`; without `decision`, as older exports are, there
            are no thresholds.
        path: Named in messages.
        prior: The prior that the probabilities are for; None is the manifest's default.

    Returns:
        The thresholds. For a `balanced:TAU` between two that were fitted, the more careful of
        both: the higher rejection threshold, the lower one of label sets. None are known for
        shares of the user's own, nor for another prior in older exports.

    Raises:
        ModelFileError: `decision` is not an object, or a threshold is not a number in 0..1.
    """
    if "decision" not in manifest:
        return Decision()
    block = _object(manifest["decision"], "decision", path)
    names = manifest.get("class_names", ())
    fitted = _thresholds(block, "decision", names, path)
    choice = read_default_prior(manifest, path) if prior is None else prior
    if choice == parse_prior(str(block.get("prior", "training"))):
        return fitted
    table = _object(block.get("by_tau", {}), "decision.by_tau", path)
    rows = {
        _number(_parsed(key), "decision.by_tau", path): _thresholds(
            row, f"decision.by_tau.{key}", names, path
        )
        for key, row in table.items()
    }
    below = [tau for tau in rows if tau <= choice.tau + 1e-9]
    above = [tau for tau in rows if tau >= choice.tau - 1e-9]
    if choice.shares or not below or not above:
        return Decision()
    near = (rows[max(below)], rows[min(above)])
    by_class = zip(*(row.class_thresholds for row in near), strict=True)
    return Decision(
        max(row.reject_threshold for row in near),
        min(row.conformal_threshold for row in near),
        tuple(min(pair) for pair in by_class),
    )


def _thresholds(block: Any, key: str, names: Sequence[str], path: Path) -> Decision:
    row = _object(block, key, path)
    reject, conformal = (
        _number(row.get(name), f"{key}.{name}", path)
        for name in ("reject_threshold", "conformal_threshold")
    )
    if "conformal_by_class" not in row:
        return Decision(reject, conformal)
    inner = f"{key}.conformal_by_class"
    by_class = _object(row["conformal_by_class"], inner, path)
    return Decision(
        reject,
        conformal,
        tuple(_number(by_class.get(name), f"{inner}.{name}", path) for name in names),
    )


def _object(value: Any, key: str, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ModelFileError(
            f"{key}: expected an object, received {value!r}. Export the model again: {path}"
        )
    return value


def _number(value: Any, key: str, path: Path) -> float:
    # Written so that NaN fails; True is an int for Python.
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise ModelFileError(
            f"{key}: expected a number in 0..1, received {value!r}. Export the model again: {path}"
        )
    return float(value)


def _parsed(key: str) -> float | str:
    """JSON has no numbers for keys."""
    try:
        return float(key)
    except ValueError:
        return key
