"""What ESR-9 costs against nine separate networks, as a ratio.

python benchmarks/esr.py                                 full width, 96 pixels
python benchmarks/esr.py --rounds 20 --width 0.5

Milliseconds per face of the float32 TFLite files on one thread, of ESR-9 and of nine
networks of a base and a branch each, which all look at the face one after the other. Both take
turns; the median of the rounds counts.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

NUM_CLASSES, SIDE, BRANCHES = 8, 96, 9
_NAMES = [f"class {i}" for i in range(NUM_CLASSES)]


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=float, default=1.0, help="of all channels")
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args(argv)
    _latency(arguments.width, arguments.rounds)


def _latency(width: float, rounds: int) -> None:
    from ai_edge_litert.interpreter import Interpreter

    from fer_keras.conversion.tflite import convert, deploy_graph, frozen_function, quietly

    def interpreters(branches: int, count: int) -> list[Any]:
        network = _network(branches, width)
        data = quietly(lambda: convert(frozen_function(deploy_graph(network, 1.0)), "float32"))
        # Each has its own copy of the weights, as nine networks have.
        made = [Interpreter(model_content=bytes(data), num_threads=1) for _ in range(count)]
        for each in made:
            each.allocate_tensors()
        return made

    kinds = {
        f"ESR-{BRANCHES}": interpreters(BRANCHES, 1),
        f"{BRANCHES} networks of a base and a branch": interpreters(1, BRANCHES),
    }
    face = np.random.default_rng(0).uniform(0, 255, (1, SIDE, SIDE, 3)).astype(np.float32)
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(rounds + 1):
        for kind, runners in kinds.items():
            start = time.perf_counter()
            for runner in runners:
                runner.set_tensor(runner.get_input_details()[0]["index"], face)
                runner.invoke()
            if turn:  # The first pages the weights in.
                seconds[kind].append(time.perf_counter() - start)
    medians = {kind: 1000 * statistics.median(values) for kind, values in seconds.items()}
    (_, shared), (_, separate) = medians.items()
    print(f"| {SIDE} px, width {width}, 1 thread | ms per face | share |")
    print("|---|---|---|")
    for kind, value in medians.items():
        print(f"| {kind} | {value:.1f} | {value / separate:.2f} |", flush=True)
    print(f"\nESR-{BRANCHES} needs {shared / separate:.0%} of the time, {rounds} rounds.\n")


def _network(branches: int, width: float) -> Any:
    from fer_keras.models import build_network
    from fer_keras.models.layers import with_class_names

    built = build_network("esr", (SIDE, SIDE, 3), NUM_CLASSES, num_branches=branches, width=width)
    return with_class_names(built, _NAMES)


if __name__ == "__main__":
    main()
