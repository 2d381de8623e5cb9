"""Training throughput of small networks on this machine, for the choice of a network.

python benchmarks/network_speed.py                                   float32 and bfloat16
KERAS_BACKEND=torch python benchmarks/network_speed.py --precision float32

Each network is `compact` with other options, at 48x48 grey, in batches that are already in memory.
The networks take turns, and the fastest of their rounds counts: what else runs on the machine can
only slow a round down. Multiply-accumulates are those of the convolutions, for one picture.
"""

import argparse
import os
import time
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from fer_keras.methods import build_method
from fer_keras.models import build_network

NETWORKS: dict[str, dict[str, Any]] = {
    "compact": {},
    "wider": {"widths": [96, 192, 320]},
    "first stage at 24x24": {
        "first_stride": 1,
        "widths": [32, 64, 128, 256],
        "depths": [1, 1, 2, 1],
    },
    "ferplus_camera": {
        "first_stride": 1,
        "widths": [48, 96, 160, 256],
        "depths": [1, 2, 2, 1],
    },
    "ferplus_tiny": {"stem_filters": 24, "widths": [40, 72, 96]},
}
_NAMES = [f"class {i}" for i in range(8)]


def multiply_accumulates(network: Any) -> int:
    """Of the convolutions and dense layers, for one picture."""
    total = 0
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            height, width = layer.output.shape[1:3]
            total += height * width * int(np.prod(layer.kernel.shape))
        elif isinstance(layer, keras.layers.Dense):
            total += int(np.prod(layer.kernel.shape))
    return total


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Training throughput of small networks.")
    parser.add_argument("--precision", nargs="+", default=["float32", "mixed_bfloat16"])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=12, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    count = arguments.batch_size * arguments.steps
    images = rng.integers(0, 256, (count, 48, 48, 1), dtype=np.uint8)
    targets = np.eye(8, dtype=np.float32)[rng.integers(0, 8, count)]

    methods = {}
    for precision in arguments.precision:
        keras.config.set_dtype_policy(precision)
        for name, options in NETWORKS.items():
            network = build_network("compact", (48, 48, 1), 8, **options)
            method = build_method("cross_entropy", network, _NAMES)
            method.compile(optimizer=keras.optimizers.AdamW(1e-3), jit_compile=False)
            methods[precision, name] = method
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in methods}
    for turn in range(arguments.rounds + 1):
        for key, method in methods.items():
            start = time.perf_counter()
            method.fit(images, targets, batch_size=arguments.batch_size, verbose=0, shuffle=False)
            if turn:  # The first traces the graph.
                seconds[key].append(time.perf_counter() - start)

    backend = keras.backend.backend()
    print("| network | parameters | million MACs | backend | precision | images/s |")
    print("|---|---|---|---|---|---|")
    for (precision, name), times in seconds.items():
        network = methods[precision, name].network
        print(
            f"| {name} | {network.count_params():,} | {multiply_accumulates(network) / 1e6:.0f} | "
            f"{backend} | {precision} | {count / min(times):.0f} |"
        )


if __name__ == "__main__":
    main()
