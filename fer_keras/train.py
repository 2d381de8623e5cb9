"""Trains an experiment: `python -m fer_keras.train --exp NAME`.

`fer_keras.training.run.run` is the whole story: data, network, method, optimizer, fit, evaluate.
Everything a run makes lies in its folder; MLflow gets a copy.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fer_keras.common.errors import (
    ConfigError,
    FerKerasError,
    TrainingError,
    did_you_mean,
    run_command,
)
from fer_keras.common.installed import BACKENDS, TRAINING, require_keras
from fer_keras.common.quiet import load_keras, load_tensorflow
from fer_keras.config import list_experiments, load_experiment
from fer_keras.tracking.run_names import headline
from fer_keras.training.backend_choice import choose_backend
from fer_keras.training.distribution import Distribution
from fer_keras.training.fallback import with_fallback
from fer_keras.training.run_folder import new_run_dir

_EXAMPLES = """examples:
  python -m fer_keras.train --list
  python -m fer_keras.train --exp word2vec
  python -m fer_keras.train --exp word2vec --epochs 3 --batch-size 32 --set method.options.scale=24
  python -m fer_keras.train --exp cross_entropy --data ~/faces --network vgg13
  python -m fer_keras.train --exp path/to/mine.py --seed 1 --run-dir runs/mine-1
  python -m fer_keras.train --run-dir runs/mine-1 --resume
  python -m fer_keras.train --exp ferplus_cel --backend auto
  python -m fer_keras.train --exp ferplus_cel --backend jax --devices 8
  python -m fer_keras.train --exp runs/mine-1/experiment.json      the same run again
"""

# Flag -> the setting that it is short for, what its value is called, what it is.
_FLAGS = {
    "--data": ("dataset.name", "NAME|DIR", "data set, or folder of pictures by class"),
    "--network": ("network.name", "NAME", "network"),
    "--epochs": ("training.epochs", "N", "passes over the training pictures"),
    "--batch-size": ("training.batch_size", "N", "pictures of a step"),
    "--learning-rate": ("training.learning_rate", "RATE", "highest learning rate"),
    "--seed": ("seed", "N", "seed of everything that is drawn"),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fer_keras.train",
        description="Train an experiment, choose its weights by validation, and record it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--exp", help="a shipped experiment, a .py file, or an experiment.json")
    parser.add_argument("--list", action="store_true", help="list the shipped experiments")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting"
    )
    for flag, (key, value, what) in _FLAGS.items():
        also = " or dataset.source" if flag == "--data" else ""
        parser.add_argument(flag, metavar=value, help=f"{what}: short for --set {key}{also}")
    parser.add_argument(
        "--backend",
        choices=(*BACKENDS, "auto"),
        help="Keras backend; auto: the fastest for this network on this machine, found in a trial "
        "of some 20 s that is kept. Without the option: KERAS_BACKEND, or a trial where the "
        "training is long, else TensorFlow",
    )
    parser.add_argument("--devices", type=int, default=1, help="devices of each process")
    cluster = parser.add_argument_group("several processes (JAX), see docs/distributed.md")
    cluster.add_argument("--coordinator", default="", metavar="HOST:PORT", help="process 0")
    cluster.add_argument("--num-processes", type=int, default=1)
    cluster.add_argument("--process-id", type=int, default=0)
    parser.add_argument("--run-dir", type=Path, help="default: runs/NAME-seedN-DATE")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --run-dir")
    parser.add_argument(
        "--require-data", action="store_true", help="a missing data set is an error"
    )
    parser.add_argument("--no-mlflow", action="store_true", help="keep the run folder only")
    return parser


def flag_changes(arguments: argparse.Namespace) -> list[str]:
    """The flags as what they are short for.

    Args:
        arguments: Of the command line.

    Returns:
        `KEY=VALUE`, as `--set` takes them.

    Raises:
        ConfigError: A setting is given by a flag and by `--set`, or `--data` is neither the name of
            a data set nor a folder that is there.
    """
    by_set = {change.partition("=")[0].strip(): change for change in arguments.set}
    changes = []
    for flag, (key, _, _) in _FLAGS.items():
        value: str | None = getattr(arguments, flag[2:].replace("-", "_"))
        if value is None:
            continue
        meant = _data_changes(value) if flag == "--data" else {key: value}
        for setting in meant:
            if setting in by_set:
                raise ConfigError(
                    f"{setting} is given twice: {flag} {value} and --set {by_set[setting]}. "
                    "Leave one of them out."
                )
        changes += [f"{setting}={chosen}" for setting, chosen in meant.items()]
    return changes


def _data_changes(value: str) -> dict[str, str]:
    """What `--data` means: the name of a data set, or a folder of pictures by class."""
    # Only here, so that --help is answered without OpenCV.
    from fer_keras.data.registry import list_datasets

    names = list_datasets()
    if value in names:
        return {"dataset.name": value}
    if Path(value).expanduser().exists():
        return {"dataset.name": "folder", "dataset.source": value}
    raise ConfigError(
        "--data: expected the name of a data set (python -m fer_keras.data list) or a folder of "
        f"pictures. Received: {value!r}. {did_you_mean(value, names)}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see `--help`."""
    arguments = _parser().parse_args(argv)
    if arguments.list:
        experiments = list_experiments()
        width = max(len(name) for name in experiments)
        for name, line in experiments.items():
            print(f"{name:<{width}}  {line}")
        return 0
    if arguments.resume and arguments.run_dir is None:
        raise ConfigError("--resume needs --run-dir: the folder of the run to go on with.")
    if arguments.resume and not (arguments.run_dir / "experiment.json").is_file():
        raise ConfigError(
            f"Nothing to resume: expected a run folder with experiment.json: {arguments.run_dir}"
        )
    if not arguments.exp and not arguments.resume:
        raise ConfigError("Expected --exp NAME (see --list). Received none.")
    if arguments.backend in BACKENDS:
        os.environ["KERAS_BACKEND"] = arguments.backend
    require_keras("python -m fer_keras.train", *TRAINING)
    experiment = load_experiment(arguments.exp or str(arguments.run_dir))
    # Only now, so that --help is answered at once.
    from fer_keras.training.as_weights import with_input_of_weights
    from fer_keras.training.changes import with_changes
    from fer_keras.training.own_parts import with_full_paths

    experiment = with_changes(experiment, [*arguments.set, *flag_changes(arguments)])
    if not arguments.resume:
        experiment = with_full_paths(with_input_of_weights(experiment))

    distribution = Distribution(
        arguments.devices, arguments.coordinator, arguments.num_processes, arguments.process_id
    )

    # Only now, so that --help is answered at once.
    from fer_keras.data.splits import load_splits

    if not arguments.resume:
        experiment = with_fallback(experiment, arguments.require_data)
    # Before the seconds that TensorFlow takes to load. Several processes share a folder by name.
    shared = distribution.num_processes > 1 or distribution.devices > 1
    run_dir = arguments.run_dir or (None if shared else new_run_dir(experiment))
    if run_dir is not None:
        print(headline(experiment, run_dir), flush=True)
    load_tensorflow()
    # All folds are alike: the first one tells how long the training is, and is tried.
    dataset = experiment.dataset
    part = replace(dataset, fold=0) if dataset.every_fold else dataset
    os.environ["KERAS_BACKEND"] = choose_backend(
        replace(experiment, dataset=part),
        arguments.backend or "",
        arguments.run_dir if arguments.resume else None,
        print,
        lambda: load_splits(part, experiment.seed)[0],
        # Several devices or processes have to begin at once: no trial but on demand.
        unasked=not shared,
    )

    load_keras()
    from fer_keras.training.stages.run_stages import run_stages

    words = sys.argv[1:] if argv is None else list(argv)
    command = shlex.join(["python", "-m", "fer_keras.train", *words])
    record = {"command": command, "track": not arguments.no_mlflow, "resume": arguments.resume}
    record |= {"distribution": distribution, "announced": run_dir is not None}
    return _run_and_report(
        lambda: run_stages(experiment, run_dir, **record), distribution.num_processes > 1
    )


def _run_and_report(action: Callable[[], Any], several_processes: bool) -> int:
    from fer_keras.training.callbacks import Interrupted

    code = 0
    try:
        action()
    except Interrupted:
        code = 130
    except MemoryError:
        raise TrainingError("Out of memory. Try a smaller training.batch_size.") from None
    except FerKerasError as error:
        if not several_processes:
            raise
        print(f"error: {error}", file=sys.stderr, flush=True)
        code = 2
    if code and several_processes:
        os._exit(code)  # At a usual exit JAX waits for processes that wait for this one.
    return code


if __name__ == "__main__":
    run_command(main)
