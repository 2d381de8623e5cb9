"""The same training on TensorFlow, JAX and PyTorch: losses, weights and speed side by side.

Four networks are trained by three methods. Each backend runs in a process of its own, from the same
initial weights, on the same batches of random pictures, without dropout and augmentation. Losses
begin equal up to float32 rounding and drift apart, as training amplifies the rounding. How much of
the drift that is shows the control: the first backend again, with every initial weight moved by the
last bit of float32, up or down. Exit code 1 if a pair of backends is further apart than stated:
1e-5 of the loss at the first two steps, of which the second shows gradients and update, and 1e-3
within ten steps, or ten times what the control is. Both are taken on three draws of pictures, of
which the median counts: where rounding moves one ReLU across 0, the gradients of that draw differ
by as much as its share, and a backend that is wrong is wrong in every draw.

    python benchmarks/backends.py --output results
    python benchmarks/backends.py --steps 20 --networks compact --methods cross_entropy
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ConfigError, run_command
from fer_keras.common.installed import BACKENDS

NETWORKS: dict[str, dict[str, Any]] = {
    "compact": {"dropout": 0.0},
    "mini_xception": {},
    "resnet18": {"width": 0.25, "dropout": 0.0},
    "ddamfn": {"width": 1 / 8, "depths": [1, 1, 1]},
}
METHODS: dict[str, dict[str, Any]] = {
    "cross_entropy": {"label_smoothing": 0.1},
    "word2vec": {"loss": "cosine_softmax"},
    "label_distribution": {"scheme": "multi_label"},
}
FIRST_2 = 1e-5
FIRST_10 = 1e-3
OF_CONTROL = 10.0
_NAMES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear")
_WARM_UP = 5
_DRAWS = 3


def main() -> int:
    """Runs every backend and prints two tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="folder for backends.json; none: only printed")
    parser.add_argument("--steps", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=32, help="default: %(default)s")
    parser.add_argument("--learning-rate", type=float, default=0.01, help="default: %(default)s")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--control", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        train_all(arguments)
        return 0
    control = f"{arguments.backends[0]}, last bit"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = {backend: run_backend(backend, folder) for backend in arguments.backends}
        moved = run_backend(arguments.backends[0], folder, control)
        controls = compare({arguments.backends[0]: runs[arguments.backends[0]], control: moved})
        rows = compare(runs)
    print_tables(runs, [*controls, *rows], arguments)
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        report = {
            "steps": arguments.steps,
            "batch_size": arguments.batch_size,
            "learning_rate": arguments.learning_rate,
            "control": controls,
            "pairs": rows,
            "runs": {**runs, control: moved},
        }
        text = json.dumps(report, indent=1) + "\n"
        (arguments.output / "backends.json").write_text(text, encoding="utf-8")
    control_of = {row["case"]: row for row in controls}
    beyond = [
        row
        for row in rows
        if any(
            row[key] > max(least, OF_CONTROL * control_of[row["case"]][key])
            for key, least in (("first_2", FIRST_2), ("first_10", FIRST_10))
        )
    ]
    for row in beyond:
        print(f"beyond the tolerance: {row['case']}, {row['pair']}", file=sys.stderr)
    return 1 if beyond else 0


def run_backend(backend: str, folder: Path, control: str = "") -> dict[str, Any]:
    """Trains all cases in a process of its own on one backend.

    Args:
        backend: One of `BACKENDS`.
        folder: The first backend leaves the initial weights there.
        control: The name of the run, if the initial weights are to be moved by their last bit.

    Returns:
        Case -> its `losses` and `seconds` of every step, `firsts`, the losses of the first ten
        steps of each draw, and `weights`, the path of the last ones.

    Raises:
        ConfigError: The backend could not run.
    """
    print(f"{control or backend} ...", flush=True)
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    command = [sys.executable, *sys.argv, "--worker", str(folder), "--control", control]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1].removeprefix("error: ")
        raise ConfigError(f"The backend {backend!r} did not run: {last} Leave it out: --backends.")
    path = folder / f"{control or backend}.json"
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return results


def train_all(arguments: argparse.Namespace) -> None:
    """The part of one backend: trains every case and writes `<backend>.json`."""
    import keras

    results = {}
    for network in arguments.networks:
        for method in arguments.methods:
            results[f"{network} {method}"] = train(network, method, arguments)
            keras.utils.clear_session()
    path = arguments.worker / f"{arguments.control or keras.backend.backend()}.json"
    path.write_text(json.dumps(results), encoding="utf-8")


def train(network_name: str, method_name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains one case; see `run_backend`."""
    import keras
    import numpy as np
    from keras import ops

    from fer_keras.methods import build_method
    from fer_keras.models import build_network
    from fer_keras.training.device import use_xla

    keras.utils.set_random_seed(0)
    network = build_network(network_name, (48, 48, 1), len(_NAMES), **NETWORKS[network_name])
    method = build_method(method_name, network, _NAMES, **METHODS[method_name])
    start = arguments.worker / f"{network_name}-{method_name}.npz"
    if start.is_file():
        with np.load(start, allow_pickle=False) as stored:
            weights = [stored[f"w{i:04}"] for i in range(len(stored.files))]
        if arguments.control:
            rng = np.random.default_rng(1)
            far = np.array([-9e9, 9e9], np.float32)
            weights = [np.nextafter(weight, rng.choice(far, weight.shape)) for weight in weights]
        method.network.set_weights(weights)
    else:
        first = {f"w{i:04}": array for i, array in enumerate(method.network.get_weights())}
        np.savez(start, allow_pickle=False, **first)
    # Not Adam: it divides by the size of the gradient, which turns rounding into whole steps.
    optimizer = keras.optimizers.SGD(arguments.learning_rate, momentum=0.9)
    method.compile(optimizer=optimizer, jit_compile=use_xla("auto"))
    optimizer.build(method.trainable_variables)
    variables = [*method.network.variables, *optimizer.variables]
    initial = [np.array(ops.convert_to_numpy(variable)) for variable in variables]

    def steps(draw: int, count: int) -> tuple[list[float], list[float]]:
        """The loss and the seconds of each of the first steps on one draw of pictures."""
        for variable, value in zip(variables, initial, strict=True):
            variable.assign(value)
        rng = np.random.default_rng(draw)
        losses, seconds = [], []
        for _ in range(count):
            # Brightness says the class, so there is something to learn.
            labels = rng.integers(0, len(_NAMES), arguments.batch_size)
            noise = rng.normal(0, 20, (arguments.batch_size, 48, 48, 1))
            images = np.clip(40 + 25 * labels[:, None, None, None] + noise, 0, 255).astype(np.uint8)
            targets = np.eye(len(_NAMES), dtype=np.float32)[labels]
            began = time.perf_counter()
            # Keras keeps a running mean; the loss of this step alone is wanted.
            method.reset_metrics()
            logs = method.train_on_batch(images, targets, return_dict=True)
            losses.append(float(logs["loss"]))
            seconds.append(time.perf_counter() - began)
        return losses, seconds

    losses, seconds = steps(0, arguments.steps)
    flat = np.concatenate([weight.ravel() for weight in method.network.get_weights()])
    run = arguments.control or keras.backend.backend()
    last = arguments.worker / f"{network_name}-{method_name}-{run}.npy"
    np.save(last, flat.astype(np.float32), allow_pickle=False)
    ten = min(10, arguments.steps)
    firsts = [losses[:ten], *(steps(draw, ten)[0] for draw in range(1, _DRAWS))]
    return {"losses": losses, "firsts": firsts, "seconds": seconds, "weights": str(last)}


def relative(a: Any, b: Any) -> Any:
    """The differences of two arrays of losses as shares of the first."""
    import numpy as np

    return np.abs(a - b) / np.maximum(np.abs(a), 1e-3)


def compare(runs: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """How far each two backends are apart.

    Args:
        runs: Backend -> what `run_backend` returned.

    Returns:
        For each case and pair the largest relative difference of the losses at the first two
        steps (`first_2`) and within ten (`first_10`), the medians over the draws, and within all
        (`all`), the difference of the mean losses of the last tenth (`last_tenth`), and the
        distance of the last weights as a share of their norm (`weights`).
    """
    import numpy as np

    rows = []
    for first, second in combinations(runs, 2):
        for case in runs[first]:
            a, b = (np.array(runs[each][case]["losses"]) for each in (first, second))
            gaps = relative(a, b)
            firsts = relative(*(np.array(runs[each][case]["firsts"]) for each in (first, second)))
            x, y = (np.load(runs[each][case]["weights"]) for each in (first, second))
            tenth = max(1, len(a) // 10)
            rows.append(
                {
                    "case": case,
                    "pair": f"{first} - {second}",
                    "first_2": float(np.median(firsts[:, :2].max(axis=1))),
                    "first_10": float(np.median(firsts.max(axis=1))),
                    "all": float(gaps.max()),
                    "last_tenth": float(abs(a[-tenth:].mean() - b[-tenth:].mean())),
                    "weights": float(np.linalg.norm(x - y) / np.linalg.norm(x)),
                }
            )
    return rows


def print_tables(
    runs: dict[str, dict[str, Any]], rows: list[dict[str, Any]], arguments: argparse.Namespace
) -> None:
    """Prints speed and differences as Markdown."""
    print(
        "\n| network, method | "
        + " | ".join(f"{name}: images/s, first step" for name in runs)
        + " |"
    )
    print("|---" * (len(runs) + 1) + "|")
    for case in next(iter(runs.values())):
        cells = []
        for results in runs.values():
            seconds = results[case]["seconds"]
            rate = arguments.batch_size / statistics.median(seconds[_WARM_UP:] or seconds)
            cells.append(f"{rate:.0f}, {seconds[0]:.1f} s")
        print(f"| {case} | {' | '.join(cells)} |")
    columns = ("first_2", "first_10", "all", "last_tenth", "weights")
    print("\n| network, method | pair | 2 steps | 10 steps | all | mean of last tenth | weights |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        figures = " | ".join(f"{row[column]:.1e}" for column in columns)
        print(f"| {row['case']} | {row['pair']} | {figures} |")


if __name__ == "__main__":
    run_command(main)
