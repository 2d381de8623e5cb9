"""The best model of each data set in MLflow's registry, under the alias `champion`.

A registered model is called `DATASET-RULE`, for instance `ferplus-majority`: the data set, of a
folder of one's own also which one (`fer_keras.data.load.tracked_name`), and the label rule of
validation, since accuracies by different rules cannot be compared. A finished run becomes its next
version and gets the alias if its validation accuracy on the same pictures is higher than the
champion's. On a tie the older one stays. The alias says "higher on these pictures", not
"significantly better".
"""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fer_keras.config import Experiment, list_experiments, load_experiment
from fer_keras.tracking.tracker import Tracker

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples


def pictures_id(samples: "Samples") -> str:
    """Tells whether two models were scored on the same pictures with the same labels.

    Args:
        samples: What a model was scored on.

    Returns:
        Twelve hexadecimal digits; they depend neither on order, nor on the size to which pictures
        were scaled, nor on the order of the classes.
    """
    names = [samples.class_names[label] for label in samples.labels]
    lines = sorted(
        f"{pixels} {name}"
        for pixels, name in zip(samples.facts["sha256"].tolist(), names, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def not_whole(experiment: Experiment) -> str:
    """Why a run does not compete: its score is of a smaller task than that of the others.

    Args:
        experiment: What ran.

    Returns:
        The settings that make it smaller; empty for a whole run.
    """
    dataset, reasons = experiment.dataset, []
    if dataset.fallback_for:
        reasons.append(f"drawn faces in the place of {dataset.fallback_for}")
    reasons += [
        f"dataset.{key}={value}"
        for key in ("limit", "per_class", "label_noise")
        if (value := getattr(dataset, key))
    ]
    if experiment.name in list_experiments():
        epochs = load_experiment(experiment.name).training.epochs
        if experiment.training.epochs < epochs:
            reasons.append(f"training.epochs={experiment.training.epochs} of {epochs}")
    return ", ".join(reasons)


def challenge(tracker: Tracker, result: Mapping[str, Any]) -> str:
    """Registers a finished run as champion if it beats the present one.

    Args:
        tracker: With the run open, and its files among the artifacts.
        result: The content of the run's `result.json`.

    Returns:
        A line that says who is champion; empty where nothing is tracked, or where an earlier
        version made the result, which did not say what pictures it is of.
    """
    pictures = result.get("validation_pictures")
    if not tracker.active or not pictures:
        return ""
    name = f"{result.get('tracked_as', result['dataset'])}-{result['label_rule']}"
    run = f"{result['experiment']} seed {result['seed']}"
    present = tracker.champion(name)
    if present is not None and present.get("pictures") != pictures:
        return (
            f"champion  {name}: not compared, since {present.get('run')} was scored on other "
            "validation pictures"
        )
    if present is not None and result["accuracy"] <= float(present["accuracy"]):
        return f"champion  {name}: {present['run']} stays, {float(present['accuracy']):.4f}"
    tags = {
        "run": run,
        "accuracy": repr(result["accuracy"]),
        "n": str(result["n"]),
        "pictures": pictures,
        "train_label_rule": result["train_label_rule"],
        "git_commit": result["git_commit"],
        "class_names": ",".join(result["class_names"]),
    }
    tracker.register_champion(name, tags)
    before = f", before {present['run']} {float(present['accuracy']):.4f}" if present else ""
    return f"champion  {name}: {run} {result['accuracy']:.4f}{before}"
