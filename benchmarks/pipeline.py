"""Input pipeline: images per second delivered, against bare decode and against the model's need.

Three figures, measured in turns in one process so that a busy machine affects them alike:
`decode` is PNG decoding of the same pictures with OpenCV, one thread, and nothing else (what each
epoch would cost at least without the decoded cache); `pipeline` is what `training_dataset`
delivers, for each augmentation asked for; `model` is what a training step of the network consumes.

    python benchmarks/pipeline.py
    python benchmarks/pipeline.py --dataset fer2013 --network compact --rounds 5
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main() -> None:
    """Prints a table and one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="synthetic_faces")
    parser.add_argument("--network", default="compact")
    parser.add_argument("--augmentation", nargs="+", default=["none", "light", "standard"])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--images", type=int, default=3200, help="images for each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    import cv2
    import keras
    import numpy as np

    from fer_keras.config import TrainingConfig
    from fer_keras.data.load import load_samples
    from fer_keras.data.pipeline import training_dataset
    from fer_keras.methods import build_method
    from fer_keras.models import build_network
    from fer_keras.training.optimizers import build_optimizer

    cv2.setNumThreads(1)
    samples = load_samples(arguments.dataset, "train", limit=arguments.images)
    encoded = [cv2.imencode(".png", image)[1] for image in samples.images]
    steps = max(1, arguments.images // arguments.batch_size)

    def decode() -> int:
        for buffer in encoded:
            cv2.imdecode(buffer, cv2.IMREAD_GRAYSCALE)
        return len(encoded)

    def pipeline(augmentation: str) -> Callable[[], int]:
        dataset = training_dataset(
            samples, batch_size=arguments.batch_size, seed=0, augmentation=augmentation
        )
        batches = iter(dataset)

        def deliver() -> int:
            return sum(len(next(batches)[0]) for _ in range(steps))

        return deliver

    network = build_network(arguments.network, samples.images.shape[1:], len(samples.class_names))
    method = build_method("cross_entropy", network, samples.class_names)
    method.compile(optimizer=build_optimizer(TrainingConfig(), steps), jit_compile=False)
    images = np.ascontiguousarray(samples.images[: arguments.batch_size])
    targets = samples.targets[: arguments.batch_size]

    def train() -> int:
        for _ in range(max(1, steps // 4)):
            method.train_on_batch(images, targets)
        return len(images) * max(1, steps // 4)

    measured: dict[str, Callable[[], int]] = {
        "decode": decode,
        **{f"pipeline {name}": pipeline(name) for name in arguments.augmentation},
        "model": train,
    }
    rates: dict[str, list[float]] = {name: [] for name in measured}
    for action in measured.values():  # warm-up: tracing, first pictures from the disk
        action()
    for _ in range(arguments.rounds):
        for name, action in measured.items():
            start = time.perf_counter()
            count = action()
            rates[name].append(count / (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"{'':<22}{'images/s':>10}{'x decode':>10}{'x model':>10}")
    for name, rate in medians.items():
        against_decode, against_model = rate / medians["decode"], rate / medians["model"]
        print(f"{name:<22}{rate:>10.0f}{against_decode:>10.2f}{against_model:>10.2f}")
    record = {
        "dataset": samples.name,
        "images": len(samples),
        "image_shape": list(samples.images.shape[1:]),
        "batch_size": arguments.batch_size,
        "network": arguments.network,
        "backend": keras.backend.backend(),
        "rounds": arguments.rounds,
        "images_per_second": {name: round(rate, 1) for name, rate in medians.items()},
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
