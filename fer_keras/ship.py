"""Makes the folder of a model for users from an export: `python -m fer_keras.ship EXPORT`.

An export holds every precision and a SavedModel, for people who build on it. What users install is
smaller: the TFLite files they run, the labels, and a card that also says what the model stands. The
files are copied as they are, each after its sha256 was compared.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fer_keras.common.errors import run_command
from fer_keras.common.quiet import load_keras

_EXAMPLES = """examples:
  python -m fer_keras.ship runs/NAME/export --output saved_models/ferplus
  python -m fer_keras.ship runs/NAME/export --output saved_models/ferplus \\
      --robustness runs/NAME/export_robustness/robustness.json
  python -m fer_keras.ship saved_models/ferplus --refit-prior
  python -m fer_keras.ship saved_models/ferplus_tiny --add-network

The robustness figures are those of `python -m fer_keras.study robustness EXPORT`, of a file that is
shipped. An earlier model in the output folder is replaced after everything has succeeded.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m fer_keras.ship",
        description="Make the folder of a model for users: TFLite files, labels and a full card.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("export", type=Path, help="export folder")
    whole = parser.add_mutually_exclusive_group(required=True)
    whole.add_argument("--output", type=Path, metavar="DIR", help="folder to make")
    whole.add_argument(
        "--refit-prior", action="store_true",
        help="of a folder that was made before: choose its default prior and thresholds again, on "
        "the validation split, and write its card again",
    )  # fmt: skip
    whole.add_argument(
        "--add-network", action="store_true",
        help="of a folder that was made before: add model.keras, which can be trained on, from its "
        "float32 or dynamic file and training pictures",
    )  # fmt: skip
    parser.add_argument(
        "--precisions", nargs="+", default=["float32", "int8"], metavar="NAME",
        help="files that go along (default: float32 int8)",
    )  # fmt: skip
    parser.add_argument(
        "--default", default="int8", metavar="NAME", help="the one users get (default: int8)"
    )
    parser.add_argument(
        "--robustness", type=Path, metavar="FILE", help="robustness.json of the study"
    )
    arguments = parser.parse_args(argv)
    # Only now, so that --help is answered at once.
    load_keras()
    from fer_keras.conversion.ship import add_network, refit, ship

    output = arguments.output or arguments.export
    if arguments.refit_prior:
        manifest = refit(output)
    elif arguments.add_network:
        manifest = add_network(output)
    else:
        manifest = ship(
            arguments.export,
            output,
            precisions=arguments.precisions,
            default=arguments.default,
            robustness=arguments.robustness,
        )
    sizes = ", ".join(
        f"{name} {manifest['files'][file]['bytes'] / 1000:,.0f} kB"
        for name, file in manifest["precision_files"].items()
    )
    print(f"{manifest['name']}: {sizes}; written to {output}")
    return 0


if __name__ == "__main__":
    run_command(main)
