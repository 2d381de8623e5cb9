"""What wrong training labels cost, and which ways of training bear them.

A share of the training labels is replaced by another class, each other class with the same chance;
validation and test stay as they are. At every share the same network is trained by cross-entropy,
with label smoothing, with erasing attention consistency (EAC) and with relative uncertainty (RUL).
Beside the accuracy: how it was after the last epoch, where nothing had stopped the network from
learning wrong labels by heart; how many of the wrong labels it answers as given, how many with the
truth; whether it explains a picture and its mirror image by the same places; and, for RUL, whom it
holds for uncertain.

examples:
  python -m fer_keras.study label_noise
  python -m fer_keras.study label_noise --noise 0 30 --methods cross_entropy attention_consistency
  python -m fer_keras.study label_noise --epochs 8 --limit 6000 --output runs/noise      a short one
  python -m fer_keras.study label_noise --dataset synthetic_faces --seeds 0 1 2

files:
  label_noise.md, .csv   a row for each share and method
  label_noise.png        the accuracies
  wrong_labels.png       wrong labels learned, wrong labels seen through, agreement of the maps
  uncertainty.png        RUL: uncertainties of right and wrong labels, of right and wrong answers
  faces_drawn.png        RUL: the drawn faces it is most and least certain of; --sheet adds the data's
  METHOD_SHARE-seedN/    the run folder of every training
"""  # noqa: E501

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fer_keras.common.errors import ConfigError
from fer_keras.common.files import write_text
from fer_keras.data.datasets.synthetic_faces import generate
from fer_keras.evaluation.run_data import run_samples
from fer_keras.loading.classifier import from_network
from fer_keras.loading.keras_files import load_network
from fer_keras.reporting.plots import (
    Line,
    Panel,
    plot_histograms,
    plot_intervals,
    plot_panels,
    plot_pictures,
)
from fer_keras.reporting.tables import markdown_table, write_csv
from fer_keras.studies.label_noise.findings import Findings, auroc, find, uncertainties_of
from fer_keras.studies.shared.output import output_folder
from fer_keras.studies.shared.series import (
    Outcomes,
    accuracy_cell,
    accuracy_interval,
    add_series_arguments,
    difference_cell,
    mean,
    measured_on,
    parent_run,
    plot_limits,
    schedule,
    shared_changes,
    train_series,
)
from fer_keras.studies.shared.trained_rows import Row

METHODS: dict[str, tuple[str, tuple[str, ...]]] = {
    "cross_entropy": ("cross-entropy", ()),
    "label_smoothing": ("label smoothing", ("method.options.label_smoothing=0.1",)),
    "attention_consistency": (
        "EAC",
        ("method.name=attention_consistency", "method.options.erasing=independent"),
    ),
    "relative_uncertainty": ("RUL", ("method.name=relative_uncertainty",)),
}
_UNCERTAIN = "relative_uncertainty"
# (data set, method) -> accuracy with clean labels that its authors state.
_PUBLISHED = {("ferplus", "attention_consistency"): "0.8964"}
# Seed of the drawn faces of the sheet, how many are drawn, and how many are shown of each kind.
_DRAWN_SEED, _DRAWN, _SHOWN = 881, 320, 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study.

    Args:
        parser: That of the command.
    """
    add_series_arguments(parser, "label_noise", "ferplus")
    parser.add_argument(
        "--noise", type=float, nargs="+", default=[0, 10, 20, 30], metavar="PERCENT",
        help="shares of wrong labels in per cent (0 10 20 30)",
    )  # fmt: skip
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME",
        help=f"of {', '.join(METHODS)} (all)",
    )  # fmt: skip
    parser.add_argument(
        "--sheet", action="store_true",
        help="also show pictures of the data set, which may not be passed on",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> str:
    """Does the study.

    Args:
        arguments: Parsed options.

    Returns:
        The table, as Markdown.

    Raises:
        ConfigError: A share is out of range.
        FerKerasError: The data set is missing, or a training failed.
    """
    if not all(0 <= share < 100 for share in arguments.noise):
        raise ConfigError(f"--noise: expected per cents from 0 to below 100: {arguments.noise}.")
    folder = output_folder(arguments, "label_noise")
    with parent_run("label_noise", folder, arguments) as tracker:
        planned = rows(arguments)
        outcomes = train_series(planned, folder, arguments, tracker)
        findings = {name: [find(outcome) for outcome in outcomes[name]] for name in outcomes}
        for name, of_seeds in outcomes.items():
            method, share = _parts(name)
            tracker.log({f"accuracy_{method}": mean(of_seeds, "accuracy")}, round(share))
        text = write_report(folder, outcomes, findings)
        uncertain = [name for name in outcomes if _parts(name)[0] == _UNCERTAIN]
        if uncertain:
            _draw_uncertainties(
                folder / "uncertainty.png", {name: findings[name] for name in uncertain}
            )
            worst = outcomes[max(uncertain, key=lambda name: _parts(name)[1])][0]
            _draw_faces(folder, worst.run_dir, arguments)
    return f"{text}\n\nwritten to {folder}"


def rows(arguments: argparse.Namespace) -> dict[str, Row]:
    """What is trained.

    Args:
        arguments: Parsed options.

    Returns:
        `METHOD_SHARE` -> row; with each share in turn, so that a study that is cut short is whole
        for the first ones.
    """
    made = {}
    for share in sorted(set(arguments.noise)):
        for method in dict.fromkeys(arguments.methods):
            label, changes = METHODS[method]
            noise = (f"dataset.label_noise={share / 100:g}",) if share else ()
            published = _PUBLISHED.get((arguments.dataset, method), "") if not share else ""
            made[f"{method}_{share:g}"] = Row(
                f"{label}, {share:g} %", "cross_entropy",
                (*changes, *noise, *shared_changes(arguments)), published,
            )  # fmt: skip
    return made


def _parts(name: str) -> tuple[str, float]:
    method, _, share = name.rpartition("_")
    return method, float(share)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def write_report(
    folder: Path,
    outcomes: Mapping[str, Outcomes],
    findings: Mapping[str, Sequence[Findings]],
) -> str:
    """Writes tables and figures, and returns the tables.

    Args:
        folder: Where to.
        outcomes: Of `rows`, by name; one for each seed.
        findings: Of the same.

    Returns:
        Markdown.
    """
    table, records = [], []
    for name, of_seeds in outcomes.items():
        method, share = _parts(name)
        found = findings[name]
        baseline = outcomes.get(f"cross_entropy_{share:g}", of_seeds)
        accuracy, low, high = accuracy_interval(of_seeds)
        record: dict[str, Any] = {
            "method": method, "noise": share / 100, "seeds": len(of_seeds),
            "n": of_seeds[0].figures["n"], "accuracy": accuracy, "low": low, "high": high,
            "balanced_accuracy": mean(of_seeds, "balanced_accuracy"),
            "last_epoch": _mean([each.last_accuracy for each in found]),
            "answered_as_given": _mean([each.given for each in found]),
            "answered_with_truth": _mean([each.true for each in found]),
            "map_agreement": _mean([each.agreement for each in found]),
            "error_auroc": _mean([each.error_auroc for each in found]),
            "published": of_seeds[0].row.published, "command": of_seeds[0].command,
        }  # fmt: skip
        records.append(record)
        table.append(
            [
                of_seeds[0].row.label, accuracy_cell(of_seeds),
                difference_cell(of_seeds, baseline), f"{record['balanced_accuracy']:.4f}",
                f"{record['last_epoch']:.4f}", _share(record["answered_as_given"]),
                _share(record["answered_with_truth"]), _number(record["map_agreement"]),
                _number(record["error_auroc"]), record["published"],
            ]
        )  # fmt: skip
    header = (
        "Training, wrong labels", "Accuracy [95 %]", "Against cross-entropy", "Balanced",
        "Last epoch", "As given", "With truth", "Map agreement", "AUROC of errors", "Published",
    )  # fmt: skip
    lines = [
        "# Label noise",
        "",
        f"{measured_on(outcomes)}; {schedule(outcomes)}. The difference is in points on the same "
        "pictures (p: McNemar's exact test, of each seed). Last epoch: validation accuracy without "
        "the choice of an epoch. As given, with truth: how the network answers training pictures "
        "whose label is wrong. Map agreement: mean correlation of the Grad-CAM of a picture and of "
        "its mirror image. AUROC of errors: how well the probability of an answer tells right from "
        "wrong. Published: ResNet-50 that was trained on faces before, 224 pixels, epoch chosen on "
        "test.",
        "",
        markdown_table(header, table),
    ]
    uncertain = [
        [
            outcomes[name][0].row.label,
            _number(_mean([uncertainty_auroc(each, "label") for each in found])),
            _number(_mean([uncertainty_auroc(each, "answer") for each in found])),
        ]
        for name, found in findings.items()
        if found[0].uncertainties
    ]
    if uncertain:
        own_header = ("Uncertainty of", "AUROC of wrong labels", "AUROC of errors")
        lines += [
            "",
            "How well the learned uncertainty tells wrong training labels from right ones, and "
            "wrong answers from right ones (0.5: not at all):",
            "",
            markdown_table(own_header, uncertain),
        ]
    text = "\n".join(lines)
    write_text(folder / "label_noise.md", text + "\n")
    write_csv(folder / "label_noise.csv", records)
    _draw_accuracies(folder / "label_noise.png", outcomes)
    _draw_wrong_labels(folder / "wrong_labels.png", records)
    return text


def uncertainty_auroc(found: Findings, what: str) -> float | None:
    """How well uncertainty tells wrong from right.

    Args:
        found: Of a network that gives uncertainties.
        what: `"label"` or `"answer"`.

    Returns:
        0.5 (not at all) to 1; None where nothing is wrong.
    """
    parts = found.uncertainties
    return auroc(parts[f"right_{what}"], parts[f"wrong_{what}"])


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _draw_accuracies(path: Path, outcomes: Mapping[str, Outcomes]) -> None:
    groups: dict[str, dict[str, tuple[float, float, float]]] = {}
    for name, of_seeds in outcomes.items():
        method, share = _parts(name)
        kind = f"{share:g} % wrong labels"
        groups.setdefault(METHODS[method][0], {})[kind] = accuracy_interval(of_seeds)
    ends = [end for group in groups.values() for _, *both in group.values() for end in both]
    figures = next(iter(outcomes.values()))[0].figures
    plot_intervals(
        groups,
        path,
        title="What wrong training labels cost",
        note="Accuracy, 95 % Wilson interval of one run; "
        f"{figures['dataset']} {figures['split']} split, n {figures['n']:,}",
        limits=plot_limits(ends),
    )


def _draw_wrong_labels(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    panels = []
    for title, key in (
        ("Wrong labels answered as given", "answered_as_given"),
        ("Wrong labels answered with truth", "answered_with_truth"),
        ("Agreement of mirrored maps", "map_agreement"),
    ):
        known = [record for record in records if record[key] is not None]
        shares = sorted({record["noise"] for record in known})
        lines = []
        for method in dict.fromkeys(record["method"] for record in known):
            of_share = {r["noise"]: r[key] for r in known if r["method"] == method}
            if set(of_share) == set(shares):
                values = [max(of_share[share], 0.0) for share in shares]
                lines.append(Line(METHODS[method][0], values))
        if lines:
            panels.append(Panel(title, [f"{share:.0%}" for share in shares], lines))
    if panels:
        plot_panels(panels, path, title="What was learned from wrong labels", note="Under the "
                    "lines: share of wrong\ntraining labels")  # fmt: skip


def _draw_uncertainties(path: Path, findings: Mapping[str, Sequence[Findings]]) -> None:
    """Draws histograms of the first seed: labels above, answers below, a column for each share."""
    grid = []
    for what, of_what in (("label", "training pictures, label"), ("answer", "held out, answer")):
        row = []
        for name, (found, *_) in findings.items():
            values = found.uncertainties
            # Only ratios mean something: 0 is the median of the held-out pictures.
            middle = np.median([*values["right_answer"], *values["wrong_answer"]])
            groups = {
                f"{kind} {what}": np.log2(np.array(values[f"{kind}_{what}"]) / middle)
                for kind in ("right", "wrong")
            }
            told = uncertainty_auroc(found, what)
            auc = "" if told is None else f"AUROC {told:.2f}"
            row.append((f"{_parts(name)[1]:g} % wrong labels: {of_what}\n{auc}", groups))
        grid.append(row)
    plot_histograms(
        grid, path, title="Relative uncertainty", note="log2 of uncertainty / median held out"
    )


def _draw_faces(folder: Path, run_dir: Path, arguments: argparse.Namespace) -> None:
    """Draws sheets of the faces that a network is most and least certain of."""
    from fer_keras.models.layers import class_names_of

    network, _ = load_network(run_dir / "best.keras")
    class_names = class_names_of(network)
    height, _, channels = network.inputs[0].shape[1:]
    drawn, labels = _drawn(height, channels)
    _draw_sheet(folder / "faces_drawn.png", network, class_names, drawn, labels, run_dir.name)
    if arguments.sheet:
        samples, _ = run_samples(run_dir, arguments.split)
        named = [samples.class_names[label] for label in samples.labels]
        path = folder / f"faces_{samples.name}.png"
        _draw_sheet(path, network, class_names, np.asarray(samples.images), named, run_dir.name)


def _drawn(size: int, channels: int) -> tuple[Any, list[str]]:
    faces = list(generate(_DRAWN, seed=_DRAWN_SEED, size=size, channels=channels))
    return np.stack([face.image for face in faces]), [face.emotion for face in faces]


def _draw_sheet(
    path: Path,
    network: Any,
    class_names: Sequence[str],
    images: Any,
    labels: Sequence[str],
    name: str,
) -> None:
    uncertainties = uncertainties_of(network, images)
    answers = from_network(network).predict(images).argmax(axis=1)
    order = np.argsort(uncertainties, kind="stable")
    sheet = []
    for kind, chosen in (("most certain", order[:_SHOWN]), ("least certain", order[::-1][:_SHOWN])):
        captions = [
            f"{labels[i]}\nsaid {class_names[answers[i]]}\n{uncertainties[i]:.3g}" for i in chosen
        ]
        sheet.append((kind, [images[i] for i in chosen], captions))
    plot_pictures(sheet, path, title=f"By the uncertainty of {name}", caption_lines=3)
