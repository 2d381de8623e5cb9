"""Models side by side on the same pictures."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.common.files import atomic_path, write_text
from fer_keras.common.labels import class_name
from fer_keras.common.metrics import softmax
from fer_keras.common.prior import parse_prior, prior_weights, reweighted
from fer_keras.data.load import load_samples
from fer_keras.evaluation.evaluate import class_prior_of, default_prior
from fer_keras.evaluation.run_data import own_source
from fer_keras.reporting.plots import plot_pictures
from fer_keras.reporting.tables import write_csv
from fer_keras.runtime.timing.machine import describe_machine, summary
from fer_keras.studies.comparison import report
from fer_keras.studies.comparison.latency import cost_figures
from fer_keras.studies.comparison.plots import plot_disagreement, plot_pareto
from fer_keras.studies.comparison.report import published
from fer_keras.studies.comparison.scores import (
    annotator_ceiling,
    annotator_figures,
    compare_pairs,
    emotion_votes,
    model_figures,
)
from fer_keras.studies.shared.models import run_of
from fer_keras.tracking.tracker import git_commit

if TYPE_CHECKING:
    from fer_keras.common.decode import Enlarge
    from fer_keras.data.samples import Samples
    from fer_keras.studies.comparison.contenders import Contender


Scores = npt.NDArray[np.float64]


def compare(
    contenders: Sequence["Contender"], arguments: argparse.Namespace, folder: Path, command: str
) -> str:
    """Scores, times and compares models, and writes everything.

    Args:
        contenders: Of `contenders.find_contenders`.
        arguments: Of the command.
        folder: Where the files go.
        command: The command line, for the record.

    Returns:
        The table and what stands below it, in Markdown.

    Raises:
        FerKerasError: The data set cannot be read, or a model gives no probabilities.
    """
    data = _Pictures(arguments, contenders[0])
    samples = data.samples(arguments.size, 1)
    names, labels = samples.class_names, samples.labels
    duplicates = data.duplicates(samples)
    votes = emotion_votes(samples.facts["votes"], names) if "votes" in samples.facts else None
    scored = _score(contenders, data, folder / "answers", arguments.size)

    rows: list[dict[str, Any]] = []
    probabilities: dict[str, Scores] = {}
    costs = cost_figures(contenders, calls=arguments.timing_runs)
    for contender, (scores, seconds), cost in zip(contenders, scored, costs, strict=True):
        model = contender.model
        plain = None
        if model.has_logits:
            plain = model.aligned(softmax(scores), names)
            p = model.aligned(softmax(scores, model.temperature), names)
        else:
            p = model.aligned(scores, names)
        p, prior = _for_prior(contender, p, names, arguments.prior)
        probabilities[model.name] = p
        known = [model.knows(name) for name in names]
        figures = model_figures(
            p, samples.targets, names, known, duplicates=duplicates, plain=plain
        )
        agreement = annotator_figures(p, votes, known) if votes is not None else {}
        row = _row(contender, figures, agreement, cost, samples, seconds)
        rows.append({**row, "prior": prior})
    rows.sort(key=lambda row: -row["accuracy"])
    probabilities = {row["name"]: probabilities[row["name"]] for row in rows}
    answers = {name: p.argmax(axis=1) for name, p in probabilities.items()}
    pairs = compare_pairs(answers, labels)
    ceiling = annotator_ceiling(votes) if votes is not None else None

    title = f"{samples.name}, {samples.split} split, {samples.label_rule} labels"
    machine = describe_machine()
    record = {
        "format": 1,
        "title": title,
        "dataset": samples.name,
        "split": samples.split,
        "label_rule": samples.label_rule,
        "n": len(samples),
        "num_duplicates": None if duplicates is None else int(duplicates.sum()),
        "dataset_fingerprint": samples.fingerprint,
        "dataset_notes": list(samples.notes),
        "class_names": list(names),
        "command": command,
        "git_commit": git_commit(),
        "date": datetime.now().strftime("%Y-%m-%d"),
        "machine": summary(machine),
        "models": rows,
        "pairs": [vars(pair) for pair in pairs],
        "annotators": ceiling,
    }
    facts = report.facts(record)
    write_text(folder / "comparison.json", json.dumps(record, indent=1) + "\n")
    write_csv(folder / "comparison.csv", rows)
    text = report.markdown(title, facts, rows, pairs, ceiling)
    write_text(folder / "comparison.md", text)
    _write_predictions(folder / "predictions.csv", samples, probabilities)
    pictures = {}
    if plot_pareto(rows, folder / "pareto.png", title=title):
        pictures["Accuracy against milliseconds per face"] = folder / "pareto.png"
    if pairs:
        plot_disagreement(list(answers), pairs, folder / "disagreement.png", title=title)
        pictures["Who is right where two models disagree"] = folder / "disagreement.png"
    if arguments.sheet:
        _draw_mistakes(folder / "mistakes.png", samples, probabilities, arguments.sheet, title)
    report.write_page(folder / "comparison.html", title, facts, rows, pairs, ceiling, pictures)
    seconds_each = " ".join(f"{row['seconds_per_1000']:.1f}" for row in rows)
    return "\n\n".join(
        [*facts, report.main_table(rows), *report.annotator_lines(ceiling),
         f"seconds per 1,000 pictures, in the order of the table: {seconds_each}"]
    )  # fmt: skip


def _for_prior(
    contender: "Contender", p: Scores, names: Sequence[str], wanted: Sequence[str] | None
) -> tuple[Scores, str]:
    """A model's probabilities for the prior that the command names, and which one that is.

    A model whose shares in training nobody knows, as those of other projects, stays as it is.
    """
    if wanted is None:
        return p, "training"
    model = contender.model
    own_choice = list(wanted) == ["default"]
    choice = default_prior(model) if own_choice else parse_prior(wanted)
    known, where = class_prior_of(model)
    if known is None or choice.is_training:
        return p, "training"
    try:
        weights = prior_weights(model.class_names, known, choice)
    except ConfigError as error:
        raise ConfigError(f"--prior: {error}: {where}") from error
    factors = dict(zip(map(class_name, model.class_names), weights, strict=True))
    return reweighted(p, np.array([factors.get(class_name(n), 0.0) for n in names])), str(choice)


class _Pictures:
    """The pictures of the comparison in the size of each model, and which of them are known."""

    def __init__(self, arguments: argparse.Namespace, first: "Contender") -> None:
        name = arguments.dataset or first.training.get("dataset")
        if not name:
            raise ConfigError(f"Expected --dataset NAME: {first.model.path} does not say its own.")
        self.name = str(name)
        self._source = arguments.source or own_source(first.model.path, self.name)
        self._arguments = arguments
        self._loaded: dict[tuple[int | tuple[int, int], int, str], Samples] = {}

    def samples(
        self, size: int | tuple[int, int], channels: int, enlarge: "Enlarge" = "cubic"
    ) -> "Samples":
        """The split in one size, read once."""
        key = (size, channels, enlarge)
        if key not in self._loaded:
            self._loaded[key] = load_samples(
                self.name,
                self._arguments.split,
                label_rule=self._arguments.label_rule,
                image_size=size,
                channels=channels,
                enlarge=enlarge,
                source=self._source,
                limit=self._arguments.limit,
            )
        return self._loaded[key]

    def duplicates(self, samples: "Samples") -> npt.NDArray[np.bool_] | None:
        """Which pictures have exactly the pixels of one of the training split."""
        try:
            train = load_samples(
                self.name, "train", image_size=self._arguments.size, source=self._source
            )
        except DataError as error:
            print(f"note: duplicates of training images are not counted: {error}", file=sys.stderr)
            return None
        return np.isin(samples.facts["sha256"], train.facts["sha256"])


def _score(
    contenders: Sequence["Contender"], data: _Pictures, folder: Path, peer_size: int
) -> list[tuple[npt.NDArray[np.float32], float]]:
    """Every model's scores for every picture, and the seconds they took, kept for another time."""
    folder.mkdir(exist_ok=True)
    scored = []
    bar = tqdm(contenders, unit="model", disable=not sys.stderr.isatty())
    for contender in bar:
        model = contender.model
        bar.set_description(model.name)
        height, width, channels = model.image_shape
        samples = data.samples(
            peer_size if model.is_peer else height if height == width else (height, width),
            channels,
            contender.enlarge,
        )
        file = folder / f"{contender.answers_name}-{samples.fingerprint[:16]}.npz"
        if not file.is_file():
            start = time.perf_counter()
            scores = (model.logits if model.has_logits else model.predict)(samples.images)
            seconds = time.perf_counter() - start
            with atomic_path(file) as temporary:
                np.savez(temporary, scores=scores, seconds=seconds)
        with np.load(file, allow_pickle=False) as kept:
            scored.append((kept["scores"], float(kept["seconds"])))
    return scored


def _row(
    contender: "Contender",
    figures: dict[str, Any],
    agreement: dict[str, float],
    cost: dict[str, Any],
    samples: "Samples",
    seconds: float,
) -> dict[str, Any]:
    low, high = figures["accuracy_interval"]
    only = figures["known_only"] or {}
    without = figures["without_duplicates"] or {}
    training = contender.training
    trained_on = " ".join(
        str(training[key]) for key in ("dataset", "train_label_rule") if training.get(key)
    )
    return {
        "name": contender.model.name,
        "accuracy": figures["accuracy"],
        "accuracy_low": low,
        "accuracy_high": high,
        "n": figures["n"],
        "accuracy_known_only": only.get("accuracy"),
        "n_known_only": only.get("n"),
        "accuracy_without_duplicates": without.get("accuracy"),
        "n_without_duplicates": without.get("n"),
        **{
            key: figures[key]
            for key in (
                "balanced_accuracy", "macro_f1", "ece", "nll", "brier", "ece_plain", "nll_plain",
            )
        },
        "soft_accuracy": agreement.get("soft_accuracy"),
        "kl": agreement.get("kl"),
        "parameters": contender.parameters,
        "macs": cost["macs"],
        "bytes": contender.num_bytes,
        "ms_per_face": cost["ms_per_face"],
        "ms_p95": cost["ms_p95"],
        "ms_min": cost["ms_min"],
        "not_timed": cost["not_timed"],
        "training_images_per_second": training.get("images_per_second"),
        "training_minutes": training.get("training_minutes"),
        "trained_on": trained_on,
        "published": published(samples.name, contender.key),
        "seconds_per_1000": 1000 * seconds / len(samples),
        "is_peer": contender.model.is_peer,
        "kind": f".{contender.model.kind}",
        "sha256": contender.model.sha256,
        "mlflow_run_id": run_of(contender.model),
        "path": str(contender.model.path),
    }  # fmt: skip


def _write_predictions(path: Path, samples: "Samples", probabilities: dict[str, Scores]) -> None:
    names = samples.class_names
    rows = []
    for i, label in enumerate(samples.labels):
        row = {"index": i, "source": samples.facts["source"][i], "true": names[label]}
        for model, p in probabilities.items():
            row[model] = names[p[i].argmax()]
            row[f"{model} p"] = f"{p[i].max():.4f}"
        rows.append(row)
    write_csv(path, rows)


def _draw_mistakes(
    path: Path, samples: "Samples", probabilities: dict[str, Scores], count: int, title: str
) -> None:
    """The wrong answers that each model is surest of, and those that all models share."""
    labels, names = samples.labels, samples.class_names

    def caption(p: Scores, i: int) -> str:
        return f"{names[p[i].argmax()]} {p[i].max():.0%}\nnot {names[labels[i]]}"

    def chosen(surest: Scores, wrong: npt.NDArray[np.bool_]) -> list[int]:
        by_confidence = np.argsort(-np.where(wrong, surest, -1.0), kind="stable")
        return [int(i) for i in by_confidence[: min(count, int(wrong.sum()))]]

    rows = []
    for name, p in probabilities.items():
        picked = chosen(p.max(axis=1), p.argmax(axis=1) != labels)
        rows.append((name, [samples.images[i] for i in picked], [caption(p, i) for i in picked]))
    every = list(probabilities.values())
    mean = np.mean(every, axis=0)
    all_wrong = np.all([p.argmax(axis=1) != labels for p in every], axis=0)
    picked = chosen(mean.max(axis=1), all_wrong)
    if len(every) > 1:
        captions = [caption(mean, i) for i in picked]
        rows.append(("all wrong (mean)", [samples.images[i] for i in picked], captions))
    rows = [row for row in rows if row[1]]
    if rows:
        plot_pictures(rows, path, title=f"Most confident mistakes: {title}", caption_lines=2)
