"""The same training towards word vectors on TensorFlow, JAX and PyTorch.

Each backend runs in a process of its own, from the same initial weights, on the same batches in the
same order, without dropout or augmentation. The losses of every step are put side by side: they
begin equal up to float32 rounding and drift apart slowly, as training amplifies the rounding.
Writes `word2vec_backends.json` and `word2vec_backends.png` to the output folder.

Usage:
  python benchmarks/word2vec_backends.py --output results
  python benchmarks/word2vec_backends.py --steps 20 --backends tensorflow torch
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ConfigError, run_command

BACKENDS = ("tensorflow", "jax", "torch")


def main() -> int:
    """Runs every backend, prints the losses side by side and draws them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("."), help="folder (default: here)")
    parser.add_argument("--steps", type=int, default=300, help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=32, help="default: %(default)s")
    parser.add_argument("--learning-rate", type=float, default=0.05, help="default: %(default)s")
    parser.add_argument("--model", default="compact", help="network (default: %(default)s)")
    parser.add_argument("--loss", default="cosine", help="word2vec loss (default: %(default)s)")
    parser.add_argument("--data", default="fer2013", help="data set (default: %(default)s)")
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        train(args.worker, args.model, args.loss, args.learning_rate, args.seed)
        return 0
    args.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        save_batches(Path(folder), args.data, args.steps, args.batch_size, args.seed)
        runs = {name: run_backend(name, Path(folder)) for name in args.backends}
    report = {
        "data": args.data,
        "model": args.model,
        "loss": args.loss,
        "steps": args.steps,
        "batch_size": args.batch_size,
        "learning_rate": args.learning_rate,
        "seed": args.seed,
        "differences": differences({name: run["losses"] for name, run in runs.items()}),
        "backends": runs,
    }
    print_report(report)
    (args.output / "word2vec_backends.json").write_text(
        json.dumps(report, indent=1) + "\n", encoding="utf-8"
    )
    plot(report, args.output / "word2vec_backends.png")
    print(f"written: {args.output / 'word2vec_backends.json'}, word2vec_backends.png")
    return 0


def save_batches(folder: Path, data: str, steps: int, batch_size: int, seed: int) -> None:
    """Writes the pictures, targets and the order of all steps to `batches.npz`.

    Args:
        folder: Where to write.
        data: Name of a data set; its train split is used.
        steps: Number of steps.
        batch_size: Pictures of a step.
        seed: Of the order.
    """
    import numpy as np

    from fer_keras.data.load import load_samples

    samples = load_samples(data, "train")
    rng = np.random.default_rng(seed)
    rounds = -(-steps * batch_size // len(samples))
    order = np.concatenate([rng.permutation(len(samples)) for _ in range(rounds)])
    order = order[: steps * batch_size]
    used, batches = np.unique(order, return_inverse=True)
    np.savez(
        folder / "batches.npz",
        images=np.asarray(samples.images[used]),
        targets=samples.targets[used],
        batches=batches.reshape(steps, batch_size),
        class_names=np.array(samples.class_names),
    )


def run_backend(backend: str, folder: Path) -> dict[str, Any]:
    """Trains in a process of its own on one backend.

    Args:
        backend: One of `BACKENDS`.
        folder: Has `batches.npz`; the first backend leaves the initial weights there.

    Returns:
        `losses` of every step, `seconds_per_step`, `accuracy` of the last tenth of the steps.

    Raises:
        ConfigError: The backend could not run.
    """
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1"),
    }
    print(f"{backend} ...", flush=True)
    command = [sys.executable, *sys.argv, "--worker", str(folder)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    result = folder / f"{backend}.json"
    if done.returncode or not result.is_file():
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ConfigError(f"The backend {backend!r} did not run: {last}. Leave it out: --backends")
    run: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return run


def train(folder: Path, model: str, loss: str, learning_rate: float, seed: int) -> None:
    """The part of one backend: trains on `batches.npz` and writes `<backend>.json`.

    Args:
        folder: See `run_backend`.
        model: Name of the network.
        loss: Loss of the method word2vec.
        learning_rate: Of stochastic gradient descent with momentum 0.9.
        seed: Of the initial weights.
    """
    import keras
    import numpy as np

    from fer_keras.methods import build_method
    from fer_keras.models import build_network

    keras.utils.set_random_seed(seed)
    with np.load(folder / "batches.npz", allow_pickle=False) as stored:
        images, targets, batches = stored["images"], stored["targets"], stored["batches"]
        class_names = tuple(str(name) for name in stored["class_names"])
    network = build_network(model, images.shape[1:], len(class_names))
    method = build_method("word2vec", network, class_names, loss=loss)
    weights = folder / "weights.npz"
    if weights.is_file():
        with np.load(weights, allow_pickle=False) as stored:
            method.network.set_weights([stored[f"w{i:04}"] for i in range(len(stored.files))])
    else:
        arrays = {f"w{i:04}": array for i, array in enumerate(method.network.get_weights())}
        np.savez(weights, **arrays)
    # Not Adam: it divides by the size of the gradient, which turns rounding into whole steps.
    optimizer = keras.optimizers.SGD(learning_rate, momentum=0.9)
    method.compile(optimizer=optimizer, jit_compile=keras.backend.backend() == "jax")
    losses, accuracies, seconds = [], [], []
    for batch in batches:
        start = time.perf_counter()
        # Keras keeps a running mean; the loss of this step alone is wanted.
        method.reset_metrics()
        logs = method.train_on_batch(images[batch], targets[batch], return_dict=True)
        losses.append(float(logs["loss"]))
        accuracies.append(float(logs["accuracy"]))
        seconds.append(time.perf_counter() - start)
    tenth = max(1, len(batches) // 10)
    run = {
        "losses": losses,
        "accuracy": float(np.mean(accuracies[-tenth:])),
        "seconds_per_step": float(np.median(seconds)),
    }
    (folder / f"{keras.backend.backend()}.json").write_text(json.dumps(run), encoding="utf-8")


def differences(losses: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """The largest absolute difference of the losses of each two backends.

    Args:
        losses: Backend -> loss of every step.

    Returns:
        `"a - b"` -> the largest difference at the first step, within the first 10 and the first 50
        steps, and within all; and `mean`, the difference of the mean losses of the last tenth.
    """
    result = {}
    for a, b in combinations(losses, 2):
        gaps = [abs(x - y) for x, y in zip(losses[a], losses[b], strict=True)]
        tenth = max(1, len(gaps) // 10)
        means = [sum(losses[name][-tenth:]) / tenth for name in (a, b)]
        result[f"{a} - {b}"] = {
            "first": gaps[0],
            "first_10": max(gaps[:10]),
            "first_50": max(gaps[:50]),
            "all": max(gaps),
            "mean_of_last_tenth": abs(means[0] - means[1]),
        }
    return result


def print_report(report: dict[str, Any]) -> None:
    """Prints the losses side by side and their differences.

    Args:
        report: What `main` writes as JSON.
    """
    runs = report["backends"]
    steps = report["steps"]
    shown = sorted({s for s in (1, 2, 5, 10, 20, 50, 100, 150, 200, 250, steps) if s <= steps})
    print(f"{'step':<10}" + "".join(f"{name:>14}" for name in runs))
    for step in shown:
        print(f"{step:<10}" + "".join(f"{run['losses'][step - 1]:>14.6f}" for run in runs.values()))
    for key, label in (("accuracy", "accuracy*"), ("seconds_per_step", "s/step")):
        print(f"{label:<10}" + "".join(f"{run[key]:>14.3f}" for run in runs.values()))
    print("* of the training pictures of the last tenth of the steps")
    columns = ("first", "first_10", "first_50", "all", "mean_of_last_tenth")
    print(f"{'largest difference':<24}" + "".join(f"{column:>20}" for column in columns))
    for pair, gaps in report["differences"].items():
        print(f"{pair:<24}" + "".join(f"{gaps[column]:>20.2e}" for column in columns))


def plot(report: dict[str, Any], path: Path) -> None:
    """Draws the losses of all backends, and their distances from the first one.

    Args:
        report: What `main` writes as JSON.
        path: The PNG file.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    runs = report["backends"]
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(8, 7), sharex=True, layout="constrained")
    first = next(iter(runs))
    steps = range(1, report["steps"] + 1)
    for (name, run), style in zip(runs.items(), ("-", "--", ":"), strict=False):
        top.plot(steps, run["losses"], style, label=name, linewidth=1.4)
        if name != first:
            pairs = zip(run["losses"], runs[first]["losses"], strict=True)
            # Equal to the last bit is drawn at the bottom: a logarithm has no place for 0.
            gaps = [max(abs(x - y), 1e-9) for x, y in pairs]
            bottom.plot(steps, gaps, style, label=f"{name} - {first}", linewidth=1.2)
    top.set_ylabel(f"loss ({report['loss']})")
    top.set_title(
        f"word2vec on {report['data']}: {report['model']}, batch {report['batch_size']}, "
        "same weights and batches"
    )
    top.legend()
    bottom.set_yscale("log")
    bottom.set_ylabel("absolute difference of the loss")
    bottom.set_xlabel("step")
    if len(runs) > 1:
        bottom.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    run_command(main)
