"""What the branches of an ensemble know alone and together, and where each of them looks.

For networks with branches (esr, manet): every branch alone, and the first 1, 2, 3, ... branches
together, by plurality of their votes and by the mean of their logits. Of a training that grew, the
runs of its stages are measured too: the growth curve of the source. The best single branch is
chosen on validation, whatever is measured on.

examples:
  python -m fer_keras.study branches runs/NAME
  python -m fer_keras.study branches runs/NAME --split test --sheet

files:
  branches.md, .csv     accuracy, balanced accuracy by the number of branches
  branches.png          the same as curves, with every single branch
  NAME_drawn.png        class activation maps of each branch over drawn faces; --sheet adds pictures
                        of the data set, which may be passed on only where those may
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.decode import resize
from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.common.files import read_json, write_text
from fer_keras.common.labels import EMOTIONS, name_mapping
from fer_keras.common.metrics import balanced_accuracy, wilson_interval
from fer_keras.data.datasets.synthetic_faces import generate
from fer_keras.evaluation.run_data import run_samples
from fer_keras.loading.keras_files import load_network
from fer_keras.reporting.plots import Line, Panel, plot_panels, plot_pictures
from fer_keras.reporting.tables import file_stem, markdown_table, write_csv
from fer_keras.studies.shared.models import mlflow_run_id
from fer_keras.studies.shared.output import output_folder
from fer_keras.studies.shared.series import plot_limits
from fer_keras.tracking.tracker import Tracker

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples

_SHOWN_PX = 112
# Seed of the drawn faces: people who show what they are asked for.
_DRAWN_FACES = 881

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Measured:
    """One way to answer.

    Attributes:
        kind: `branch`, `vote`, `mean`, `best branch`, `any branch` or `stage`.
        branches: Number of the branch, or of the branches together.
        right: Pictures answered right, of `n`.
        n: Pictures.
        balanced: Balanced accuracy, 0..1.
    """

    kind: str
    branches: int
    right: int
    n: int
    balanced: float

    @property
    def accuracy(self) -> float:
        """0..1."""
        return self.right / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval."""
        return wilson_interval(self.right, self.n)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study.

    Args:
        parser: That of the command.
    """
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument(
        "--limit", type=int, default=0, metavar="N", help="only N pictures, spread evenly"
    )
    parser.add_argument(
        "--sheet", action="store_true",
        help="also show pictures of the data set, which may not be passed on",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="default: runs/study-branches-DATE"
    )
    parser.add_argument(
        "--no-mlflow", action="store_true", help="leave the MLflow runs of the models as they are"
    )


def run(arguments: argparse.Namespace) -> str:
    """Does the study.

    Args:
        arguments: Parsed options.

    Returns:
        A table for each run, as Markdown.

    Raises:
        ConfigError: A network has no branches.
        FerKerasError: A run or its data cannot be used.
    """
    folder = output_folder(arguments, "branches")
    parts: list[str] = ["# Branches", ""]
    records: list[dict[str, Any]] = []
    curves: dict[str, list[Measured]] = {}
    for path in arguments.runs:
        name = path.resolve().name
        found, subject = _measure_run(path, arguments, folder)
        curves[name] = found
        parts += [f"## {name}", "", f"{subject}.", "", table(found), ""]
        records += [
            {
                "run": name, "kind": each.kind, "branches": each.branches,
                "accuracy": each.accuracy, "low": each.interval[0], "high": each.interval[1],
                "balanced_accuracy": each.balanced, "n": each.n,
            }
            for each in found
        ]  # fmt: skip
    text = "\n".join(parts).strip()
    write_text(folder / "branches.md", text + "\n")
    write_csv(folder / "branches.csv", records)
    _draw(folder / "branches.png", curves)
    if not arguments.no_mlflow:
        for path in arguments.runs:
            _track(path, folder, curves[path.resolve().name])
    return f"{text}\n\nwritten to {folder}"


def _measure_run(
    path: Path, arguments: argparse.Namespace, folder: Path
) -> tuple[list[Measured], str]:
    network, _ = load_network(path / "best.keras")
    if "branch_logits" not in network.output:
        raise ConfigError(
            "Expected runs of networks with branches, such as esr or manet. Received: "
            f"{network.name}: {path}"
        )
    samples, _ = run_samples(path, arguments.split)
    samples = _limited(samples, arguments.limit)
    logits = branch_logits(network, samples)
    chosen = logits, samples.labels
    if arguments.split == "test":
        validation = _limited(run_samples(path, "validation")[0], arguments.limit)
        chosen = branch_logits(network, validation), validation.labels
    best = best_branch(*chosen)
    fused = _is_mean(network, samples)
    found = measure(logits, samples.labels, best)
    result = "result.json" if arguments.split == "validation" else "result_test.json"
    for stage in sorted(path.glob("branches-*"), key=lambda p: int(p.name.split("-")[1])):
        # A stage was measured on the same pictures, unless only some are asked for.
        if not arguments.limit and (stage / result).is_file():
            figures = read_json(stage / result)
            count = int(stage.name.split("-")[1])
            right = round(figures["accuracy"] * figures["n"])
            balanced = figures["balanced_accuracy"]
            found.append(Measured("stage", count, right, figures["n"], balanced))
    _draw_maps(folder, path, network, samples if arguments.sheet else None)
    subject = (
        f"{samples.name} {samples.split} ({samples.label_rule}), n {len(samples):,}; accuracy with "
        f"its 95 % Wilson interval, balanced accuracy; branch {best + 1} is the best on validation"
    )
    if not fused:
        subject += "; the network's own answer weighs its branches, the mean here does not"
    return found, subject


def _limited(samples: "Samples", limit: int) -> "Samples":
    if not 0 < limit < len(samples):
        return samples
    return samples.take(np.linspace(0, len(samples) - 1, limit).round().astype(np.int64))


def branch_logits(network: Any, samples: "Samples") -> Logits:
    """What every branch says, in the order of the data set's classes.

    Args:
        network: With the output `branch_logits`, and class names.
        samples: Pictures of its size.

    Returns:
        `(n, branches, classes)`.
    """
    import keras

    from fer_keras.models.layers import class_names_of

    part = keras.Model(network.input, network.output["branch_logits"])
    columns = list(name_mapping(class_names_of(network), samples.class_names))
    blocks = [
        keras.ops.convert_to_numpy(
            part(np.asarray(samples.images[i : i + 64], np.float32), training=False)
        )
        for i in range(0, len(samples), 64)
    ]
    return np.asarray(np.concatenate(blocks), np.float32)[..., columns]


def _is_mean(network: Any, samples: "Samples") -> bool:
    """Whether the fused logits are the mean of those of the branches."""
    import keras

    outputs = network(np.asarray(samples.images[:4], np.float32), training=False)
    fused, parts = (
        np.asarray(keras.ops.convert_to_numpy(outputs[name]), np.float32)
        for name in ("logits", "branch_logits")
    )
    return bool(np.allclose(fused, parts.mean(axis=1), rtol=1e-3, atol=1e-3))


def best_branch(logits: Logits, labels: npt.NDArray[np.int64]) -> int:
    """Index of the branch that answers the most pictures right, the first of several."""
    return int((logits.argmax(axis=2) == labels[:, np.newaxis]).sum(axis=0).argmax())


def vote(logits: Logits) -> npt.NDArray[np.int64]:
    """The class that most branches choose; a tie goes to the first class, as in the source.

    Args:
        logits: `(n, branches, classes)`.

    Returns:
        `(n,)`.
    """
    chosen = logits.argmax(axis=2)
    counts = (chosen[..., np.newaxis] == np.arange(logits.shape[2])).sum(axis=1)
    return np.asarray(counts.argmax(axis=1), np.int64)


def measure(logits: Logits, labels: npt.NDArray[np.int64], best: int) -> list[Measured]:
    """Every branch alone, and the first 1, 2, 3, ... together.

    Args:
        logits: `(n, branches, classes)`.
        labels: `(n,)`.
        best: Index of the branch that validation chose.

    Returns:
        `branch` for each; `vote` and `mean` for each number of branches; `best branch`; `any
        branch`, pictures that at least one branch has right.
    """
    count = logits.shape[1]

    def measured(kind: str, branches: int, right: npt.NDArray[np.bool_]) -> Measured:
        balanced = balanced_accuracy(right, labels)
        return Measured(kind, branches, int(right.sum()), len(labels), balanced)

    right = logits.argmax(axis=2) == labels[:, np.newaxis]
    found = [measured("branch", b + 1, right[:, b]) for b in range(count)]
    for together in range(1, count + 1):
        part = logits[:, :together]
        for kind, answers in (("vote", vote(part)), ("mean", part.mean(axis=1).argmax(axis=1))):
            found.append(measured(kind, together, answers == labels))
    found.append(measured("best branch", best + 1, right[:, best]))
    found.append(measured("any branch", count, right.any(axis=1)))
    return found


def table(found: Sequence[Measured]) -> str:
    """A row for each number of branches, and below it the single best and the limit.

    Args:
        found: Of `measure`, and stages.

    Returns:
        Markdown.
    """
    cells = {(each.kind, each.branches): _cell(each) for each in found}
    count = max(each.branches for each in found)
    has_stages = any(each.kind == "stage" for each in found)
    header = ["Branches", "Vote of the first k", "Mean of the first k", "Branch k alone"]
    if has_stages:
        header.append("Stage of k branches")
    rows = []
    for k in range(1, count + 1):
        row = [str(k), *(cells[kind, k] for kind in ("vote", "mean", "branch"))]
        if has_stages:
            row.append(cells.get(("stage", k), cells["mean", k] if k == count else ""))
        rows.append(row)
    for each in found:
        if each.kind in ("best branch", "any branch"):
            label = {
                "best branch": "best on validation", "any branch": "at least one right"
            }[each.kind]  # fmt: skip
            blank = [""] * (len(header) - 4)
            rows.append([label, "", "", _cell(each), *blank])
    return markdown_table(header, rows)


def _cell(each: Measured) -> str:
    low, high = each.interval
    return f"{each.accuracy:.4f} [{low:.4f}, {high:.4f}], {each.balanced:.4f}"


def _draw(path: Path, curves: Mapping[str, Sequence[Measured]]) -> None:
    panels = []
    for name, found in curves.items():
        count = max(each.branches for each in found)
        lines = []
        for kind, label in (
            ("vote", "vote of the first k"), ("mean", "mean of the first k"),
            ("branch", "branch k alone"), ("stage", "stage of k branches"),
        ):  # fmt: skip
            of_kind = sorted((e for e in found if e.kind == kind), key=lambda e: e.branches)
            # The stages before the last, which is the network itself.
            if kind == "stage" and of_kind:
                of_kind += [e for e in found if e.kind == "mean" and e.branches == count]
            if not of_kind or (kind == "stage" and len(of_kind) != count):
                continue
            band: tuple[Sequence[float], Sequence[float]] = ((), ())
            if kind == "mean":
                low, high = zip(*(e.interval for e in of_kind), strict=True)
                band = (low, high)
            lines.append(Line(label, [e.accuracy for e in of_kind], *band))
        ends = [end for line in lines for end in (*line.values, *line.lower, *line.upper)]
        ticks = [str(k) for k in range(1, count + 1)]
        panels.append(Panel(name, ticks, lines, plot_limits(ends)))
    note = "Accuracy by the number of\nbranches. Band: 95 % Wilson\ninterval of the mean."
    columns = min(len(panels) + 1, 4)
    plot_panels(panels, path, title="What branches know", note=note, columns=columns)


def _draw_maps(folder: Path, path: Path, network: Any, samples: "Samples | None") -> None:
    """A row for each picture: the picture, then what speaks for the answer in each branch."""
    from fer_keras.models.layers import class_names_of
    from fer_keras.studies.shared.maps import BranchCams, enlarged, overlay

    try:
        cams = BranchCams(network)
    except ModelFileError:  # branches of another kind have no maps
        return
    import keras

    names = class_names_of(network)
    shape = tuple(int(side) for side in network.input.shape[1:])
    shown = {"drawn": drawn_faces(shape)}
    if samples is not None:
        rows = [np.flatnonzero(samples.labels == k)[:2] for k in range(len(samples.class_names))]
        part = samples.take(np.concatenate(rows))
        shown[samples.name] = (part.images, [part.class_names[label] for label in part.labels])
    size = (_SHOWN_PX, _SHOWN_PX)
    for what, (images, truths) in shown.items():
        outputs = network(images.astype(np.float32), training=False)
        answers, own = (
            keras.ops.convert_to_numpy(outputs[key]).argmax(axis=-1)
            for key in ("logits", "branch_logits")
        )
        large = {k: enlarged(m, size) for k, m in cams.maps(images, answers).items()}
        sheet = []
        for i, image in enumerate(images):
            picture = resize(image, size)
            pictures = [picture, *(overlay(picture, maps[i]) for maps in large.values())]
            captions = [f"answer {names[answers[i]]}"]
            captions += [
                f"{key}: {names[own[i, k]]}" if own.shape[1] == len(large) else key
                for k, key in enumerate(large)
            ]
            sheet.append((truths[i], pictures, captions))
        target = folder / f"{file_stem(path.resolve().name)}_{what}.png"
        title = f"What speaks for the answer in each branch of {path.resolve().name}"
        plot_pictures(sheet, target, title=title)


def drawn_faces(shape: Sequence[int]) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """One clear drawn face of each emotion.

    Args:
        shape: `(height, width, channels)` of the network, square.

    Returns:
        `(8, height, width, channels)` and the names of the emotions.
    """
    found: dict[str, Any] = {}
    for face in generate(400, seed=_DRAWN_FACES, size=shape[0], channels=shape[2]):
        if face.intensity > 0.8 or face.emotion == "neutral":
            found.setdefault(face.emotion, face.image)
        if len(found) == len(EMOTIONS):
            break
    kept = [emotion for emotion in EMOTIONS if emotion in found]
    return np.stack([found[emotion] for emotion in kept]), kept


def _track(path: Path, folder: Path, found: Sequence[Measured]) -> None:
    run_id = mlflow_run_id(path)
    tracker = Tracker(bool(run_id))
    if not tracker.attach(run_id):
        return
    for each in found:
        if each.kind in ("vote", "mean", "branch", "stage"):
            tracker.log({f"branches/{each.kind}": each.accuracy}, each.branches)
    for file in sorted(folder.iterdir()):
        tracker.artifact(file, "branches")
