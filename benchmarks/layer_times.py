"""Where the time of a training step goes: forwards and backwards through each kind of layer.

python benchmarks/layer_times.py                        ddamfn at 112 pixels
python benchmarks/layer_times.py --network compact --side 48 --channels 1 --precision mixed_bfloat16

Every layer of the network is compiled alone, with its own input sizes, and differentiated by its
inputs and weights; alike ones are measured once and counted. The fastest of the rounds counts.
What the layers lose or gain by being one graph is the difference from the whole step, which stands
in its own line: TensorFlow keeps memory in other places and joins neighbours. Convolutions have
their multiplications a second, forwards and both ways backwards, and the last line those of a
product of two large matrices: as much as the processor gives. With `--one-core` it is one thread
and its processor time, which other work on the machine touches little.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

_SIDE = 2048


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="ddamfn", help="as the experiments name it")
    parser.add_argument("--options", default="{}", help="of the network, as JSON")
    parser.add_argument("--side", type=int, default=112, help="of the pictures, in pixels")
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=4, help="after one to warm up")
    parser.add_argument(
        "--precision", default="float32", choices=("float32", "mixed_bfloat16"),
    )  # fmt: skip
    parser.add_argument("--one-core", action="store_true", help="one thread, processor time")
    arguments = parser.parse_args(argv)
    if arguments.one_core:
        os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    clock = time.process_time if arguments.one_core else time.perf_counter
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf

    from fer_keras.models import build_network

    tf.get_logger().setLevel("ERROR")  # It warns of many graphs, which are what is wanted.
    keras.config.set_dtype_policy(arguments.precision)
    shape = (arguments.side, arguments.side, arguments.channels)
    network = build_network(arguments.network, shape, 8, **json.loads(arguments.options))
    batch, rounds = arguments.batch_size, arguments.rounds
    seconds: dict[str, float] = {}
    numbers: dict[str, int] = {}
    multiplications: dict[str, float] = {}
    known: dict[str, float] = {}
    for layer in network.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        kind = _kind(layer)
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        key = f"{kind} {[tuple(each.shape[1:]) for each in inputs]} {_settings(layer)}"
        if key not in known:
            known[key] = _time(_step_of(layer, inputs, batch), rounds, clock)
        seconds[kind] = seconds.get(kind, 0.0) + known[key]
        numbers[kind] = numbers.get(kind, 0) + 1
        multiplications[kind] = multiplications.get(kind, 0.0) + 3 * batch * _multiplications(layer)
    total = sum(seconds.values())
    print(f"{network.name}, {arguments.side} pixels, batch {batch}, {arguments.precision}\n")
    print("| kind of layer | layers | ms | share | billion multiplications a second |")
    print("|---|---|---|---|---|")
    for kind in sorted(seconds, key=lambda name: -seconds[name]):
        print(
            f"| {kind} | {numbers[kind]} | {1000 * seconds[kind]:.0f} | "
            f"{seconds[kind] / total:.0%} | {_rate(multiplications[kind], seconds[kind])} |"
        )
    whole = _time(_whole_step(network, shape, batch), rounds, clock)
    print(f"| all, one by one | {sum(numbers.values())} | {1000 * total:.0f} | 100% | |")
    print(f"| the whole network | | {1000 * whole:.0f} | {whole / total:.0%} | |")
    product = _time(_product(arguments.precision), rounds, clock)
    print(f"| two matrices of {_SIDE} x {_SIDE} | | {1000 * product:.0f} | | ", end="")
    print(f"{_rate(_SIDE**3, product)} |")


def _kind(layer: Any) -> str:
    """The class, and for a convolution its kernel."""
    name = type(layer).__name__
    if name in ("Conv2D", "DepthwiseConv2D"):
        return f"{name} {'x'.join(map(str, layer.kernel_size))}"
    return name


def _multiplications(layer: Any) -> int:
    """Of a convolution for one picture, forwards; 0 for other layers."""
    if not _kind(layer).startswith("Conv2D "):
        return 0
    _, height, width, _ = layer.output.shape
    return int(height * width * math.prod(layer.kernel.shape))


def _rate(multiplications: float, seconds: float) -> str:
    return f"{multiplications / seconds / 1e9:.0f}" if multiplications else ""


def _product(precision: str) -> Callable[[], Any]:
    import tensorflow as tf

    dtype = tf.bfloat16 if precision == "mixed_bfloat16" else tf.float32
    matrix = tf.cast(tf.random.normal((_SIDE, _SIDE)), dtype)
    return tf.function(lambda: [tf.reduce_max(matrix @ matrix)])


def _settings(layer: Any) -> str:
    config = {k: v for k, v in layer.get_config().items() if k not in ("name", "dtype")}
    return json.dumps(config, default=str, sort_keys=True)


def _step_of(layer: Any, inputs: Sequence[Any], batch: int) -> Callable[[], Any]:
    import tensorflow as tf

    dtype = tf.as_dtype(layer.compute_dtype)
    values = [tf.cast(tf.random.normal((batch, *each.shape[1:])), dtype) for each in inputs]

    @tf.function
    def step() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(values)
            found = layer(values if len(values) > 1 else values[0], training=True)
            # A sum's gradient is constant, and constants are folded: the square's is not.
            loss = tf.reduce_sum(tf.square(tf.cast(found, tf.float32)))
        wanted = [*values, *(v.value for v in layer.trainable_variables)]
        return [tf.reduce_max(g) for g in tape.gradient(loss, wanted) if g is not None]

    return step


def _whole_step(network: Any, shape: tuple[int, ...], batch: int) -> Callable[[], Any]:
    import tensorflow as tf

    pictures = 255 * tf.random.uniform((batch, *shape))

    @tf.function
    def step() -> Any:
        with tf.GradientTape() as tape:
            logits = network(pictures, training=True)["logits"]
            loss = tf.reduce_sum(tf.square(tf.cast(logits, tf.float32)))
        gradients = tape.gradient(loss, [v.value for v in network.trainable_variables])
        return [tf.reduce_max(g) for g in gradients if g is not None]

    return step


def _time(step: Callable[[], Any], rounds: int, clock: Callable[[], float]) -> float:
    """Seconds of the fastest round, the first one left out."""
    step()
    times = []
    for _ in range(rounds):
        start = clock()
        for value in step():
            value.numpy()
        times.append(clock() - start)
    return min(times)


if __name__ == "__main__":
    main()
