"""The complete state of a training, written so that a kill at any moment costs nothing.

One file holds all: weights, moving statistics, seed generators, optimizer state, the figures of an
epoch that is under way, the step, and the history from which the choice of the best epoch and early
stopping are worked out. It is written to a temporary file, flushed to the disk and renamed, and the
one before it is kept until then. Order and augmentation are functions of (seed, step), so step and
variables are all there is to restore.

Keras' `BackupAndRestore` stores the epoch only, and writes two files in place.
"""

import json
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fer_keras.common.errors import ModelFileError, TrainingError
from fer_keras.common.files import atomic_path
from fer_keras.config import TrainingConfig
from fer_keras.training.run_folder import STATE_FILE

_METRIC = "metric"


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: Optimizer steps done since the start of the run.
        history: One row of figures for each finished epoch.
        seconds: Training time so far, over all sessions.
    """

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    def best(self, monitor: str) -> dict[str, float] | None:
        """The row that model selection prefers: the first with the best `monitor`.

        Args:
            monitor: `val_accuracy` (higher is better) or `val_loss` (lower is better).
        """
        if not self.history:
            return None
        sign = -1.0 if monitor.endswith("loss") else 1.0
        return max(self.history, key=lambda row: (sign * row[monitor], -row["epoch"]))

    def kept(self, training: TrainingConfig) -> dict[str, float] | None:
        """The row of the epoch whose weights are kept.

        Args:
            training: The recipe, which says by what.
        """
        if training.keep == "last":
            return self.history[-1] if self.history else None
        return self.best(training.select_by)

    def stopped(self, training: TrainingConfig) -> bool:
        """Whether the epochs so far end the training early.

        Args:
            training: The recipe, with its patience.
        """
        patience, best = training.early_stopping_patience, self.best(training.select_by)
        return bool(patience and best and self.history[-1]["epoch"] - best["epoch"] >= patience)


def save_checkpoint(folder: Path, method: Any, progress: Progress) -> Path:
    """Writes the state of a training in one atomic step.

    Args:
        folder: Where `state.npz` lives; made if missing.
        method: A compiled `Method` whose optimizer is built.
        progress: How far the run is.

    Returns:
        The path of the file.

    Raises:
        TrainingError: A variable is not finite (nothing is written), or the disk refuses.
    """
    arrays = _arrays(method)
    bad = [name for name, array in arrays.items() if not _finite(array)]
    if bad:
        raise TrainingError(
            f"{len(bad)} variables are not finite at step {progress.step}, the first is "
            f"{bad[0].split('|')[1]}. The last good checkpoint stays in {folder}."
        )
    facts = {**asdict(progress), "backend": keras.backend.backend()}
    header = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    path = folder / STATE_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, progress=header, **arrays)
    except OSError as error:
        raise TrainingError(
            f"The checkpoint could not be written: {error.strerror or error}. The last one stays "
            f"as it was: {path}."
        ) from error
    return path


def load_checkpoint(folder: Path, method: Any) -> Progress | None:
    """Restores what `save_checkpoint` wrote.

    Args:
        folder: Where `state.npz` lives.
        method: A compiled `Method` of the same network, method and optimizer, its optimizer built.

    Returns:
        How far the run was, or None where there is no checkpoint yet.

    Raises:
        ModelFileError: The file is damaged or belongs to another network, method or optimizer.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            stored = {name: file[name] for name in file.files}
        facts = json.loads(bytes(stored.pop("progress")))
        facts.pop("backend", None)
        progress = Progress(**facts)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ModelFileError(f"The checkpoint is damaged: {error}. Path: {path}.") from error
    variables = state_variables(method)
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    differing = sorted(
        name
        for name in shapes.keys() | stored.keys()
        if name not in shapes or name not in stored or stored[name].shape != shapes[name]
    )
    # A file of an earlier version has no metrics: the row of its epoch is then that of its rest.
    if not any(name.startswith(_METRIC) for name in stored):
        differing = [name for name in differing if not name.startswith(_METRIC)]
    if differing:
        raise ModelFileError(
            "The checkpoint belongs to another network, method or optimizer. Differing: "
            f"{', '.join(differing[:3])} ({len(differing)} in all). Path: {path}."
        )
    for name in stored:
        variables[name].assign(stored[name])
    return progress


def state_variables(method: Any) -> dict[str, Any]:
    """Every variable of a compiled method under a name that is the same in each run."""
    named = {}
    groups = (
        ("model", method.variables),
        ("opt", method.optimizer.variables),
        (_METRIC, method.metrics_variables),
    )
    for group, variables in groups:
        for index, variable in enumerate(variables):
            # The last part of a path is its role; the rest is numbered per process.
            role = variable.path.rsplit("/", 1)[-1] if group == "model" else "slot"
            named[f"{group}{index:04d}|{role}"] = variable
    return named


def as_array(variable: Any) -> np.ndarray:
    """The value of a Keras variable, also of one that several devices share."""
    # TensorFlow keeps such a variable in parts; a copy is one array.
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.copy(variable.value)))


def _arrays(method: Any) -> dict[str, np.ndarray]:
    # On JAX the values live outside the variables while `fit` runs.
    if hasattr(method, "jax_state_sync"):
        method.jax_state_sync()
    return {name: as_array(variable) for name, variable in state_variables(method).items()}


def _finite(array: np.ndarray) -> bool:
    return not np.issubdtype(array.dtype, np.floating) or bool(np.isfinite(array).all())
