"""What a network that was trained on noisy labels has learned; for the study `label_noise`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.files import read_json, write_text
from fer_keras.config import load_experiment
from fer_keras.data import splits
from fer_keras.loading.keras_files import load_network
from fer_keras.loading.load import load_model
from fer_keras.reporting.tables import read_csv
from fer_keras.studies.shared.trained_rows import Outcome

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples

_FILE = "label_noise.json"
# Training pictures whose answers are looked at, and held-out ones whose maps are.
_TRAINING_PICTURES = 2000
_MAPS = 500
_BLOCK = 256

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Findings:
    """What is known of one training beside its figures.

    Attributes:
        model_sha256: Of the network.
        split: On which it was measured.
        last_accuracy: On validation, after the last epoch rather than the kept one.
        wrong_labels: Training pictures with a wrong label that were looked at.
        given: Share of them that the network answers with that label: what it memorised.
        true: Share of them that it answers with the true one.
        agreement: Mean correlation of the Grad-CAM of a picture with that of its mirror image,
            mirrored back, -1..1; None for a network without a map.
        error_auroc: How well the probability of the answer tells wrong ones from right ones, 0.5
            (not at all) to 1; None where all are right or all wrong.
        uncertainties: Of a network that gives them: `right_label` and `wrong_label` of training
            pictures, `right_answer` and `wrong_answer` of held-out ones.
    """

    model_sha256: str
    split: str
    last_accuracy: float
    wrong_labels: int
    given: float | None
    true: float | None
    agreement: float | None
    error_auroc: float | None
    uncertainties: Mapping[str, Sequence[float]] = field(default_factory=dict)


def find(outcome: Outcome) -> Findings:
    """Looks at a finished training, or reads what was found when it was looked at before.

    Args:
        outcome: Of `trained.train_row`.

    Returns:
        The findings; they are kept in the run folder.
    """
    path = outcome.run_dir / _FILE
    key = {name: outcome.figures[name] for name in ("model_sha256", "split")}
    if path.is_file():
        kept = read_json(path)
        if {name: kept.get(name) for name in key} == key:
            return Findings(**kept)
    found = _look(outcome, key)
    write_text(path, json.dumps(asdict(found)) + "\n")
    return found


def _look(outcome: Outcome, key: Mapping[str, str]) -> Findings:
    from fer_keras.studies.shared.maps import FEATURE_OUTPUTS, Explainer

    experiment = load_experiment(str(outcome.run_dir))
    train, held_out, _ = splits.load_splits(experiment.dataset, experiment.seed)
    if key["split"] == "test":
        held_out = splits.load_test(experiment.dataset, experiment.seed)
    clean = train.facts.get("clean_label", train.labels)
    chosen = np.flatnonzero(train.labels != clean)[:_TRAINING_PICTURES]
    answers = np.zeros(0, np.int64)
    if len(chosen):
        answers = load_model(outcome.run_dir).predict(train.images[chosen]).argmax(axis=1)
    network, _ = load_network(outcome.run_dir / "best.keras")
    agreement = None
    if any(name in network.output for name in FEATURE_OUTPUTS):
        agreement = map_agreement(Explainer(network), _spread(held_out, _MAPS))
    confidence, right = read_predictions(outcome.run_dir / f"predictions_{key['split']}.csv")
    uncertainties: dict[str, list[float]] = {}
    if "uncertainty" in network.output:
        looked_at = np.linspace(0, len(train) - 1, min(len(train), _TRAINING_PICTURES))
        rows = looked_at.round().astype(np.int64)
        wrong = train.labels[rows] != clean[rows]
        for names, images, is_wrong in (
            (("right_label", "wrong_label"), train.images[rows], wrong),
            (("right_answer", "wrong_answer"), held_out.images, ~right),
        ):
            values = uncertainties_of(network, images)
            for name, mask in zip(names, (~is_wrong, is_wrong), strict=True):
                uncertainties[name] = [round(float(value), 5) for value in values[mask]]
    rows_of_epochs = (outcome.run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return Findings(
        model_sha256=key["model_sha256"],
        split=key["split"],
        last_accuracy=float(json.loads(rows_of_epochs[-1])["val_accuracy"]),
        wrong_labels=len(chosen),
        given=float((answers == train.labels[chosen]).mean()) if len(chosen) else None,
        true=float((answers == clean[chosen]).mean()) if len(chosen) else None,
        agreement=agreement,
        error_auroc=auroc(confidence[~right], confidence[right]),
        uncertainties=uncertainties,
    )


def _spread(samples: "Samples", count: int) -> Images:
    rows = np.linspace(0, len(samples) - 1, min(len(samples), count)).round().astype(np.int64)
    return np.asarray(samples.images[rows])


def read_predictions(path: Path) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """The probability of every answer, `(n,)`, and whether it is right, of a table of a run."""
    lines = read_csv(path)
    confidence = [float(line[f"p_{line['predicted']}"]) for line in lines]
    return np.array(confidence), np.array([line["true"] == line["predicted"] for line in lines])


def map_agreement(explainer: Any, images: Images) -> float:
    """Whether a network explains a picture and its mirror image by the same places.

    Args:
        explainer: A `fer_keras.studies.shared.maps.Explainer`.
        images: `(n, height, width, channels)` of the network's size.

    Returns:
        The mean over the pictures of the correlation of both Grad-CAM maps of the answer (Eigen-CAM
        where the logits need more than the map); pictures with a flat map are left out.
    """
    found = []
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK]
        answers = explainer.answers(block)
        one = explainer.maps(block, answers)
        other = explainer.maps(np.ascontiguousarray(block[:, :, ::-1]), answers)
        name = next((name for name in one if name.startswith("Grad-CAM")), "Eigen-CAM")
        found.append(correlations(one[name], other[name][:, :, ::-1]))
    values = np.concatenate(found)
    return float(np.nanmean(values)) if np.isfinite(values).any() else 0.0


def correlations(one: Floats, other: Floats) -> npt.NDArray[np.float64]:
    """The correlation of both `(n, h, w)` maps over their places, `(n,)`; NaN if one is flat."""
    centred = [m.reshape(len(m), -1).astype(np.float64) for m in (one, other)]
    centred = [m - m.mean(axis=1, keepdims=True) for m in centred]
    lengths = np.prod([np.linalg.norm(m, axis=1) for m in centred], axis=0)
    products = (centred[0] * centred[1]).sum(axis=1)
    found = np.full(len(one), np.nan)
    np.divide(products, lengths, out=found, where=lengths > 1e-9)
    return found


def uncertainties_of(network: Any, images: Images) -> Floats:
    """The output `uncertainty` of a network, `(n,)`, of pictures of its size."""
    import keras

    head = keras.Model(network.inputs[0], network.output["uncertainty"])
    blocks = []
    for start in range(0, len(images), _BLOCK):
        block = np.asarray(images[start : start + _BLOCK], np.float32)
        filler = np.zeros((_BLOCK - len(block), *block.shape[1:]), np.float32)
        # One shape for all calls: a second one would compile the graph again.
        found = head.predict_on_batch(np.concatenate([block, filler]))
        blocks.append(np.asarray(found, np.float32)[: len(block), 0])
    return np.concatenate(blocks)


def auroc(lower: npt.ArrayLike, higher: npt.ArrayLike) -> float | None:
    """The chance that a number of one group is below one of the other; ties count half."""
    from sklearn.metrics import roc_auc_score

    below, above = np.asarray(lower, np.float64), np.asarray(higher, np.float64)
    if not len(below) or not len(above):
        return None
    groups = np.repeat([0, 1], [len(below), len(above)])
    return float(roc_auc_score(groups, np.concatenate([below, above])))
