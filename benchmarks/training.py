"""Training throughput next to the same networks in plain PyTorch, as a ratio.

python benchmarks/training.py                                    the networks, float32 and bfloat16
python benchmarks/training.py --networks compact ddamfn --precision float32 --rounds 8
python benchmarks/training.py --networks mobilenet_v3_large --alone            one process at a time
python benchmarks/training.py --networks ferplus_student --optimizer adamw     as the shipped models

Every variant is a process of its own that builds the network once and then trains a round of steps
whenever it is told to, so all of them take turns on the same machine and an idle one uses no
processor. With `--alone` a process ends before the next one begins, and every round has one of its
own, which warms up first: nothing else lies in memory. The fastest of a variant's rounds counts:
what else runs on the machine can only slow a round down. Batches are random pictures that are in
memory already; the optimizer is SGD with momentum in both, or with `--optimizer adamw` AdamW and a
moving average of the weights, as the recipes of the shipped models have it. The ratio is that to
the fastest plain PyTorch of the same precision (both memory formats are tried); the load is that of
the machine over the last minute. With `--one-core` every variant has one thread, and the processor
time of its process counts, which other work on the machine touches little. Ours trains as
`fer_keras.train` does: `Method.fit` on the network of this project, ESR by the losses of its
branches; MobileNetV3-Large is the encoder of `keras.applications` and a dense layer. Trained
parameters have to be as many in both, and those of DDAMFN the published 4,106,512.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fer_keras.runtime.timing.machine import machine_name, usable_cores
from fer_keras.tracking.tracker import git_commit


@dataclass(frozen=True)
class Setup:
    """A network and what it is trained from.

    Attributes:
        network: As `build_network` names it; other names are encoders of `keras.applications`.
        options: Of both networks, by their names in ours.
        side: Height and width of the pictures, in pixels.
        channels: Of the pictures.
        batch_size: Pictures of a step.
        steps: Of a round: several seconds, since the beginning of a `fit` takes a tenth of one.
        parameters: Trained ones, where a publication states it.
    """

    network: str
    side: int
    steps: int
    options: Mapping[str, Any] = field(default_factory=dict)
    channels: int = 3
    batch_size: int = 32
    parameters: int = 0


_CAMERA = {"first_stride": 1, "depths": [1, 2, 2, 1]}
_VIT = {"patch_size": 16, "hidden": 384, "depth": 12, "heads": 6, "mlp": 1536}
NUM_CLASSES = 8
BRANCHES = 9
NETWORKS = {
    "resnet18": Setup("resnet18", 44, 2),
    "mobilenet_v3_large": Setup("mobilenet_v3_large", 112, 16),
    "ddamfn": Setup("ddamfn", 112, 3, parameters=4_106_512),
    "esr": Setup("esr", 96, 1, {"num_branches": BRANCHES}, batch_size=8),
    "manet, width 1/4": Setup("manet", 112, 4, {"width": 0.25}),
    "vit_se, ViT-S/16": Setup("vit_se", 112, 2, _VIT),
    "compact": Setup("compact", 48, 96, channels=1, batch_size=64),
    "ferplus_camera": Setup(
        "compact", 48, 24, {**_CAMERA, "widths": [48, 96, 160, 256]}, channels=1, batch_size=64
    ),
    "ferplus_student": Setup(
        "compact", 48, 40, {**_CAMERA, "stem_filters": 24, "widths": [32, 64, 128, 256]},
        channels=1, batch_size=64,
    ),
}  # fmt: skip
# Name -> environment and settings of the process.
VARIANTS: dict[str, dict[str, str]] = {
    "fer_keras": {"backend": "tensorflow", "onednn": "1"},
    "fer_keras, oneDNN off": {"backend": "tensorflow", "onednn": "0"},
    "fer_keras, XLA": {"backend": "tensorflow", "onednn": "1", "xla": "1"},
    "fer_keras on torch": {"backend": "torch", "onednn": "1"},
    "fer_keras on jax": {"backend": "jax", "onednn": "1"},
    "plain torch": {},
    "plain torch, channels last": {"channels_last": "1"},
}
OPTIMIZERS = ("sgd", "adamw")
EMA = 0.999
_PLAIN = ("plain torch", "plain torch, channels last")
_DEFAULT = ("fer_keras", "fer_keras on torch", "fer_keras on jax", *_PLAIN)


@dataclass(frozen=True)
class Task:
    """What one process measures.

    Attributes:
        variant: A key of `VARIANTS`.
        network: A key of `NETWORKS`.
        precision: `float32` or `mixed_bfloat16`.
        batch_size: Pictures a step.
        steps: Of a round.
        one_core: Whether it keeps to one core, and processor time counts.
        optimizer: One of `OPTIMIZERS`.
    """

    variant: str
    network: str
    precision: str
    batch_size: int
    steps: int
    one_core: bool
    optimizer: str


class Worker:
    """A process that trains a round whenever it is asked to.

    Args:
        task: What it measures.
    """

    def __init__(self, task: Task) -> None:
        settings = VARIANTS[task.variant]
        environment = {
            **os.environ,
            "KERAS_BACKEND": settings.get("backend", "tensorflow"),
            "TF_ENABLE_ONEDNN_OPTS": settings.get("onednn", "1"),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "--worker", json.dumps(asdict(task))],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.parameters = int(self._read()["parameters"])
        self.round()  # It builds the graph.

    def round(self) -> float:
        """Trains one round, and returns its seconds."""
        if self._process.stdin is None:
            raise RuntimeError("The process has no input.")
        self._process.stdin.write("round\n")
        self._process.stdin.flush()
        return float(self._read()["seconds"])

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        if self._process.stdout is None:
            raise RuntimeError("The process has no output.")
        for line in self._process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise RuntimeError("The process ended early.")


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument(
        "--precision", nargs="+", default=["float32", "mixed_bfloat16"],
        choices=("float32", "mixed_bfloat16"),
    )  # fmt: skip
    parser.add_argument("--variants", nargs="+", default=list(_DEFAULT), choices=VARIANTS)
    parser.add_argument("--batch-size", type=int, help="default: that of the network")
    parser.add_argument("--steps", type=int, help="of a round; default: that of the network")
    parser.add_argument("--rounds", type=int, default=3, help="after one to warm up")
    parser.add_argument("--optimizer", default="sgd", choices=OPTIMIZERS)
    parser.add_argument("--alone", action="store_true", help="one process at a time")
    parser.add_argument("--one-core", action="store_true", help="one thread, processor time")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.worker:
        _work(Task(**json.loads(arguments.worker)))
        return
    cores = 1 if arguments.one_core else usable_cores()
    print(f"{machine_name()}, cores: {cores}, commit {git_commit()}\n")
    print("| network | parameters | batch | precision | variant | images/s | ours / plain | load |")
    print("|---|---|---|---|---|---|---|---|")
    for network in arguments.networks:
        for precision in arguments.precision:
            _measure(arguments, network, precision)


def _measure(arguments: argparse.Namespace, network: str, precision: str) -> None:
    setup = NETWORKS[network]
    batch_size = arguments.batch_size or setup.batch_size
    steps = arguments.steps or setup.steps
    tasks = [
        Task(name, network, precision, batch_size, steps, arguments.one_core, arguments.optimizer)
        for name in arguments.variants
    ]
    measured = (_one_by_one if arguments.alone else _in_turns)(tasks, arguments.rounds)
    counts = {parameters for parameters, _ in measured.values()}
    if setup.parameters and counts != {setup.parameters}:
        raise SystemExit(
            f"error: expected {setup.parameters:,} trained parameters. Received: {sorted(counts)}."
        )
    if len(counts) > 1:
        raise SystemExit(f"error: the networks differ: {sorted(counts)} trained parameters.")
    rates = {name: batch_size * steps / min(seconds) for name, (_, seconds) in measured.items()}
    plain = max((rate for name, rate in rates.items() if name in _PLAIN), default=math.nan)
    load = os.getloadavg()[0]
    for name, rate in rates.items():
        ratio = "" if name in _PLAIN else f"{rate / plain:.2f}"
        print(
            f"| {network} | {min(counts):,} | {batch_size} | {precision} | {name} | {rate:.1f} | "
            f"{ratio} | {load:.1f} |",
            flush=True,
        )


def _in_turns(tasks: Sequence[Task], rounds: int) -> dict[str, tuple[int, list[float]]]:
    """All processes at once, of which one works at a time.

    Args:
        tasks: Of the variants.
        rounds: Of each.

    Returns:
        Variant -> trained parameters, seconds of every round.
    """
    workers = {task.variant: Worker(task) for task in tasks}
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            seconds[name].append(worker.round())
    for worker in workers.values():
        worker.stop()
    return {name: (workers[name].parameters, seconds[name]) for name in workers}


def _one_by_one(tasks: Sequence[Task], rounds: int) -> dict[str, tuple[int, list[float]]]:
    """As `_in_turns`, with one process at a time."""
    found: dict[str, tuple[int, list[float]]] = {}
    for _ in range(rounds):
        for task in tasks:
            worker = Worker(task)
            _, seconds = found.get(task.variant, (0, []))
            found[task.variant] = (worker.parameters, [*seconds, worker.round()])
            worker.stop()
    return found


def _work(task: Task) -> None:
    """The other side of `Worker`."""
    cores = os.sched_getaffinity(0)
    if task.one_core:
        os.sched_setaffinity(0, [max(cores)])  # Before any library counts them.
    rng = np.random.default_rng(0)
    setup = NETWORKS[task.network]
    shape = (task.batch_size, setup.side, setup.side, setup.channels)
    images = rng.integers(0, 256, shape, dtype=np.uint8)
    labels = rng.integers(0, NUM_CLASSES, task.batch_size)
    train, parameters = (_plain if task.variant in _PLAIN else _ours)(task, images, labels)
    _serve(train, parameters, time.process_time if task.one_core else time.perf_counter, cores)


def _serve(
    train: Callable[[], None], parameters: int, clock: Callable[[], float], cores: set[int]
) -> None:
    """Tells how many parameters are trained, then trains a round for every line that comes in."""
    print(json.dumps({"parameters": parameters}), flush=True)
    for _ in sys.stdin:
        start = clock()
        train()
        print(json.dumps({"seconds": clock() - start}), flush=True)
        # Pools of one core have their one thread by now, which may run wherever there is room.
        for thread in os.listdir("/proc/self/task"):
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), cores)


def _ours(task: Task, images: Any, labels: Any) -> tuple[Any, int]:
    import keras

    from fer_keras.methods import build_method
    from fer_keras.training.device import use_xla

    keras.config.set_dtype_policy(task.precision)
    names = [f"class {i}" for i in range(NUM_CLASSES)]
    network = _network(NETWORKS[task.network], images.shape[1:])
    kind = "branch_ensemble" if task.network == "esr" else "cross_entropy"
    method = build_method(kind, network, names)
    method.compile(
        optimizer=_optimizer(task),
        jit_compile="xla" in VARIANTS[task.variant] or use_xla("auto"),
    )
    many = np.tile(images, (task.steps, 1, 1, 1))
    targets = np.eye(NUM_CLASSES, dtype=np.float32)[np.tile(labels, task.steps)]

    def train() -> None:
        method.fit(many, targets, batch_size=task.batch_size, shuffle=False, verbose=0)

    return train, sum(int(np.prod(v.shape)) for v in method.trainable_variables)


def _optimizer(task: Task) -> Any:
    import keras

    from fer_keras.config import TrainingConfig
    from fer_keras.training.optimizers import build_optimizer

    if task.optimizer == "sgd":
        return keras.optimizers.SGD(0.01, momentum=0.9)
    recipe = TrainingConfig(learning_rate=0.001, weight_decay=0.05, ema_momentum=EMA)
    return build_optimizer(recipe, task.steps)


def _network(setup: Setup, image_shape: Any) -> Any:
    import keras

    from fer_keras.models import build_network
    from fer_keras.models.encoders import build_encoder

    if setup.network != "mobilenet_v3_large":
        return build_network(setup.network, image_shape, NUM_CLASSES, **setup.options)
    encoder = build_encoder(setup.network, image_shape)
    logits = keras.layers.Dense(NUM_CLASSES, name="logits")(encoder.output)
    return keras.Model(encoder.input, {"logits": logits}, name=setup.network)


def _plain(task: Task, images: Any, labels: Any) -> tuple[Any, int]:
    import torch
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
    from torch_esr import Esr
    from torch_networks import MaNet, VitSe, compact, ddamfn, mobilenet_v3_large, resnet18

    setup = NETWORKS[task.network]
    builders: dict[str, Callable[..., Any]] = {
        "resnet18": resnet18,
        "mobilenet_v3_large": mobilenet_v3_large,
        "ddamfn": ddamfn,
        "esr": Esr,
        "manet": MaNet,
        "vit_se": partial(VitSe, side=setup.side),
        "compact": compact,
    }
    network = builders[setup.network](NUM_CLASSES, **setup.options)
    pictures = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    if "channels_last" in VARIANTS[task.variant]:
        network = network.to(memory_format=torch.channels_last)
        pictures = pictures.contiguous(memory_format=torch.channels_last)
    network.train()
    loss = torch.nn.CrossEntropyLoss()
    average: Any = None
    if task.optimizer == "sgd":
        optimizer: Any = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    else:
        optimizer = torch.optim.AdamW(network.parameters(), 0.001, weight_decay=0.05)
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(EMA))
    targets = torch.from_numpy(labels)
    halved = torch.autocast("cpu", torch.bfloat16, enabled=task.precision != "float32")

    def train() -> None:
        for _ in range(task.steps):
            optimizer.zero_grad()
            with halved:
                logits = network(pictures.float())
                if logits.ndim == 3:  # One set for each branch, whose losses are added up.
                    value = BRANCHES * loss(
                        logits.flatten(0, 1), targets.repeat_interleave(BRANCHES)
                    )
                else:
                    value = loss(logits, targets)
            value.backward()
            optimizer.step()
            if average is not None:
                average.update_parameters(network)

    return train, sum(p.numel() for p in network.parameters())


if __name__ == "__main__":
    main()
