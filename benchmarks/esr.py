"""What ESR-9 costs: against nine separate networks, and trained against plain PyTorch, as ratios.

python benchmarks/esr.py                                 both parts, full width, 96 pixels
python benchmarks/esr.py --part latency --rounds 20
python benchmarks/esr.py --part training --precision float32 mixed_bfloat16 --width 0.5

latency: milliseconds per face of the float32 TFLite files on one thread, of ESR-9 and of nine
networks of a base and a branch each, which all look at the face one after the other. Both take
turns; the median of the rounds counts.
training: pictures a second of `Method.fit` with the method `branch_ensemble` and of the same ESR in
plain PyTorch (torch_esr.py) with the sum of the branches' losses; SGD with momentum in both, random
pictures in memory, taking turns as in training.py, of which the fastest round of each counts. The
trained parameters have to be as many in both.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from training import VARIANTS, Task, Worker, serve

NUM_CLASSES, SIDE, BRANCHES = 8, 96, 9
_NAMES = [f"class {i}" for i in range(NUM_CLASSES)]


class EsrWorker(Worker):
    """A process of this file."""

    script = Path(__file__)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=("both", "latency", "training"), default="both")
    parser.add_argument("--width", type=float, default=1.0, help="of all channels")
    parser.add_argument("--rounds", type=int, help="default: 10 of latency, 3 of training")
    parser.add_argument(
        "--precision", nargs="+", default=["float32", "mixed_bfloat16"],
        choices=("float32", "mixed_bfloat16"),
    )  # fmt: skip
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=2, help="of a round of training")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.worker:
        _work(Task(**json.loads(arguments.worker)))
        return
    if arguments.part != "training":
        _latency(arguments.width, arguments.rounds or 10)
    if arguments.part != "latency":
        for precision in arguments.precision:
            _training(arguments, precision)


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


def _training(arguments: argparse.Namespace, precision: str) -> None:
    names = ("fer_keras", "plain torch", "plain torch, channels last")
    workers = [
        EsrWorker(
            Task(name, "esr", precision, arguments.batch_size, arguments.steps, arguments.width)
        )
        for name in names
    ]
    counts = {worker.parameters for worker in workers}
    if len(counts) > 1:
        raise SystemExit(f"error: the networks differ: {sorted(counts)} trained parameters.")
    for _ in range((arguments.rounds or 3) + 1):
        for worker in workers:
            worker.round()
    print("| network | parameters | precision | variant | images/s | ours / plain |")
    print("|---|---|---|---|---|---|")
    for worker in workers:
        del worker.seconds[0]  # It builds the graph.
    plain = max(w.images_per_second for w in workers if w.task.variant.startswith("plain"))
    for worker in workers:
        speed = worker.images_per_second
        ratio = f"{speed / plain:.2f}" if worker.task.variant == "fer_keras" else ""
        print(
            f"| ESR-{BRANCHES}, width {arguments.width} | {worker.parameters:,} | {precision} | "
            f"{worker.task.variant} | {speed:.1f} | {ratio} |",
            flush=True,
        )
        worker.stop()
    print()


def _network(branches: int, width: float) -> Any:
    from fer_keras.models import build_network
    from fer_keras.models.layers import with_class_names

    built = build_network("esr", (SIDE, SIDE, 3), NUM_CLASSES, num_branches=branches, width=width)
    return with_class_names(built, _NAMES)


def _work(task: Task) -> None:
    """The other side of `EsrWorker`."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (task.batch_size, SIDE, SIDE, 3), dtype=np.uint8)
    labels = rng.integers(0, NUM_CLASSES, task.batch_size)
    plain = task.variant.startswith("plain")
    serve(*(_plain if plain else _ours)(task, images, labels))


def _ours(task: Task, images: Any, labels: Any) -> tuple[Any, int]:
    import keras

    from fer_keras.methods import build_method

    keras.config.set_dtype_policy(task.precision)
    method = build_method("branch_ensemble", _network(BRANCHES, task.width), _NAMES)
    method.compile(optimizer=keras.optimizers.SGD(0.01, momentum=0.9), jit_compile=False)
    many = np.tile(images, (task.steps, 1, 1, 1))
    targets = np.eye(NUM_CLASSES, dtype=np.float32)[np.tile(labels, task.steps)]

    def train() -> None:
        method.fit(many, targets, batch_size=task.batch_size, shuffle=False, verbose=0)

    return train, sum(int(np.prod(v.shape)) for v in method.trainable_variables)


def _plain(task: Task, images: Any, labels: Any) -> tuple[Any, int]:
    import torch
    from torch_esr import Esr

    network: Any = Esr(NUM_CLASSES, BRANCHES, task.width)
    pictures = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    if "channels_last" in VARIANTS[task.variant]:
        network = network.to(memory_format=torch.channels_last)
        pictures = pictures.contiguous(memory_format=torch.channels_last)
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    loss = torch.nn.CrossEntropyLoss(reduction="none")
    targets = torch.from_numpy(labels)
    halved = torch.autocast("cpu", torch.bfloat16, enabled=task.precision != "float32")

    def train() -> None:
        for _ in range(task.steps):
            optimizer.zero_grad()
            with halved:
                by_branch = network(pictures.float())
                wanted = targets[:, None].expand(-1, BRANCHES)
                value = loss(by_branch.transpose(1, 2), wanted).sum(1).mean()
            value.backward()
            optimizer.step()

    return train, sum(p.numel() for p in network.parameters())


if __name__ == "__main__":
    main()
