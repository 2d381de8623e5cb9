"""What several networks know together: each alone, four ways to join them, one picture or ten crops.

The ways: mean of the logits; mean of the probabilities; a linear layer on all logits, fitted from
there on with a penalty on how far it goes; the same on all probabilities, penalised towards zero
(logistic stacking). The fitted ones are cross-fitted within the validation split: each picture is
answered by a layer that was fitted on the other folds, so no picture helps to judge itself. Still,
the split chose the epochs of the networks: the test split is read where --split test asks for it,
and the layers are then those of the whole validation split.

examples:
  python -m fer_keras.study fusion runs/VGG19 runs/RESNET18
  python -m fer_keras.study fusion RUN RUN RUN --ten-crop 0 --save linear

files:
  fusion.md, .csv, .json   accuracy with its 95 % Wilson interval, McNemar's test against the best base
  fusion.png               the same as points
  fusion_RULE.keras        with --save: one network, fitted on the whole validation split
"""  # noqa: E501

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.errors import ConfigError
from fer_keras.common.files import write_text
from fer_keras.common.labels import name_mapping
from fer_keras.common.metrics import evaluate_predictions, softmax
from fer_keras.common.significance import mcnemar
from fer_keras.config import load_experiment
from fer_keras.data.splits import duplicated_in
from fer_keras.evaluation.run_data import run_samples
from fer_keras.evaluation.tta import predict_logits
from fer_keras.loading.keras_files import load_network, save_network
from fer_keras.loading.load import load_model
from fer_keras.reporting.plots import plot_intervals
from fer_keras.reporting.tables import markdown_table, write_csv
from fer_keras.studies.fusion.rules import RULES, Scores, apply, cross_fit, fit
from fer_keras.studies.shared.output import output_folder
from fer_keras.tracking.tracker import git_commit

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples
    from fer_keras.loading.classifier import LoadedModel

# Networks of full width with the epoch chosen on PrivateTest and ten crops, as their authors state:
# WuJie1010/Facial-Expression-Recognition.Pytorch.
PUBLISHED = {
    ("vgg19", "validation"): "0.7150",
    ("vgg19", "test"): "0.7311",
    ("resnet18", "validation"): "0.7119",
    ("resnet18", "test"): "0.7297",
}


@dataclass(frozen=True)
class Answers:
    """What the bases say of the pictures of one split.

    Attributes:
        samples: The pictures.
        logits: Number of views ("1" or "10") -> `(n, bases, classes)`.
        duplicates: `(n,)` whether the exact pixels also occur in train.
    """

    samples: "Samples"
    logits: dict[str, Scores]
    duplicates: npt.NDArray[np.bool_]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study.

    Args:
        parser: That of the command.
    """
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="two or more run folders")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument(
        "--ten-crop", type=int, metavar="SIDE",
        help="pixels of the pictures that the crops are cut from; 0 leaves them out; default: 48 "
        "for crops of 44, and in that proportion",
    )  # fmt: skip
    parser.add_argument("--folds", type=int, default=5, help="of the cross-fitting (5)")
    parser.add_argument("--save", choices=RULES, help="write this fusion as one .keras file")
    parser.add_argument(
        "--limit", type=int, default=0, metavar="N", help="only N pictures, spread evenly"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="default: runs/study-fusion-DATE"
    )


def run(arguments: argparse.Namespace) -> str:
    """Does the study.

    Args:
        arguments: Parsed options.

    Returns:
        A table, as Markdown.

    Raises:
        FerKerasError: A run or its data cannot be used.
    """
    if len(arguments.runs) < 2:
        raise ConfigError("Expected two or more run folders. Received: 1.")
    models = [load_model(path) for path in arguments.runs]
    names = _names(arguments.runs)
    fitting = _answers(arguments, models, "validation")
    scored = fitting if arguments.split == "validation" else _answers(arguments, models, "test")
    rows: list[dict[str, Any]] = []
    for views in scored.logits:
        rows += measure(fitting, scored, views, names, arguments.folds)
    samples = scored.samples
    about = {
        "studied_on": f"{samples.name} {samples.split} ({samples.label_rule}), n {len(samples):,}",
        "split": samples.split,
        "label_rule": samples.label_rule,
        "n": len(samples),
        "folds": arguments.folds,
        "git_commit": git_commit(),
        "bases": [
            {"name": name, "path": str(path), "sha256": model.sha256}
            for name, path, model in zip(names, arguments.runs, models, strict=True)
        ],
    }
    for row in rows:
        row["published"] = _published(arguments.runs, names, row, samples)
    folder = output_folder(arguments, "fusion")
    text = report(about, rows)
    write_text(folder / "fusion.md", text + "\n")
    write_csv(folder / "fusion.csv", rows)
    write_text(folder / "fusion.json", json.dumps({**about, "rows": rows}, indent=2) + "\n")
    _draw(folder / "fusion.png", rows, about["studied_on"])
    lines = [text, "", f"written to {folder}"]
    if arguments.save:
        lines.append(_save(arguments, models, fitting, folder))
    return "\n".join(lines)


def measure(
    fitting: Answers, scored: Answers, views: str, names: Sequence[str], folds: int
) -> list[dict[str, Any]]:
    """Scores the bases and all rules.

    Args:
        fitting: What the layers are fitted on.
        scored: What is scored; where it is `fitting` itself, the layers are cross-fitted.
        views: `"1"` or `"10"`.
        names: Of the bases.
        folds: Of the cross-fitting.

    Returns:
        One flat row for each base and rule. `p_value` is McNemar's against the best base, which is
        chosen on the same pictures: that favours the base.
    """
    samples, logits = scored.samples, scored.logits[views]
    answers = {name: softmax(logits[:, i]) for i, name in enumerate(names)}
    for rule in RULES:
        if scored is fitting:
            answers[rule] = cross_fit(rule, logits, samples, folds)
        else:
            layer = fit(rule, fitting.logits[views], fitting.samples.targets)
            answers[rule] = apply(rule, logits, layer)
    right = {name: p.argmax(axis=1) == samples.labels for name, p in answers.items()}
    best = max(names, key=lambda name: right[name].mean())
    rows = []
    for name, p in answers.items():
        figures = evaluate_predictions(
            p, samples.targets, samples.class_names, duplicates=scored.duplicates
        )
        low, high = figures["accuracy_interval"]
        gained = int((right[name] & ~right[best]).sum())
        lost = int((right[best] & ~right[name]).sum())
        rows.append(
            {
                "answer": name, "views": int(views), "is_base": name in names, "n": figures["n"],
                "accuracy": figures["accuracy"], "accuracy_low": low, "accuracy_high": high,
                "balanced_accuracy": figures["balanced_accuracy"],
                "without_duplicates": figures["without_duplicates"]["accuracy"],
                "macro_f1": figures["macro_f1"], "nll": figures["nll"], "ece": figures["ece"],
                "best_base": best, "gained": gained, "lost": lost,
                "p_value": mcnemar(gained, lost),
            }
        )  # fmt: skip
    return rows


def _answers(arguments: argparse.Namespace, models: "Sequence[LoadedModel]", split: str) -> Answers:
    """Lets every base look at every picture of a split, in its own size and in ten crops."""
    first, train = run_samples(arguments.runs[0], split)
    chosen = np.arange(len(first))
    if 0 < arguments.limit < len(first):
        chosen = np.linspace(0, len(first) - 1, arguments.limit).round().astype(np.int64)
    logits: dict[str, list[Scores]] = {}
    for path, model in zip(arguments.runs, models, strict=True):
        side = model.image_shape[0]
        columns = list(name_mapping(model.class_names, first.class_names))
        large = round(side * 48 / 44) if arguments.ten_crop is None else arguments.ten_crop
        looks: dict[str, tuple[int, Callable[..., Any]]] = {"1": (side, model.logits)}
        if large:
            looks["10"] = (large, lambda x, m=model, s=side: predict_logits(m.logits, x, s))
        for views, (size, look) in looks.items():
            samples, _ = run_samples(path, split, size)
            if not np.array_equal(samples.facts["sha256"], first.facts["sha256"]):
                raise ConfigError(
                    f"The runs have other pictures in their {split} splits: expected those of "
                    f"{arguments.runs[0]}. Received: {path}"
                )
            answer = look(samples.take(chosen).images)[:, columns]
            logits.setdefault(views, []).append(answer.astype(np.float64))
    samples = first.take(chosen)
    stacked = {views: np.stack(answers, axis=1) for views, answers in logits.items()}
    return Answers(samples, stacked, duplicated_in(samples, train))


def _names(runs: Sequence[Path]) -> list[str]:
    names: list[str] = []
    for path in runs:
        name = path.resolve().name
        names.append(f"{name} ({names.count(name) + 1})" if name in names else name)
    return names


def _published(
    runs: Sequence[Path], names: Sequence[str], row: dict[str, Any], samples: "Samples"
) -> str:
    if not row["is_base"] or row["views"] != 10 or samples.name != "fer2013":
        return ""
    network = load_experiment(str(runs[names.index(row["answer"])])).network.name
    return PUBLISHED.get((network, samples.split), "")


def report(about: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """All of it as Markdown.

    Args:
        about: What was studied on what.
        rows: Of `measure`.

    Returns:
        Text without a last newline.
    """
    cross = f"cross-fitted in {about['folds']} folds of it"
    fitted = cross if about["split"] == "validation" else "fitted on the validation split"
    header = [
        "Answer", "Views", "Accuracy [95 %]", "Balanced", "Without duplicates", "Macro F1", "NLL",
        "ECE", "Gained / lost", "p", "Published",
    ]  # fmt: skip
    table = [
        [
            row["answer"], str(row["views"]),
            f"{row['accuracy']:.4f} [{row['accuracy_low']:.4f}, {row['accuracy_high']:.4f}]",
            f"{row['balanced_accuracy']:.4f}",
            "" if row["without_duplicates"] is None else f"{row['without_duplicates']:.4f}",
            f"{row['macro_f1']:.4f}", f"{row['nll']:.4f}", f"{row['ece']:.3f}",
            "" if row["answer"] == row["best_base"] else f"{row['gained']} / {row['lost']}",
            "" if row["answer"] == row["best_base"] else f"{row['p_value']:.3f}",
            row["published"],
        ]
        for row in rows
    ]  # fmt: skip
    lines = [
        "# Fusion",
        "",
        f"{about['studied_on']}, commit {about['git_commit']}. The layers of linear and stacking "
        f"are {fitted}. Views: one picture, or ten crops whose logits are averaged. Gained / lost: "
        "pictures that the answer has right and the best base with as many views wrong, and the "
        "other way round; p is McNemar's (exact). Published: full width, epoch chosen on "
        "PrivateTest.",
        "",
        markdown_table(header, table),
    ]
    return "\n".join(lines)


def _draw(path: Path, rows: Sequence[dict[str, Any]], studied_on: str) -> None:
    groups: dict[str, dict[str, tuple[float, float, float]]] = {}
    for row in rows:
        group = "one picture" if row["views"] == 1 else "ten crops"
        values = (row["accuracy"], row["accuracy_low"], row["accuracy_high"])
        name = row["answer"] if row["is_base"] else row["answer"].replace("_", " ")
        groups.setdefault(group, {})[name] = values
    low = min(row["accuracy_low"] for row in rows)
    high = max(row["accuracy_high"] for row in rows)
    margin = 0.1 * (high - low)
    plot_intervals(
        groups,
        path,
        title="Networks alone and together",
        note=f"Accuracy, 95 % Wilson interval; {studied_on}",
        limits=(max(0.0, low - margin), min(1.0, high + margin)),
    )


def _save(
    arguments: argparse.Namespace, models: "Sequence[LoadedModel]", fitting: Answers, folder: Path
) -> str:
    from fer_keras.models.fusion import fuse, in_order
    from fer_keras.models.layers import with_class_names

    names = fitting.samples.class_names
    networks = [in_order(load_network(m.path / "best.keras")[0], names) for m in models]
    fused = fuse(networks, arguments.save)
    layer = fit(arguments.save, fitting.logits["1"], fitting.samples.targets)
    if layer is not None:
        fused.get_layer("logits").set_weights(list(layer))
    path = folder / f"fusion_{arguments.save}.keras"
    save_network(with_class_names(fused, names), path)
    return f"saved {path}"
