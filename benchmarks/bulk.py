"""Bulk prediction: pictures per second and memory, with one process and with several.

Draws pictures of 640 x 480 with one face each (or takes a list of your own) and reads them with
`python -m fer_keras.predict --output-dir`, as a user would. The numbers of processes take turns,
several rounds of them, so that a busy machine affects all alike; the ratio is the median over the
rounds. The time is that of the whole command with its start. Processor time, which a busy machine
disturbs less, is that of a picture more: the whole run less one of a quarter of the pictures, the
fastest rounds. The memory is that of the command's largest process at its highest; the last line
has it for a quarter of the pictures too, because it must not grow with them.

    python benchmarks/bulk.py
    python benchmarks/bulk.py --pictures 2000 --processes 1 2 4 --rounds 5 --detector none
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from fer_keras.data.drawn_faces.face_drawing import draw_face
from fer_keras.data.drawn_faces.face_parameters import make_identity
from fer_keras.runtime.timing.machine import describe_machine, machine_state, summary

_DRAWN = 40
_WIDTH, _HEIGHT, _FACE = 640, 480, 320


def main() -> None:
    """Prints a table and one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", type=Path, help="your own pictures, a path on each line")
    parser.add_argument("--pictures", type=int, default=400, help="pictures for each measurement")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--detector", default="mtcnn")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.list is not None:
            paths = arguments.list.read_text().split("\n")[:-1]
        else:
            paths = [str(draw(folder, number)) for number in range(_DRAWN)]
        numbers = arguments.processes
        quarter = arguments.pictures // 4
        seconds: dict[int, list[float]] = {processes: [] for processes in numbers}
        memory_mib: dict[int, float] = dict.fromkeys(numbers, 0.0)
        quarter_mib = 0.0
        cpu_s: dict[tuple[int, int], float] = {}
        for _ in range(arguments.rounds):
            for processes in numbers:
                for pictures in (quarter, arguments.pictures):
                    took_s, used_s, peak_mib = predict(
                        folder, paths, pictures, processes, arguments.detector
                    )
                    key = processes, pictures
                    cpu_s[key] = min(used_s, cpu_s.get(key, used_s))
                    if pictures == arguments.pictures:
                        seconds[processes].append(took_s)
                        memory_mib[processes] = max(memory_mib[processes], peak_mib)
                    elif processes == numbers[0]:
                        quarter_mib = max(quarter_mib, peak_mib)

    first = arguments.processes[0]
    rates = {n: arguments.pictures / statistics.median(values) for n, values in seconds.items()}
    ratios = {
        n: statistics.median(a / b for a, b in zip(seconds[first], seconds[n], strict=True))
        for n in arguments.processes
    }
    print(summary(describe_machine()))
    cpu_ms = {
        n: 1000
        * (cpu_s[n, arguments.pictures] - cpu_s[n, quarter])
        / (arguments.pictures - quarter)
        for n in arguments.processes
    }
    title = (
        f"{'processes':<12}{'pictures/s':>12}{f'x {first}':>8}{'processor ms':>14}{'MiB each':>10}"
    )
    print(title)
    for n in arguments.processes:
        print(f"{n:<12}{rates[n]:>12.1f}{ratios[n]:>8.2f}{cpu_ms[n]:>14.2f}{memory_mib[n]:>10.0f}")
    record = {
        "pictures": arguments.pictures,
        "detector": arguments.detector,
        "rounds": arguments.rounds,
        "pictures_per_second": {n: round(rate, 1) for n, rate in rates.items()},
        "ratio": {n: round(ratio, 2) for n, ratio in ratios.items()},
        "processor_ms": {n: round(ms, 2) for n, ms in cpu_ms.items()},
        "peak_mib": {n: round(peak) for n, peak in memory_mib.items()},
        "peak_mib_of_a_quarter": round(quarter_mib),
        "state": machine_state(),
    }
    print(json.dumps(record))


def draw(folder: Path, number: int) -> Path:
    """A JPEG file with one drawn face before a background of soft colours."""
    rng = np.random.default_rng(number)
    colours = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    picture = cv2.resize(colours, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC)
    face, _, _ = draw_face(make_identity(0, number), {}, None, _FACE)
    left, top = rng.integers(0, (_WIDTH - _FACE + 1, _HEIGHT - _FACE + 1))
    picture[top : top + _FACE, left : left + _FACE] = face
    path = folder / f"{number:03d}.jpg"
    cv2.imwrite(str(path), picture[:, :, ::-1])
    return path


def predict(
    folder: Path, paths: list[str], num_pictures: int, processes: int, detector: str
) -> tuple[float, float, float]:
    """Seconds and processor seconds of one command, and the memory of its largest process, MiB."""
    listed = folder / "list.txt"
    listed.write_text("".join(f"{paths[i % len(paths)]}\n" for i in range(num_pictures)))
    with tempfile.TemporaryDirectory(dir=folder) as output:
        options = {
            "--list": listed,
            "--output-dir": output,
            "--processes": processes,
            "--detector": detector,
            # Enough shards that no process waits long for the last one.
            "--shard-size": max(1, num_pictures // 40),
        }
        words = [str(word) for pair in options.items() for word in pair]
        start_s = time.perf_counter()
        command = subprocess.Popen(
            [sys.executable, "-m", "fer_keras.predict", *words], stderr=subprocess.DEVNULL
        )
        # Of the command and the processes that it waited for, the largest.
        _, status, usage = os.wait4(command.pid, 0)
        took_s = time.perf_counter() - start_s
        command.returncode = os.waitstatus_to_exitcode(status)
    if command.returncode:
        raise SystemExit(f"the command failed: {' '.join(words)}")
    return took_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
