"""Lists the models that come with this package: `python -m fer_keras.models list`.

Every name works where a model is asked for: `Recognizer("ferplus_tiny")`, `predict --model
ferplus_tiny`, `fer_keras.load_model("ferplus_tiny")`.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from fer_keras.common.errors import run_command
from fer_keras.runtime.shipped import ShippedModel, list_models, shipped_model

_EXAMPLES = """examples:
  python -m fer_keras.models list
  python -m fer_keras.models list --json
  python -m fer_keras.predict photo.jpg --model ferplus_tiny

Accuracy and balanced accuracy (the mean recall of the classes) are those of the validation split of
the data set that is named, by the class prior that the model answers by (docs/prior.md). The time
is that of one face on the machine that exported the model.
"""
_COLUMNS = (
    "name", "accuracy", "balanced", "n", "prior", "file", "MB", "ms/face", "input", "trainable",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m fer_keras.models",
        description="List the models that come with this package.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("verb", nargs="?", choices=("list",), help="what to do (default: list)")
    parser.add_argument("--json", action="store_true", help="all facts, one JSON object a line")
    arguments = parser.parse_args(argv)
    models = [shipped_model(name) for name in list_models()]
    if arguments.json:
        for model in models:
            print(json.dumps(asdict(model), default=str))
        return 0
    rows = [_COLUMNS, *(_row(model) for model in models)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)))
    for model in models:
        print(f"\n{model.name}: {', '.join(model.class_names)}")
        print(f"  network {model.network}, trained on {model.dataset}, timed on {model.machine}")
        print(f"  data licence: {model.licence}")
        print(f"  {model.folder}")
    return 0


def _row(model: ShippedModel) -> tuple[str, ...]:
    height, width = model.image_size
    return (
        model.name,
        _share(model.accuracy),
        _share(model.balanced_accuracy),
        str(model.n),
        model.prior,
        model.precision,
        f"{model.num_bytes / 1e6:.1f}",
        "-" if model.ms_per_face is None else f"{model.ms_per_face:.1f}",
        f"{height}x{width} {'grey' if model.channels == 1 else 'RGB'}",
        "no" if model.weights is None else model.weights.name,
    )


def _share(value: Any) -> str:
    return "-" if value is None else f"{value:.1%}"


if __name__ == "__main__":
    run_command(main)
