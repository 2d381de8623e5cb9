"""What the difference to a neutral face brings: ViT_SE, differences of embeddings, their controls.

Trains the three networks of the source and, on the same frozen encoder, heads that read the face
alone, the difference alone or its absolute value, and a linear probe. People of the test split are
in no other. The neutral face is another picture of the person, in another pose and light; the last
rows take one of the same session, which only the built-in faces have. By default all is small and
on the built-in faces; the published figures beside it are for another data set.

With --identity-weights a second table tells what it brings that the encoder of emotions is trained
beside one that knows the person: none, a random one as the control, and dlib's face features.

examples:
  python -m fer_keras.study embeddings
  python -m fer_keras.study embeddings --seed 1 --output runs/embeddings-1
  python -m fer_keras.study embeddings --identity-weights vladmandic-face-api-1.7.15.tgz
  python -m fer_keras.study embeddings --published --imagenet    AffectNet, 224 pixels

files:
  embeddings.md, .json   the table and the command of every row
  RUN/                   the run folder of every row
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.common.files import write_text
from fer_keras.reporting.tables import markdown_table
from fer_keras.studies.shared.output import output_folder
from fer_keras.studies.shared.trained_rows import (
    BUILT_IN,
    SMALL_ENCODER,
    Outcome,
    Row,
    add_training_arguments,
    header,
    outcome_cells,
    studied_on,
    train_row,
)

_SMALL_VIT = (
    *(f"network.options.{key}={value}" for key, value in (
        ("patch_size", 8), ("hidden", 64), ("depth", 3), ("heads", 4), ("mlp", 128), ("dropout", 0)
    )),
    "augmentation=light", "training.optimizer=adamw", "training.learning_rate=0.001",
    "training.weight_decay=0.05", "training.schedule=cosine", "training.batch_size=64",
    "training.epochs=40",
)  # fmt: skip
_SMALL_DIFFERENCE = (
    "network.options.encoder=compact",
    'network.options.encoder_options={"stem_filters":8,"widths":[16,32,64]}',
)
_SMALL_HEAD = ("network.options.hidden=[64,32]", "training.batch_size=64")
_IMAGENET = ("network.options.encoder_weights=imagenet",)
_FACE = "face alone"
_RANDOM = "random features"
_IDENTITY = {"none": "no identity encoder", "random": _RANDOM, "face_features": "face features"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study.

    Args:
        parser: That of the command.
    """
    add_training_arguments(parser, "embeddings")
    parser.add_argument(
        "--published", action="store_true",
        help="the experiments as they are: a tenth of AffectNet, 224 pixels, large encoders",
    )  # fmt: skip
    parser.add_argument(
        "--imagenet", action="store_true",
        help="with --published: encoders start from the ImageNet weights that Keras downloads",
    )  # fmt: skip
    parser.add_argument(
        "--identity-weights", type=Path, metavar="FILE",
        help="dlib's face-recognition network: the package @vladmandic/face-api, or its folder",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> str:
    """Does the study.

    Args:
        arguments: Parsed options.

    Returns:
        The table, as Markdown.

    Raises:
        FerKerasError: The data set or the file of weights is missing, or a training failed.
    """
    weights: Path | None = arguments.identity_weights
    if weights and arguments.published:
        raise ConfigError(
            "--identity-weights: expected the small networks on the built-in faces. Received: "
            "--published too. Leave one of them out."
        )
    if weights and not weights.exists():
        raise DataError(f"--identity-weights: no such file: {weights}")
    folder = output_folder(arguments, "embeddings")
    track = not arguments.no_mlflow

    def trained(name: str, row: Row) -> Outcome:
        return train_row(row, folder / name, arguments.seed, track=track)

    networks = {
        name: trained(name, row)
        for name, row in network_rows(arguments.published, arguments.imagenet).items()
    }
    encoder = networks["emotion_encoder"].run_dir
    heads = {
        name: trained(name, row) for name, row in head_rows(encoder, arguments.published).items()
    }
    persons: list[Outcome] = []
    for name, row in (identity_rows(weights) if weights else {}).items():
        first = trained(f"identity_{name}", row)
        found = head_rows(first.run_dir, published=False)
        persons.append(first)
        for head in ("disentangled", "session"):
            of_head = replace(found[head], label=f"{row.label}; {found[head].label}", published="")
            persons.append(trained(f"identity_{name}_{head}", of_head))
    return write_report(folder, networks, heads, persons)


def network_rows(published: bool, imagenet: bool) -> dict[str, Row]:
    """The networks of the source.

    Args:
        published: As the experiments have them, not small on the built-in faces.
        imagenet: Whether encoders start from ImageNet weights.

    Returns:
        Name of a run folder -> row.
    """
    weights = _IMAGENET if imagenet and published else ()

    def changes(*small: str) -> tuple[str, ...]:
        return weights if published else (*BUILT_IN, *small)

    start = "ImageNet" if weights else "fresh"
    return {
        "vit_se": Row(
            "ViT_SE", "affectnet_small_vit_se",
            () if published else changes(*_SMALL_VIT), "0.347",
        ),
        "difference": Row(
            f"difference of embeddings, {start} encoder", "affectnet_small_difference",
            changes(*_SMALL_DIFFERENCE, *_SMALL_HEAD), "0.336",
        ),
        "emotion_encoder": Row(
            "emotion encoder, first stage", "affectnet_small_emotion_encoder",
            changes(*SMALL_ENCODER),
        ),
    }  # fmt: skip


def head_rows(encoder: Path, published: bool) -> dict[str, Row]:
    """Heads on the frozen emotion encoder.

    Args:
        encoder: The run folder of the first stage.
        published: See `network_rows`.

    Returns:
        Name of a run folder -> row.
    """
    base = () if published else (*BUILT_IN, *_SMALL_HEAD)
    base = (*base, f"network.options.encoder={encoder}")

    def row(label: str, *more: str, figure: str = "") -> Row:
        return Row(label, "affectnet_small_disentangled", (*base, *more), figure)

    reads, session = "network.options.reads={}".format, "dataset.neutral=same_session"
    rows = {
        "face": row(_FACE, reads("face")),
        "probe": row("face alone, linear probe", reads("face"), "network.options.hidden=[]"),
        "disentangled": row("difference and face (disentangled)", figure="0.3804"),
        "only_difference": row("difference alone", reads("difference")),
        "absolute": row("absolute difference alone", reads("absolute_difference")),
    }
    if not published:
        rows |= {
            "session": row("difference and face, same session", session),
            "session_difference": row(
                "difference alone, same session", reads("difference"), session
            ),
            "session_absolute": row(
                "absolute difference alone, same session", reads("absolute_difference"), session
            ),
        }
    return rows


def identity_rows(weights: Path) -> dict[str, Row]:
    """Emotion encoders beside nothing, beside a random encoder and beside face features.

    All at a quarter of the rate of the other rows and for four times as many epochs: at their rate
    a network beside face features learns nothing (docs/neutral.md).

    Args:
        weights: Of dlib's face-recognition network.

    Returns:
        Name -> row; in `SMALL_ENCODER` the identity encoder is a random one.
    """
    changes = {
        "none": ("network.options.identity=none",),
        "random": (),
        "face_features": (
            "network.options.identity=face_resnet",
            "network.options.identity_options={}",
            f"network.options.identity_weights={weights}",
        ),
    }
    slowly = ("training.learning_rate=0.001", "training.epochs=96")
    common = (*BUILT_IN, *SMALL_ENCODER, *slowly)
    return {
        name: Row(label, "affectnet_small_emotion_encoder", (*common, *changes[name]))
        for name, label in _IDENTITY.items()
    }


def write_report(
    folder: Path,
    networks: Mapping[str, Outcome],
    heads: Mapping[str, Outcome],
    persons: list[Outcome],
) -> str:
    """Writes the tables, and returns them.

    Args:
        folder: Where to.
        networks: Of `network_rows`.
        heads: Of `head_rows`.
        persons: Of `identity_rows`, of each the first stage and its two heads; none without them.

    Returns:
        Markdown.
    """
    everything = [*networks.values(), *heads.values(), *persons]
    face = heads["face"]
    rows = [outcome_cells(each, None) for each in networks.values()]
    rows += [outcome_cells(each, face) for each in heads.values()]
    text = (
        f"Measured on {studied_on(everything)}. Heads on the emotion encoder are compared with the "
        "one that reads the face alone, in points on the same pictures (p: McNemar's exact test). "
        "Published figures are those of AffectNet's validation pictures.\n\n"
        f"{markdown_table(header(_FACE), rows)}"
    )
    if persons:
        text += _identity_table(persons)
    commands = "\n".join(each.command for each in everything)
    write_text(folder / "embeddings.md", f"{text}\n\nEach row alone:\n\n```bash\n{commands}\n```\n")
    record = {
        name: {
            "label": each.row.label, "command": each.command, "accuracy": each.figures["accuracy"],
            "accuracy_interval": each.figures["accuracy_interval"],
            "balanced_accuracy": each.figures["balanced_accuracy"], "n": each.figures["n"],
            "published": each.row.published,
        }
        for name, each in {
            **networks, **heads, **{each.run_dir.name: each for each in persons}
        }.items()
    }  # fmt: skip
    write_text(folder / "embeddings.json", json.dumps(record, indent=2) + "\n")
    return f"{text}\n\nwritten to {folder}"


def _identity_table(persons: list[Outcome]) -> str:
    stages = len(persons) // len(_IDENTITY)
    beside_random = persons[stages : 2 * stages]
    cells = [
        outcome_cells(each, beside_random[place % stages]) for place, each in enumerate(persons)
    ]
    return (
        "\n\nThe encoder of emotions beside one that knows the person, and heads on it, at a rate "
        "of 0.001 for 96 epochs; compared with the row beside random features.\n\n"
        f"{markdown_table(header(_RANDOM), cells)}"
    )
