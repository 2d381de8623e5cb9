"""Engines side by side: processor milliseconds a face of one export, one by one and in batches.

Processor time on one thread, which other programs disturb less than the clock: the fastest of
several rounds in which engines and sizes of batch take turns. A TFLite file of an export takes one
face at a time, so its batches are single runs.

    python benchmarks/engines.py runs/NAME/export          (exported with --formats onnx openvino)
"""

import argparse
import time
from pathlib import Path

import numpy as np

from fer_keras.runtime.engines import ENGINES
from fer_keras.runtime.export_files import read_model_files
from fer_keras.runtime.network import Network

_BATCHES = (1, 8, 32)
_FACES = 64


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("export", type=Path)
    parser.add_argument("--rounds", type=int, default=8)
    arguments = parser.parse_args()
    networks = {
        engine: Network(read_model_files(arguments.export, "float32", engine), 1)
        for engine in ENGINES
    }
    first = networks[ENGINES[0]]
    shape = (_FACES, *first.image_size, first.channels)
    faces = list(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    best = {(engine, batch): np.inf for engine in networks for batch in _BATCHES}
    expected = first.probabilities(faces)
    largest = dict.fromkeys(networks, 0.0)
    for _ in range(arguments.rounds):
        for (engine, batch), fastest in best.items():
            start = time.process_time()
            rows = [
                networks[engine].probabilities(faces[i : i + batch])
                for i in range(0, _FACES, batch)
            ]
            best[engine, batch] = min(fastest, time.process_time() - start)
            difference = float(np.abs(np.concatenate(rows) - expected).max())
            largest[engine] = max(largest[engine], difference)
    print("| engine | 1 face | batches of 8 | of 32 | largest difference from litert |")
    print("|---|---|---|---|---|")
    for engine in networks:
        figures = [f"{1000 * best[engine, batch] / _FACES:.2f}" for batch in _BATCHES]
        print(f"| {engine} | {' | '.join(figures)} | {largest[engine]:.0e} |")


if __name__ == "__main__":
    main()
