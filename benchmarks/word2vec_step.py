"""What a training step towards word vectors costs.

Four variants of the same network are timed in turns, so that a busy machine disturbs all alike:

- cross_entropy: the ordinary classifier, compiled.
- word2vec: the method of this project, compiled.
- word2vec, eager: the same without compilation.
- loop, eager: loss and accuracy as in the printed code of the original write-up, a Python loop over
  the samples and, for the accuracy, over the classes. It cannot be compiled; its mistakes (skipped
  samples, absolute value, wrong divisor, cut gradient) are left out, so that it learns the same.

Usage:
  python benchmarks/word2vec_step.py
  python benchmarks/word2vec_step.py --repetitions 3 --batch-size 32 --json step.json
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Read once, by the first import of TensorFlow.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

AIM = 1.05


def main() -> int:
    """Times the variants, prints a table and writes the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="compact", help="network (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--image-size", type=int, default=48, help="pixels (default: %(default)s)")
    parser.add_argument(
        "--steps", type=int, default=5, help="steps of a repetition (default: %(default)s)"
    )
    parser.add_argument("--repetitions", type=int, default=9, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()

    report = measure(args.model, args.batch_size, args.image_size, args.steps, args.repetitions)
    print(
        f"{report['model']}, batch {report['batch_size']}, {report['backend']} on {report['cpu']}"
    )
    header = ("ms/step", "CPU ms/step", "images/s", "x time", "x CPU time")
    print(f"{'variant':<18}" + "".join(f"{column:>13}" for column in header))
    for name, row in report["variants"].items():
        print(
            f"{name:<18}{row['ms']:>13.1f}{row['cpu_ms']:>13.1f}{row['images_per_s']:>13.0f}"
            f"{row['ratio']:>13.3f}{row['cpu_ratio']:>13.3f}"
        )
    reached = report["variants"]["word2vec"]["ratio"] <= AIM
    print(f"aim: word2vec at most {AIM} x cross_entropy: {'reached' if reached else 'missed'}")
    text = json.dumps(report)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")
    return 0


def measure(
    model: str, batch_size: int, image_size: int, steps: int, repetitions: int
) -> dict[str, Any]:
    """Times all variants in turns.

    Args:
        model: Name of a network with an embedding.
        batch_size: Pictures of a step.
        image_size: Side of the pictures, pixels.
        steps: Steps timed together.
        repetitions: How often each variant is timed.

    Returns:
        Settings, and by variant the medians over the repetitions: `ms` of a step, `cpu_ms` (the
        time of all cores, which other programs on the machine disturb less), `images_per_s`, and
        `ratio` and `cpu_ratio` to cross_entropy within the same repetition.
    """
    import keras
    import numpy as np

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch_size, image_size, image_size, 1), dtype=np.uint8)
    targets = np.eye(7, dtype=np.float32)[rng.integers(0, 7, batch_size)]
    variants = _variants(model, image_size)
    _check_same_loss(variants["word2vec"], variants["loop, eager"], images, targets)

    def step(method: Any) -> Callable[[], None]:
        def train() -> None:
            method.train_on_batch(images, targets)

        return train

    trains = {name: step(method) for name, method in variants.items()}
    for train in trains.values():
        # Tracing and the first allocations.
        for _ in range(2):
            train()
    seconds: dict[str, list[float]] = {name: [] for name in trains}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in trains}
    for repetition in range(repetitions):
        names = list(trains)
        # Another one begins each time: what the machine does in between falls on all.
        shift = repetition % len(names)
        for name in names[shift:] + names[:shift]:
            # The loop is so slow that one step in three repetitions measures it well enough.
            if name.startswith("loop") and repetition >= 3:
                continue
            count = 1 if name.startswith("loop") else steps
            start, cpu_start = time.perf_counter(), time.process_time()
            for _ in range(count):
                trains[name]()
            seconds[name].append((time.perf_counter() - start) / count)
            cpu_seconds[name].append((time.process_time() - cpu_start) / count)
    return {
        "model": model,
        "batch_size": batch_size,
        "image_size": image_size,
        "steps": steps,
        "repetitions": repetitions,
        "backend": f"{keras.backend.backend()}, Keras {keras.__version__}",
        "cpu": f"{os.cpu_count()} CPUs ({platform.machine()})",
        "variants": {
            name: {
                "ms": 1e3 * statistics.median(times),
                "cpu_ms": 1e3 * statistics.median(cpu_seconds[name]),
                "fastest_ms": 1e3 * min(times),
                "images_per_s": batch_size / statistics.median(times),
                "ratio": _ratio(times, seconds["cross_entropy"]),
                "cpu_ratio": _ratio(cpu_seconds[name], cpu_seconds["cross_entropy"]),
            }
            for name, times in seconds.items()
        },
    }


def _ratio(own: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(own, other, strict=False))


def _variants(model: str, image_size: int) -> dict[str, Any]:
    import keras

    from fer_keras.methods import build_method
    from fer_keras.models import build_network

    names = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")

    def network() -> Any:
        keras.utils.set_random_seed(0)
        return build_network(model, (image_size, image_size, 1), len(names))

    looped = build_method("word2vec", network(), names)
    variants = {
        "cross_entropy": build_method("cross_entropy", network(), names),
        "word2vec": build_method("word2vec", network(), names),
        "word2vec, eager": build_method("word2vec", network(), names),
        "loop, eager": _looped(looped),
    }
    for name, method in variants.items():
        method.compile(
            optimizer=keras.optimizers.Adam(1e-3),
            run_eagerly=name.endswith("eager"),
            jit_compile=False,
        )
    return variants


def _looped(method: Any) -> Any:
    """The method with the loss and the accuracy of the original write-up: sample by sample."""
    import keras

    from fer_keras.methods.base import Method

    class LoopedWord2Vec(Method):  # type: ignore[misc]
        def compute_loss(
            self,
            x: Any = None,
            y: Any = None,
            y_pred: Any = None,
            sample_weight: Any = None,
            training: bool = True,
        ) -> Any:
            labels = keras.ops.convert_to_numpy(y).tolist()
            total = 0.0
            for n in range(len(labels)):
                target = method.class_vectors[labels[n].index(int(max(labels[n])))]
                # keras.losses.cosine_similarity is the negative of the similarity.
                similarity = -keras.losses.cosine_similarity(target, y_pred["embedding"][n])
                total = total + (1.0 - similarity)
            return total / len(labels)

        def compute_metrics(
            self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
        ) -> dict[str, Any]:
            labels = keras.ops.convert_to_numpy(y).tolist()
            for n in range(len(labels)):
                best, best_similarity = 0, -2.0
                for c in range(len(method.class_vectors)):
                    similarity = -float(
                        keras.losses.cosine_similarity(
                            method.class_vectors[c], y_pred["embedding"][n]
                        )
                    )
                    if similarity > best_similarity:
                        best, best_similarity = c, similarity
                one_hot = [[float(c == best) for c in range(len(labels[n]))]]
                self.accuracy.update_state([labels[n]], one_hot)
            results: dict[str, Any] = self.get_metrics_result()
            return results

    return LoopedWord2Vec(method.network, method.class_names)


def _check_same_loss(vectorised: Any, looped: Any, images: Any, targets: Any) -> None:
    # A loop that computed something else would be no comparison.
    losses = [
        float(method.test_on_batch(images, targets, return_dict=True)["loss"])
        for method in (vectorised, looped)
    ]
    for method in (vectorised, looped):
        method.reset_metrics()
    if abs(losses[0] - losses[1]) > 1e-4:
        raise SystemExit(f"The loop and the method disagree about the loss: {losses}")


if __name__ == "__main__":
    raise SystemExit(main())
