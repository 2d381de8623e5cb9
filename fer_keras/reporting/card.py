"""The model card: what an exported model is, how good, how fast, for what, and for what not.

The sections follow Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019).
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_keras.common.metrics import small_evidence, wilson_interval

if TYPE_CHECKING:
    from fer_keras.config import Experiment
    from fer_keras.data.samples import DatasetInfo

_LIMITS = """\
- **A facial expression is not an emotion.** The model names the expression that annotators saw in a
  picture. It says nothing about what a person feels, thinks or will do.
- Do not use it to decide about people: hiring, work, school, policing, borders, insurance, health.
  In the European Union, inferring emotions at work and in education is prohibited except for
  medical or safety reasons (Regulation (EU) 2024/1689, article 5 (1) (f)).
- The pictures it learned from over-represent some ages, skin tones and cultures, and posed or
  exaggerated faces. Expect it to be worse elsewhere; measure it on your own people first.
- It expects a cropped face, roughly upright. Occlusion, strong side light, profile views and very
  small faces lower its accuracy; what is not a face still gets an expression.
- The probabilities are calibrated on pictures like those of the data set below, and on no others.
- Suited: research, teaching, user-interface experiments with consenting people."""


_FEW_IMAGES = 100
_RARE = "**Few pictures:** {classes}. Their recall is known only within the interval beside it"


def render_card(manifest: Mapping[str, Any]) -> str:
    """Writes the model card of an export.

    Args:
        manifest: The content of `manifest.json`; without `parity` and `files` the card is that of
            a run that was not exported yet.

    Returns:
        Markdown text.
    """
    training: Mapping[str, Any] = manifest["training"]
    validation: Mapping[str, Any] = manifest["validation"]
    height, width = manifest["image_size"]
    colour = "grey" if manifest["channels"] == 1 else "RGB"
    crops = {
        "pair": f"two {colour} face crops, a neutral face of the person and the face to read, each",
        "clip": f"a clip of {manifest.get('clip_frames')} {colour} face crops, of which those that "
        "are missing at the end are black, each",
    }.get(manifest.get("input_kind", "image"), f"one {colour} face crop")
    parts = [f"# {manifest['name']}", _summary(manifest, training)]
    if training.get("fallback"):
        parts.append(
            "> **Trained on drawn faces in place of the real data set.** It shows that everything "
            "works from end to end; it does not recognise people's expressions."
        )
    parts += [
        "## Input and output",
        f"- Input: {crops}, {height} x {width} x {manifest['channels']}, raw pixels "
        f"0..255 (scaling is inside the model); float32{_uint8(manifest)}.\n"
        "- Output: float32 probabilities, in this order: "
        + ", ".join(f"{i} {name}" for i, name in enumerate(manifest["class_names"]))
        + "."
        + _affect(manifest)
        + (
            "\n- Inside, the logits of the picture and of its mirror image are averaged."
            if manifest.get("mirror_average")
            else ""
        ),
        "## Data",
        _data(manifest, training),
        "## Figures",
        _figures(
            validation,
            manifest.get("class_prior") or {},
            is_published=bool(training.get("published")),
        ),
        *(
            ["## The class prior it answers by", _prior_choice(manifest)]
            if "prior_figures" in manifest
            else []
        ),
        *(
            ["## When it is unsure", _unsure(manifest["decision"])]
            if "decision" in manifest
            else []
        ),
        *(["## Files", _files(manifest)] if "parity" in manifest else []),
        *(
            ["## What it stands", _robustness(manifest["robustness"])]
            if "robustness" in manifest
            else []
        ),
        "## Use and limits",
        _LIMITS,
        "## How to train it again",
        _again(manifest, training),
    ]
    return "\n\n".join(parts) + "\n"


def card_of_run(
    experiment: "Experiment",
    info: "DatasetInfo",
    result: Mapping[str, Any],
    image_shape: tuple[int, int, int],
    label_rule: str,
) -> str:
    """Writes the card of a run that is not exported yet.

    Args:
        experiment: What was run.
        info: Of its data set.
        result: The content of the run's `result.json`.
        image_shape: `(height, width, channels)` of the input.
        label_rule: How the training labels were made.

    Returns:
        Markdown text.
    """
    calibrated = result["calibrated"] or {}
    return render_card(
        {
            "name": experiment.name,
            "class_names": result["class_names"],
            "image_size": image_shape[:2],
            "channels": image_shape[2],
            "input_kind": (
                "clip"
                if experiment.dataset.clip_frames
                else "image"
                if experiment.dataset.neutral == "none"
                else "pair"
            ),
            "clip_frames": experiment.dataset.clip_frames,
            "dataset": info.name,
            "label_rule": label_rule,
            **({"class_prior": result["class_prior"]} if "class_prior" in result else {}),
            "training": training_facts(experiment, info, result),
            "validation": {**result, "temperature": calibrated.get("temperature", 1.0)},
        }
    )


def training_facts(
    experiment: "Experiment", info: "DatasetInfo", result: Mapping[str, Any]
) -> dict[str, Any]:
    """What the card and the manifest say about the training.

    Args:
        experiment: What was run.
        info: Of its data set.
        result: The content of the run's `result.json`; empty where it belongs to another model.

    Returns:
        A dict that `json.dumps` takes.
    """
    facts: dict[str, Any] = {
        "experiment": experiment.name,
        "seed": experiment.seed,
        "network": result.get("network", experiment.network.name),
        "network_options": result.get("network_options", dict(experiment.network.options)),
        "method": experiment.method.name,
        "method_options": dict(experiment.method.options),
        "augmentation": experiment.augmentation,
        "without_duplicates": experiment.dataset.without_duplicates,
        "dataset_title": info.title,
        "dataset_licence": info.licence,
        "dataset_citation": info.citation,
        "crops": info.crops or _own_crops(experiment.dataset.source),
    }
    taken = (
        "fallback", "train_images", "trainable_parameters", "initial_weights", "teacher", "epochs",
        "best_epoch", "backend", "command", "model_sha256", "published",
    )  # fmt: skip
    facts |= {name: result.get(name) for name in taken}
    if facts["command"]:
        facts["command"] = re.sub(r" --run-dir +[^ ]+", "", facts["command"])
    for name in ("command", "initial_weights", "teacher", "network_options", "method_options"):
        facts[name] = without_places(facts[name])
    return {**facts, "minutes": result.get("training_minutes")}


def _own_crops(source: str) -> str:
    """How `data crop` cut out the pictures of a folder; empty where it was not that command."""
    path = Path(source).expanduser()
    try:
        # It writes the pictures into a folder, and how beside that.
        settings = json.loads((path.parent / "settings.json").read_text("utf-8"))
        size, how = settings["size"], f"by `data crop` with {settings['detector']}"
        turned = "turned upright by their landmarks" if settings["align"] else "by their boxes"
        is_own = path.name == "pictures" and not settings["draw"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f"{how}, {turned}, {size} x {size} pixels" if is_own else ""


def without_places(text: Any) -> Any:
    """Cuts absolute paths in a text to their last two parts.

    Where a run lay on somebody's disk is not part of how a network was made.

    Args:
        text: A command or a line of a record, or a list or dict of such; anything else is given
            back.
    """
    if isinstance(text, Mapping):
        return {name: without_places(value) for name, value in text.items()}
    if isinstance(text, list | tuple):
        return [without_places(value) for value in text]
    if not isinstance(text, str):
        return text
    start, part = r"(?<![^\s=\"'\[,(])", r"[^/\s\"']+"
    return re.sub(rf"{start}/(?:{part}/)+(?={part}/{part})", "", text)


def _summary(manifest: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    low, high = manifest["validation"]["accuracy_interval"]
    published = training.get("published")
    origin = (
        f"with weights of {published['source']}, measured on `{manifest['dataset']}`"
        if published
        else f"trained by `{training['method']}` on `{manifest['dataset']}`"
    )
    return (
        f"Facial expression recognition, {len(manifest['class_names'])} classes: network "
        f"`{training['network']}` {origin}. "
        f"Validation accuracy {manifest['validation']['accuracy']:.1%} (95 % interval "
        f"{low:.1%} to {high:.1%}, n = {manifest['validation']['n']:,}, label rule "
        f"`{manifest['validation']['label_rule']}`)."
    )


def _data(manifest: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    published = training.get("published")
    if published:
        rows = [
            ("Weights", f"{published['file']}, sha256 {published['sha256']}"),
            ("Program of the authors", published["source"]),
            ("Order of the classes in the file", ", ".join(published["labels"])),
            ("How the authors decide", published["decision"]),
            ("Measured and calibrated on", training.get("dataset_title") or manifest["dataset"]),
            ("Licence of these data", training.get("dataset_licence")),
            ("Cite", training.get("dataset_citation")),
            ("Trained parameters", _count(training.get("trainable_parameters"))),
        ]
        return (
            "How the network was trained is not known here. The class prior in `manifest.json` is "
            "that of the training split of the data set below.\n\n"
            + _table(("", ""), [row for row in rows if row[1]])
        )
    rows = [
        ("Data set", training.get("dataset_title") or manifest["dataset"]),
        ("Licence of the data", training.get("dataset_licence")),
        ("Cite", training.get("dataset_citation")),
        ("How the faces were cropped", training.get("crops")),
        ("Training images", _count(training.get("train_images"))),
        (
            "Left out of training",
            "images whose exact pixels are also in the validation split"
            if training.get("without_duplicates")
            else "",
        ),
        ("Label rule of the training images", f"`{manifest['label_rule']}`"),
        ("Class prior of the training targets", _prior(manifest.get("class_prior") or {})),
        ("Started from", training.get("initial_weights")),
        ("Teacher", training.get("teacher")),
        ("Trainable parameters", _count(training.get("trainable_parameters"))),
        ("Epochs (the kept one)", _epochs(training)),
        ("Time", f"{training['minutes']:.0f} minutes" if training.get("minutes") else None),
        ("Backend", training.get("backend")),
    ]
    return _table(("", ""), [row for row in rows if row[1]])


def _prior(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in shares.items())


def _rare(validation: Mapping[str, Any], class_prior: Mapping[str, float]) -> str:
    """What is said of classes with few validation pictures; empty where all have enough."""
    per_class = validation["per_class"]
    rare = [name for name, row in per_class.items() if 0 < row["support"] < _FEW_IMAGES]
    if not rare:
        return ""
    listed = ", ".join(f"{name} ({per_class[name]['support']})" for name in rare)
    # Of classes that are as frequent as others neither is true.
    few = [name for name in rare if class_prior.get(name, 1) < 0.5 / len(per_class)]
    seldom = [name for name in rare if _share_of_answers(per_class[name]) < 0.5]
    parts = [_RARE.format(classes=listed)]
    if few:
        parts.append(f"there were few to learn from ({', '.join(few)})")
    if seldom:
        parts.append(f"the model seldom answers with {', '.join(seldom)}")
    return "; ".join(parts) + ": do not build on these classes."


def _share_of_answers(row: Mapping[str, Any]) -> float:
    """How often the model answers with a class, as a share of how often it should."""
    return float(row["recall"] / row["precision"]) if row["recall"] and row["precision"] else 0.0


def _figures(
    validation: Mapping[str, Any], class_prior: Mapping[str, float], *, is_published: bool
) -> str:
    low, high = validation["accuracy_interval"]
    rows = [("Accuracy", f"{validation['accuracy']:.4f} [{low:.4f}, {high:.4f}]")]
    without = validation.get("without_duplicates")
    if without and without["accuracy"] is not None:
        low, high = without["accuracy_interval"]
        rows.append(
            (
                f"Accuracy without the {without['num_duplicates']} images whose exact pixels are "
                "also in the training split",
                f"{without['accuracy']:.4f} [{low:.4f}, {high:.4f}], n = {without['n']:,}",
            )
        )
    rows += [
        ("Balanced accuracy", f"{validation['balanced_accuracy']:.4f}"),
        ("Macro F1", f"{validation['macro_f1']:.4f}"),
        ("Negative log likelihood", _before_after(validation, "nll")),
        ("Expected calibration error (15 bins)", _before_after(validation, "ece")),
    ]
    classes = [
        (name, f"{row['support']:,}", _recall(row), _score(row["precision"]))
        for name, row in validation["per_class"].items()
    ]
    rare = _rare(validation, class_prior)
    weak = small_evidence(validation["n"], validation["accuracy"])
    return "\n\n".join(
        [
            f"On the validation split, n = {validation['n']:,}, label rule "
            f"`{validation['label_rule']}`; intervals are 95 % Wilson intervals. "
            + (
                "Whether its authors trained or chose on these pictures is not known here."
                if is_published
                else "The epoch was chosen on this split, so expect slightly less on new pictures."
            ),
            _table(("Figure", "Value"), rows),
            f"Calibration: one temperature, {validation['temperature']:.3f}, fitted on this "
            "validation split; it divides the logits inside every file and changes no arg max."
            + (f" {weak}" if weak else ""),
            _table(("Class", "Images", "Recall [95 %]", "Precision"), classes),
            *([rare] if rare else []),
        ]
    )


def _prior_choice(manifest: Mapping[str, Any]) -> str:
    block, name = manifest["prior_figures"], manifest["default_prior"]
    plain, given = block["without_prior"], block["with_prior"]
    what = "Keras" if block["measured_by"] == "Keras" else f"the {block['measured_by']} file"
    how = (
        f"`{name}` is the default of `Recognizer`, `predict`, `camera` and `evaluate`; "
        "`--prior training` takes the model as it is. The files themselves give probabilities "
        "without a prior: the factors come from `class_prior` in `manifest.json`."
        if name != "training"
        else "By the rule below the model answers as it is: `training`."
    )

    def interval(row: Mapping[str, Any], key: str, of: str) -> str:
        low, high = row[of]
        return f"{row[key]:.4f} [{low:.4f}, {high:.4f}]"

    rows = [
        ("Accuracy", *(interval(row, "accuracy", "accuracy_interval") for row in (plain, given)))
    ]
    rows += [
        (label, *(f"{row[key]:.4f}" for row in (plain, given)))
        for label, key in (
            ("Balanced accuracy", "balanced_accuracy"),
            ("Expected calibration error (15 bins)", "ece"),
        )
    ]
    rows += [
        (
            f"Recall of {label} ({row['support']:,} images)",
            interval(row, "recall", "interval"),
            interval(given["recall"][label], "recall", "interval"),
        )
        for label, row in plain["recall"].items()
    ]
    return (
        f"{how}\n\n{_table(('', 'Without', f'With `{name}`'), rows)}\n\nMeasured with {what} on "
        f"the {block['split']} split, n = {block['n']:,}, label rule `{block['label_rule']}`; 95 % "
        f"Wilson intervals. The rule: {block['rule']}. Chosen and measured on the same pictures, "
        "so expect slightly less on new ones."
    )


def _affect(manifest: Mapping[str, Any]) -> str:
    """The second output, and how near it is to the ratings of people."""
    if "outputs" not in manifest:
        return ""
    text = "\n- Second output, `valence_arousal`: float32 valence, arousal, -1..1."
    figures = manifest["parity"].get("valence_arousal", {})
    if figures.get("n"):
        both = "; ".join(
            f"{name}: RMSE {figures[f'rmse_{name}']:.3f}, concordance {figures[f'ccc_{name}']:.3f}"
            for name in ("valence", "arousal")
        )
        text += f" {both} (Keras, n = {figures['n']:,} rated validation images)."
    return text


def _uint8(manifest: Mapping[str, Any]) -> str:
    return ", or uint8 for the int8 file" if "int8" in manifest.get("precision_files", ()) else ""


def _unsure(block: Mapping[str, Any]) -> str:
    rows = []
    for name, measured in block["measured"].items():
        low, high = measured["kept_accuracy_interval"]
        cover_low, cover_high = measured["coverage_interval"]
        rows.append(
            (
                "Keras" if name == "keras" else f"{name} file",
                f"{measured['kept']:.1%}",
                f"{_score(measured['kept_accuracy'])} [{low:.3f}, {high:.3f}]",
                f"{measured['coverage']:.1%} [{cover_low:.1%}, {cover_high:.1%}]",
                f"{measured['mean_size']:.2f}",
            )
        )
    # The first is what the thresholds were fitted to.
    by_class = next(iter(block["measured"].values()))["coverage_by_class"]
    prior = block.get("prior", "training")
    name, worst = min(by_class.items(), key=lambda item: item[1]["coverage"])
    least = f"{name}, {worst['coverage']:.0%} of {worst['n']} pictures"
    if block.get("conformal_by_class"):
        few = block.get("conformal_too_few", [])
        hold = (
            "every label with a probability of at least its own threshold "
            f"(`decision.conformal_by_class`), and the most probable one "
            f"({block['conformal_method']}). It holds the true label for "
            f"{block['conformal_coverage']:.0%} of the pictures of each class, if they are like "
            f"those of the split; measured least often for {least}."
            + (f" Too few pictures for a threshold of their own: {', '.join(few)}." if few else "")
        )
    else:
        hold = (
            f"every label with a probability of at least {block['conformal_threshold']:.3f}, or "
            f"the most probable one ({block['conformal_method']}). It holds the true label for "
            f"{block['conformal_coverage']:.0%} of all pictures like those of the split, not of "
            f"each class: least often for {least}."
        )
    return (
        (f"For the prior `{prior}`.\n\n" if prior != "training" else "")
        + f"- **Unsure** is an answer whose highest probability is below "
        f"{block['reject_threshold']:.3f}: the smallest threshold at which the kept answers reach "
        f"an accuracy of {block['reject_accuracy_target']:.0%}, but at most half of all answers.\n"
        f"- **Label set**: {hold}\n\n"
        + _table(
            ("", "Kept", "Accuracy of those", "Sets with the true label", "Labels in a set"), rows
        )
        + f"\n\nFitted on {block['fitted_on']}, measured on {block['measured_on']}; no subject and "
        "no copy of a picture is in both. Other thresholds: `decision.risk_coverage` in "
        "`manifest.json`" + ("; for other priors: `decision.by_tau`." if "by_tau" in block else ".")
    )


def _files(manifest: Mapping[str, Any]) -> str:
    parity, rows = manifest["parity"], []
    for precision, figures in parity["models"].items():
        names = {**manifest["precision_files"], **manifest.get("engine_files", {})}
        name = names.get(precision, "saved_model/")
        rows.append(
            (
                f"`{name}`",
                f"{figures['bytes'] / 1024:,.0f} KiB",
                f"{figures['ms_per_face']:.2f}" if figures.get("ms_per_face") else "",
                f"{figures['max_difference']:.1e}",
                f"{figures['same_arg_max']:.2%}",
                f"{figures['accuracy']:.4f}",
                f"{figures['ece']:.4f}",
            )
        )
    text = _table(
        ("File", "Size", "ms per face", "Largest difference", "Same arg max", "Accuracy", "ECE"),
        rows,
    )
    kept = [
        f" The {precision} file keeps {row['float_operators']} of {row['operators']} "
        f"{'operators' if precision == 'int8' else 'weights'} in float32, as many as it needs to "
        "agree with Keras."
        for precision, row in parity["models"].items()
        if row.get("float_operators")
    ]
    time = (
        f" Time: median of {parity['timing_runs']} single pictures, one thread, "
        f"{parity['machine']}."
        if any(row.get("ms_per_face") for row in parity["models"].values())
        else ""
    )
    opset = parity["models"].get("onnx", {}).get("opset")
    kept += [f" The ONNX file is of opset {opset}."] if opset else []
    return (
        f"{text}\n\nCompared with Keras (accuracy {parity['keras_accuracy']:.4f}) on "
        f"{parity['n']:,} validation images.{time} Every file's sha256 is in `manifest.json`."
        + "".join(kept)
    )


def _robustness(record: Mapping[str, Any]) -> str:
    rows = []
    for row in record["points"]:
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}"
        rows.append(
            (
                row["point"],
                f"{row['accuracy']:.4f}",
                f"{row['loss']:.4f}",
                f"{row['reference_accuracy']:.4f}",
                f"{row['reference_loss']:.4f}",
                ratio,
            )
        )
    reference = record["points"][0]["reference"]
    theirs = record["reference_accuracy"][reference]
    rows.insert(0, ("clean", f"{record['accuracy']:.4f}", "", f"{theirs:.4f}", "", ""))
    head = (
        "Picture",
        "Accuracy",
        "Lost",
        f"Accuracy of {reference}",
        "Lost",
        "Ratio of the losses",
    )
    return (
        f"{_table(head, rows)}\n\nThe {record['precision']} file on {record['dataset']} "
        f"{record['split']}, label rule `{record['label_rule']}`, n = {record['n']:,}, seed "
        f"{record['seed']} of the corruptions; both models see the same pictures. More: "
        "`python -m fer_keras.study robustness`."
    )


def _again(manifest: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    if training.get("published"):
        return f"Its weights come from elsewhere. This export:\n\n```\n{training['command']}\n```"
    command = training.get("command") or (
        f"python -m fer_keras.train --exp {training['experiment']} --seed {training['seed']}"
    )
    mirror = " --mirror" if manifest.get("mirror_average") else ""
    return f"```\n{command} --run-dir RUN\npython -m fer_keras.export RUN{mirror}\n```"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    # A citation may hold a line break or a bar, which would end the cell.
    lines += [
        "| " + " | ".join(" ".join(str(c).split()).replace("|", "\\|") for c in row) + " |"
        for row in rows
    ]
    return "\n".join(lines)


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else ""


def _epochs(training: Mapping[str, Any]) -> str:
    if not training.get("epochs"):
        return ""
    return f"{training['epochs']} ({training.get('best_epoch', 'unknown')})"


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _recall(row: Mapping[str, Any]) -> str:
    if row["recall"] is None:
        return "-"
    low, high = wilson_interval(round(row["recall"] * row["support"]), row["support"])
    return f"{row['recall']:.3f} [{low:.3f}, {high:.3f}]"


def _before_after(validation: Mapping[str, Any], key: str) -> str:
    return f"{validation['calibrated'][key]:.4f} (uncalibrated {validation[key]:.4f})"
