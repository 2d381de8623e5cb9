"""Training throughput next to the same networks in plain PyTorch, as a ratio.

python benchmarks/training.py                                    the networks, float32 and bfloat16
python benchmarks/training.py --variants all --networks resnet18 --precision float32

Every variant is a process of its own that builds the network once and then trains a round of steps
whenever it is told to, so all of them take turns on the same machine and an idle one uses no
processor. The fastest of a variant's rounds counts: what else runs on the machine can only slow a
round down. Batches are random pictures that are in memory already; the optimizer is SGD with
momentum in both. The ratio is that of the first variant to the fastest plain PyTorch of the same
precision (both memory formats are tried). Ours trains as `fer_keras.train` does: `Method.fit` on
the network of this project; MobileNetV3-Large is the encoder of `keras.applications` and a dense
layer. Trained parameters have to be as many in both, and those of DDAMFN the published 4,106,512.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

NUM_CLASSES = {"resnet18": 7, "mobilenet_v3_large": 7, "ddamfn": 8}
# Height and width of the pictures, and steps of a round: some seconds, of which the beginning of a
# `fit` is a small part.
NETWORKS = {"resnet18": (44, 5), "mobilenet_v3_large": (112, 20), "ddamfn": (112, 4)}
# Where a publication states it.
PARAMETERS = {"ddamfn": 4_106_512}
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
_DEFAULT = ("fer_keras", "plain torch", "plain torch, channels last")


@dataclass(frozen=True)
class Task:
    """What one process measures.

    Attributes:
        variant: A key of `VARIANTS`.
        network: A key of `NETWORKS`.
        precision: `float32` or `mixed_bfloat16`.
        batch_size: Pictures a step.
        steps: Of a round.
        width: Factor of the channels, for networks that have it.
    """

    variant: str
    network: str
    precision: str
    batch_size: int
    steps: int
    width: float


class Worker:
    """A process that trains a round whenever it is asked to.

    Args:
        task: What it measures.

    Attributes:
        script: What the process runs, with `--worker`.
    """

    script = Path(__file__)

    def __init__(self, task: Task) -> None:
        settings = VARIANTS[task.variant]
        environment = {
            **os.environ,
            "KERAS_BACKEND": settings.get("backend", "tensorflow"),
            "TF_ENABLE_ONEDNN_OPTS": settings.get("onednn", "1"),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        self.task = task
        self.seconds: list[float] = []
        self._process = subprocess.Popen(
            [sys.executable, str(self.script.resolve()), "--worker", json.dumps(asdict(task))],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.parameters = int(self._read()["parameters"])

    def round(self) -> None:
        """Trains one round and notes its time."""
        if self._process.stdin is None:
            raise RuntimeError("The process has no input.")
        self._process.stdin.write("round\n")
        self._process.stdin.flush()
        self.seconds.append(float(self._read()["seconds"]))

    @property
    def images_per_second(self) -> float:
        """That of the fastest round."""
        return self.task.batch_size * self.task.steps / min(self.seconds)

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
        raise RuntimeError(f"The process ended early: {self.task}")


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
    parser.add_argument("--variants", choices=("default", "all"), default="default")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, help="of a round; default: 5, 20 and 4")
    parser.add_argument("--rounds", type=int, default=3, help="after one to warm up")
    parser.add_argument("--width", type=float, default=1.0, help="of resnet18's channels")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.worker:
        _work(Task(**json.loads(arguments.worker)))
        return
    names = tuple(VARIANTS) if arguments.variants == "all" else _DEFAULT
    print("| network | pixels | parameters | precision | variant | images/s | ours / plain |")
    print("|---|---|---|---|---|---|---|")
    for network in arguments.networks:
        for precision in arguments.precision:
            _measure(arguments, network, precision, names)


def _measure(
    arguments: argparse.Namespace, network: str, precision: str, names: Sequence[str]
) -> None:
    width = arguments.width if network == "resnet18" else 1.0
    side, steps = NETWORKS[network]
    steps = arguments.steps or steps
    workers = [
        Worker(Task(name, network, precision, arguments.batch_size, steps, width)) for name in names
    ]
    counts = {worker.parameters for worker in workers}
    if network in PARAMETERS and counts != {PARAMETERS[network]}:
        raise SystemExit(
            f"error: expected {PARAMETERS[network]:,} trained parameters. Received: "
            f"{sorted(counts)}."
        )
    if len(counts) > 1:
        raise SystemExit(f"error: the networks differ: {sorted(counts)} trained parameters.")
    for _ in range(arguments.rounds + 1):
        for worker in workers:
            worker.round()
    for worker in workers:
        del worker.seconds[0]  # It builds the graph.
    plain = max(w.images_per_second for w in workers if w.task.variant.startswith("plain"))
    for worker in workers:
        ours = worker.task.variant.startswith("fer_keras")
        print(
            f"| {network} | {side} | {worker.parameters:,} | {precision} | "
            f"{worker.task.variant} | {worker.images_per_second:.1f} | "
            f"{f'{worker.images_per_second / plain:.2f}' if ours else ''} |",
            flush=True,
        )
        worker.stop()


def _work(task: Task) -> None:
    """The other side of `Worker`."""
    rng = np.random.default_rng(0)
    side, _ = NETWORKS[task.network]
    images = rng.integers(0, 256, (task.batch_size, side, side, 3), dtype=np.uint8)
    labels = rng.integers(0, NUM_CLASSES[task.network], task.batch_size)
    plain = task.variant.startswith("plain")
    serve(*(_plain if plain else _ours)(task, images, labels))


def serve(train: Callable[[], None], parameters: int) -> None:
    """Tells how many parameters are trained, then trains a round for every line that comes in.

    Args:
        train: Trains a round.
        parameters: Their number.
    """
    print(json.dumps({"parameters": parameters}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        train()
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


def _ours(task: Task, images: Any, labels: Any) -> tuple[Any, int]:
    import keras

    from fer_keras.methods import build_method

    keras.config.set_dtype_policy(task.precision)
    network = _network(task, images.shape[1:])
    classes = NUM_CLASSES[task.network]
    method = build_method("cross_entropy", network, [f"class {i}" for i in range(classes)])
    method.compile(
        optimizer=keras.optimizers.SGD(0.01, momentum=0.9),
        jit_compile="xla" in VARIANTS[task.variant],
    )
    many = np.tile(images, (task.steps, 1, 1, 1))
    targets = np.eye(classes, dtype=np.float32)[np.tile(labels, task.steps)]

    def train() -> None:
        method.fit(many, targets, batch_size=task.batch_size, shuffle=False, verbose=0)

    return train, sum(int(np.prod(v.shape)) for v in method.trainable_variables)


def _network(task: Task, image_shape: Any) -> Any:
    import keras

    from fer_keras.models import build_network
    from fer_keras.models.encoders import build_encoder

    classes = NUM_CLASSES[task.network]
    if task.network == "ddamfn":
        return build_network("ddamfn", image_shape, classes)
    if task.network == "resnet18":
        return build_network("resnet18", image_shape, classes, width=task.width)
    encoder = build_encoder(task.network, image_shape)
    logits = keras.layers.Dense(classes, name="logits")(encoder.output)
    return keras.Model(encoder.input, {"logits": logits}, name=task.network)


def _plain(task: Task, images: Any, labels: Any) -> tuple[Any, int]:
    import torch
    import torch_networks

    network = getattr(torch_networks, task.network)(NUM_CLASSES[task.network], task.width)
    pictures = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    if "channels_last" in VARIANTS[task.variant]:
        network = network.to(memory_format=torch.channels_last)
        pictures = pictures.contiguous(memory_format=torch.channels_last)
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    loss = torch.nn.CrossEntropyLoss()
    targets = torch.from_numpy(labels)
    halved = torch.autocast("cpu", torch.bfloat16, enabled=task.precision != "float32")

    def train() -> None:
        for _ in range(task.steps):
            optimizer.zero_grad()
            with halved:
                value = loss(network(pictures.float()), targets)
            value.backward()
            optimizer.step()

    return train, sum(p.numel() for p in network.parameters())


if __name__ == "__main__":
    main()
