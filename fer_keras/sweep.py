"""Trains an experiment with many settings and compares them: `python -m fer_keras.sweep`.

Every trial is a run of its own (`train.run`), nested in the sweep's MLflow run and scored by the
validation figure that also chooses its epoch. Optuna proposes the settings and prunes; its SQLite
store in the sweep folder knows all trials from the start, so a sweep that was interrupted or killed
goes on where it was: finished trials stay, unfinished ones continue from their checkpoints.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from fer_keras.common.arguments import positive
from fer_keras.common.errors import run_command
from fer_keras.common.installed import TRAINING, require_keras
from fer_keras.common.quiet import load_keras
from fer_keras.training.sweep.sweep import as_worker, new_sweep, resumed_sweep, run_sweep
from fer_keras.training.sweep.trials import (
    read_sweep,
)

_EXAMPLES = """examples:
  python -m fer_keras.sweep cross_entropy --grid augmentation=none,light,standard --grid seed=0,1,2
  python -m fer_keras.sweep word2vec --search training.learning_rate=0.0003..0.03:log \\
      --search method.options.scale=8..32 --trials 20 --processes 2
  python -m fer_keras.sweep cross_entropy --set training.epochs=10 --trials 8 \\
      --search network.options.widths=[32,64,96],[48,96,160] --search training.weight_decay=0..0.3
  python -m fer_keras.sweep fer2013plus_ddamfn --runs ddamfn_runs            a table of runs
  python -m fer_keras.sweep --resume runs/sweep-word2vec-DATE                go on after a kill
  python -m fer_keras.sweep --resume runs/sweep-word2vec-DATE --trials 40    go on with more trials

KEY is what `python -m fer_keras.train --set` takes. --grid tries every combination of its values,
--search draws --trials settings (for each combination of the grid, if there is one). A range of
whole numbers draws whole numbers, unless the setting is a fraction. --runs trains the settings that
a JSON file lists, {"runs": [{"KEY": value, ...}, ...]}, each to its end.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fer_keras.sweep",
        description="Train an experiment with many settings and compare them by validation.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("experiment", nargs="?", help="as train --exp takes it")
    add = parser.add_argument
    add("--grid", action="append", default=[], metavar="KEY=V1,V2", help="try each of these values")
    add(
        "--search",
        action="append",
        default=[],
        metavar="KEY=LOW..HIGH[:log]",
        help="draw values from a range, or KEY=V1,V2 from a list",
    )
    add(
        "--runs", metavar="FILE", help="train the settings listed in a JSON file; ddamfn_runs ships"
    )
    add("--trials", type=positive, help="how many settings --search draws (default: 20)")
    add("--processes", type=positive, default=1, help="trials at the same time (default: 1)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="as train --set takes it")
    add("--no-prune", action="store_true", help="train every trial to its end")
    add("--sweep-dir", type=Path, help="default: runs/sweep-NAME-DATE")
    add("--resume", type=Path, metavar="DIR", help="go on with the sweep in this folder")
    add("--backend", choices=("tensorflow", "jax", "torch"), help="Keras backend")
    add("--require-data", action="store_true", help="a missing data set is an error")
    add("--no-mlflow", action="store_true", help="keep the sweep folder only")
    add("--worker", type=Path, help=argparse.SUPPRESS)
    add("--parent-run-id", default="", help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see `--help`."""
    arguments = _parser().parse_args(argv)
    if arguments.resume:
        os.environ["KERAS_BACKEND"] = read_sweep(arguments.resume).backend
    elif arguments.backend:
        os.environ["KERAS_BACKEND"] = arguments.backend
    require_keras("python -m fer_keras.sweep", *TRAINING, "optuna")
    load_keras()
    if arguments.worker:
        return as_worker(arguments)
    words = sys.argv[1:] if argv is None else list(argv)
    command = shlex.join(["python", "-m", "fer_keras.sweep", *words])
    folder, sweep = resumed_sweep(arguments) if arguments.resume else new_sweep(arguments, command)
    try:
        print(
            run_sweep(
                folder,
                sweep,
                processes=arguments.processes,
                track=not arguments.no_mlflow,
                command=command,
            )
        )
    except KeyboardInterrupt:
        print(f"Go on with: python -m fer_keras.sweep --resume {folder}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    run_command(main)
