"""The sections of a report, each a function from what is known to HTML, empty where nothing is."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fer_keras.common.html_page import scrolling, table, text
from fer_keras.common.metrics import wilson_interval
from fer_keras.config import Experiment, flatten
from fer_keras.reporting.run_page.charts import (
    Line,
    Mark,
    interval_bar,
    legend,
    line_chart,
    reliability_chart,
)
from fer_keras.reporting.run_page.content import Content

_FEW = 30
_NUM_MISTAKES = 24
_MAX_POINTS = 120


def summary(content: Content) -> str:
    """The figures, a column for each split that was evaluated."""
    results = content.results

    def row(name: str, cell: Any) -> list[str]:
        return [name, *(cell(result) for result in results.values())]

    def calibrated(key: str) -> Any:
        def cell(result: Mapping[str, Any]) -> str:
            after = (result.get("calibrated") or {}).get(key)
            before = _number(result.get(key))
            return before if after is None else f"{_number(after)} <small>({before})</small>"

        return cell

    rows = [
        row("Accuracy [95 %]", lambda r: _with_interval(r["accuracy"], r["accuracy_interval"])),
        row("Without duplicates of training pictures", _without_duplicates),
        row("Pictures", lambda r: f"{r['n']:,}"),
        row("Balanced accuracy", lambda r: _number(r.get("balanced_accuracy"))),
        row("Macro F1", lambda r: _number(r.get("macro_f1"))),
        row("Calibration error (ECE), calibrated (plain)", calibrated("ece")),
        row("Negative log likelihood, calibrated (plain)", calibrated("nll")),
        row("Brier score, calibrated (plain)", calibrated("brier")),
    ]
    header = ["", *(f"{text(r['dataset'])} {split}" for split, r in results.items())]
    notes = [
        "The validation split chose the epoch and the temperature: expect slightly less on new "
        "pictures."
    ]
    first = next(iter(results.values()))
    notes += [text(note) for note in first.get("dataset_notes", [])]
    if first.get("fallback"):
        notes.insert(0, "<strong>Drawn faces stood in for a missing data set.</strong>")
    return table("Figures", header, rows) + "".join(f'<p class="note">{n}</p>' for n in notes)


def curves(content: Content) -> str:
    """Loss, accuracy and learning rate over the epochs."""
    charts = []
    for title, key, share in (
        ("Loss", "loss", False),
        ("Accuracy", "accuracy", True),
        ("Learning rate", "learning_rate", False),
    ):
        names = (("training", key, 1), ("validation", f"val_{key}", 0))
        lines = []
        for name, column, colour in names:
            points = [(r["epoch"], r[column]) for r in content.history if _is_number(r.get(column))]
            if points:
                x, y = zip(*points, strict=True)
                lines.append(Line(name, x, y, colour=colour))
        if not lines:
            continue
        values = [value for line in lines for value in line.y]
        # Room for the mark: above the best accuracy, below the best loss.
        low, high = min(values) if share else 0.0, (1.12 if share else 1.03) * max(values)
        marks = []
        best = next(iter(content.results.values())).get("best_epoch")
        kept = [
            r for r in content.history if r["epoch"] == best and _is_number(r.get(f"val_{key}"))
        ]
        if kept:
            value = kept[0][f"val_{key}"]
            shown = f"{value:.1%}" if share else f"{value:.3f}"
            marks.append(Mark(kept[0]["epoch"], value, f"{shown}, epoch {best}", below=not share))
        charts.append(
            line_chart(title, lines, x_label="epoch", y_range=(low, high), share=share, marks=marks)
        )
    if not charts:
        return ""
    # Colours in the order of the legend: validation 0, training 1.
    return legend(["validation", "training"]) + f'<div class="charts">{"".join(charts)}</div>'


def confusion(content: Content) -> str:
    """A confusion matrix for each split."""
    parts = []
    for split, result in content.results.items():
        if "confusion_matrix" not in result:
            continue
        names = [text(name) for name in result["class_names"]]
        head = "".join(f'<th scope="col">{name}</th>' for name in names)
        rows = ""
        for name, counts in zip(names, result["confusion_matrix"], strict=True):
            total = sum(counts)
            cells = ""
            for count in counts:
                share = count / total if total else 0.0
                strong = " class=strong" if share > 0.55 else ""
                cells += (
                    f'<td{strong} style="--share:{share:.3f}">{count:,}'
                    f"<small>{share:.0%}</small></td>"
                )
            rows += f'<tr><th scope="row">{name}</th><td>{total:,}</td>{cells}</tr>'
        title = f"Confusion matrix, {text(split)}"
        parts.append(
            f"<h3>{text(result['dataset'])} {text(split)}</h3>"
            + scrolling(
                title,
                '<table class="confusion"><thead><tr><th class=text scope="col">true</th>'
                f'<th scope="col">pictures</th>{head}</tr></thead><tbody>{rows}</tbody></table>',
            )
        )
    note = '<p class="note">Rows are true, columns predicted; per cent of the row.</p>'
    return "".join(parts) + (note if parts else "")


def per_class(content: Content) -> str:
    """Recall with its interval, precision and F1 of each class."""
    parts = []
    for split, result in content.results.items():
        rows = []
        for name, row in result.get("per_class", {}).items():
            n = row["support"]
            bar = recall = ""
            if n:
                low, high = wilson_interval(round(row["recall"] * n), n)
                bar, recall = (
                    interval_bar(row["recall"], low, high),
                    _with_interval(row["recall"], (low, high), 3),
                )
            few = ' <small class="few">few</small>' if n < _FEW else ""
            precision, f1 = (_number(row[key], 3) for key in ("precision", "f1"))
            rows.append([text(name) + few, bar, f"{n:,}", recall, precision, f1])
        if rows:
            header = ["Class", "Recall", "Pictures", "Recall [95 %]", "Precision", "F1"]
            parts.append(f"<h3>{text(result['dataset'])} {text(split)}</h3>")
            parts.append(table(f"Figures of each class, {text(split)}", header, rows, texts=2))
    return "".join(parts)


def calibration(content: Content) -> str:
    """Reliability diagrams of the plain probabilities, and what the temperature brings."""
    charts, notes = [], []
    for split, result in content.results.items():
        if "reliability" not in result:
            continue
        charts.append(
            f"<div><h3>{text(result['dataset'])} {text(split)}</h3>"
            f"{reliability_chart(result['reliability'])}</div>"
        )
        after = result.get("calibrated")
        more = (
            f"; {after['ece']:.3f} with the temperature {after['temperature']:.3f}, fitted on "
            f"{text(after['fitted_on'])}"
            if after
            else ""
        )
        notes.append(f'<p class="note">{text(split)}: ECE {result["ece"]:.3f}{more}.</p>')
    if not charts:
        return ""
    key = (
        '<p class="legend"><span><i class="colour0"></i>right</span><span><i class="too-sure"></i>'
        'too sure</span><span><i class="not-sure-enough"></i>not sure enough</span></p>'
    )
    return key + f'<div class="charts">{"".join(charts)}</div>' + "".join(notes)


def risk(content: Content) -> str:
    """How many answers are wrong among those that are kept."""
    decision = content.manifest.get("decision")
    if decision:
        points = [(p["kept"], 1 - p["accuracy"]) for p in decision["risk_coverage"]]
        marks = []
        if decision["reject_accuracy"] is not None:
            wrong = 1 - decision["reject_accuracy"]
            kept = decision["reject_coverage"]
            marks.append(Mark(kept, wrong, f"{kept:.0%} kept, {wrong:.1%} wrong"))
        note = (
            f"Unsure is an answer whose highest probability is below "
            f"{decision['reject_threshold']:.3f} (target: {decision['reject_accuracy_target']:.0%} "
            f"of the kept answers right). Fitted on {text(decision['fitted_on'])}, measured on "
            f"{text(decision['measured_on'])}."
        )
    else:
        points, marks = _risk_of_predictions(content), []
        note = (
            "From the plain probabilities of the validation split; an export fits a threshold on "
            "half of it and measures it on the other half."
        )
    if not points:
        return ""
    x, y = zip(*points, strict=True)
    chart = line_chart(
        "Share of wrong answers among those that are kept, the surest first",
        [Line("risk", x, y)], x_label="share kept", x_share=True,
        y_range=(0.0, 1.05 * max(*y, 0.01)), marks=marks, width=480, height=260,
    )  # fmt: skip
    return f'{chart}<p class="note">{note}</p>'


def mistakes(content: Content, pictures: Mapping[int, str]) -> str:
    """The wrong answers that the model was surest of.

    Args:
        content: Of the run.
        pictures: Row of the validation split -> data URI, where pictures may be shown.
    """
    chosen = confident_mistakes(content)
    if not chosen:
        return ""
    if not pictures:
        rows = [
            [text(r["source"]), text(r["true"]), text(r["predicted"]), f"{confidence(r):.1%}"]
            for r in chosen
        ]
        header = ["Picture", "True", "Answer", "Probability"]
        return (
            '<p class="note">Without the pictures themselves, because those of a data set may '
            "mostly not be passed on: <code>--pictures</code> adds them.</p>"
        ) + table("Mistakes", header, rows, texts=3)
    cards = "".join(
        f'<figure><img src="{pictures[int(r["index"])]}" alt="{text(r["true"])}, answer '
        f'{text(r["predicted"])}"><figcaption><b>{text(r["predicted"])}</b> {confidence(r):.0%}'
        f"<span>true: {text(r['true'])}</span><span>{text(r['source'])}</span>"
        "</figcaption></figure>"
        for r in chosen
        if int(r["index"]) in pictures
    )
    return f'<div class="groups">{cards}</div>'


def confident_mistakes(content: Content) -> list[Mapping[str, str]]:
    """The wrong answers of the validation split, the surest first."""
    wrong = [r for r in content.predictions.get("validation", ()) if r["true"] != r["predicted"]]
    return sorted(wrong, key=confidence, reverse=True)[:_NUM_MISTAKES]


def confidence(row: Mapping[str, str]) -> float:
    """The probability of the answer in a row of predictions."""
    return float(row[f"p_{row['predicted']}"])


def exported(content: Content) -> str:
    """The files of the export, compared with Keras."""
    parity = content.manifest.get("parity")
    if not parity:
        return ""
    rows = [
        [
            text(name),
            f"{row['bytes'] / 1e6:.2f}",
            _number(row.get("ms_per_face"), 2),
            f"{row['max_difference']:.1e}",
            f"{row['same_arg_max']:.2%}",
            _number(row.get("accuracy")),
            _number(row.get("ece"), 3),
        ]
        for name, row in parity["models"].items()
    ]
    header = ["File", "MB", "ms per face", "Largest difference", "Same answer", "Accuracy", "ECE"]
    averaged = (
        " The exported graph averages a picture and its mirror image."
        if content.manifest.get("mirror_average")
        else ""
    )
    return table("Exported files", header, rows) + (
        f'<p class="note">Compared with Keras (accuracy {parity["keras_accuracy"]:.4f}) on '
        f"{parity['n']:,} {text(parity['split'])} pictures; one thread, "
        f"{text(parity['machine'])}.{averaged}</p>"
    )


def settings(content: Content) -> str:
    """The experiment: what differs from the defaults first."""
    if not content.experiment:
        return ""
    ours = flatten(content.experiment)
    defaults = flatten(asdict(Experiment(name="")))
    changed = {
        key: value for key, value in ours.items() if key != "name" and defaults.get(key) != value
    }

    def rows(values: Mapping[str, Any]) -> list[list[str]]:
        return [[f"<code>{text(k)}</code>", text(v)] for k, v in values.items()]

    rest = {key: value for key, value in ours.items() if key not in changed and key != "name"}
    header = ["Setting", "Value"]
    return (
        f"<h3>{text(ours.get('name', ''))}: what is set</h3>"
        + table("Settings", header, rows(changed), texts=2)
        + "<details><summary>What is left at its default</summary>"
        + table("Defaults", header, rows(rest), texts=2)
        + "</details>"
    )


def environment(content: Content) -> str:
    """Where and from what the run was made."""
    result = content.results["validation"]
    named = (
        ("Trained with", "device"),
        ("Backend", "backend"),
        ("Commit", "git_commit"),
        ("Seed", "seed"),
        ("Minutes of training", "training_minutes"),
        ("Images per second", "images_per_second"),
        ("Trainable parameters", "trainable_parameters"),
        ("Initial weights", "initial_weights"),
        ("Training images", "train_images"),
        ("Label rule in training", "train_label_rule"),
        ("Data fingerprint", "dataset_fingerprint"),
        ("Model sha256", "model_sha256"),
    )
    rows = "".join(
        f"<dt>{name}</dt><dd>{text(_shown(result[key]))}</dd>"
        for name, key in named
        if result.get(key) not in (None, "")
    )
    return f"<dl>{rows}</dl>"


def commands(content: Content) -> str:
    """What to type to make all of this again."""
    result, run = content.results["validation"], content.run_dir.name
    lines = [result.get("command") or f"python -m fer_keras.train --exp {run}/experiment.json"]
    lines.append(f"python -m fer_keras.evaluate {run}")
    if "test" in content.results:
        lines.append(f"python -m fer_keras.evaluate {run} --split test")
    if content.manifest:
        mirror = " --mirror" if content.manifest.get("mirror_average") else ""
        lines.append(f"python -m fer_keras.export {run}{mirror}")
    for study in content.studies:
        (path,) = (Path(m["path"]) for m in study.record["models"] if m["name"] == study.model)
        model = run
        if path.suffix == ".tflite":
            model = f"{run}/export --precision {path.stem.removeprefix('model_')}"
        other = str(study.record["dataset"])
        on = "" if other == result["dataset"] else f" --dataset {other}"
        lines.append(f"python -m fer_keras.study {study.name} {model}{on}")
    lines.append(f"python -m fer_keras.report {run}")
    shown = text("\n".join(dict.fromkeys(lines)))
    return f'<pre tabindex="0"><code>{shown}</code></pre>'


def _risk_of_predictions(content: Content) -> list[tuple[float, float]]:
    from fer_keras.common.risk_coverage import risk_coverage

    rows = content.predictions.get("validation", ())
    if not rows:
        return []
    names = [key.removeprefix("p_") for key in rows[0] if key.startswith("p_")]
    p = np.array([[float(row[f"p_{name}"]) for name in names] for row in rows])
    labels = np.array([names.index(row["true"]) for row in rows])
    kept, accuracy, _ = risk_coverage(p, labels)
    # The first few answers make a curve jump from 0 to 1 and back.
    steady = np.flatnonzero(kept >= 0.05)
    chosen = steady[np.unique(np.linspace(0, len(steady) - 1, _MAX_POINTS).astype(np.int64))]
    return [(float(kept[i]), float(1 - accuracy[i])) for i in chosen]


def _without_duplicates(result: Mapping[str, Any]) -> str:
    without = result.get("without_duplicates")
    if not without or without.get("accuracy") is None:
        return ""
    shown = _with_interval(without["accuracy"], without["accuracy_interval"])
    return f"{shown} <small>n {without['n']:,}</small>"


def _with_interval(value: float | None, interval: Sequence[float], digits: int = 4) -> str:
    if value is None:
        return ""
    low, high = interval
    return f"{value:.{digits}f} <small>[{low:.{digits}f}, {high:.{digits}f}]</small>"


def _number(value: Any, digits: int = 4) -> str:
    return f"{value:.{digits}f}" if _is_number(value) else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value > 9999:
        return f"{value:,}"
    return str(value)
