"""Bulk prediction: pictures per second and memory, with one process and with several.

Draws photos with one face each (or takes a list of your own) and reads them with
`python -m fer_keras.predict --output-dir`, as a user would. The numbers of processes take turns,
several rounds of them, so that a busy machine affects all alike; the ratio is the median over the
rounds. The time is that of the whole command with its start. The memory is that of its largest
process at its highest; the last line has it for a quarter of the pictures too, because it must not
grow with them.

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

from fer_keras.data.drawn_faces.face_drawing import draw_face
from fer_keras.data.drawn_faces.face_parameters import make_identity
from fer_keras.runtime.timing.machine import describe_machine, machine_state, summary

_DRAWN = 40
_SIDE = 320


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
        seconds: dict[int, list[float]] = {processes: [] for processes in arguments.processes}
        memory_mib: dict[int, float] = dict.fromkeys(arguments.processes, 0.0)
        for _ in range(arguments.rounds):
            for processes in arguments.processes:
                took_s, peak_mib = predict(
                    folder, paths, arguments.pictures, processes, arguments.detector
                )
                seconds[processes].append(took_s)
                memory_mib[processes] = max(memory_mib[processes], peak_mib)
        _, quarter_mib = predict(
            folder, paths, arguments.pictures // 4, arguments.processes[0], arguments.detector
        )

    first = arguments.processes[0]
    rates = {n: arguments.pictures / statistics.median(values) for n, values in seconds.items()}
    ratios = {
        n: statistics.median(a / b for a, b in zip(seconds[first], seconds[n], strict=True))
        for n in arguments.processes
    }
    print(summary(describe_machine()))
    print(f"{'processes':<12}{'pictures/s':>12}{f'x {first}':>8}{'MiB each':>10}")
    for n in arguments.processes:
        print(f"{n:<12}{rates[n]:>12.1f}{ratios[n]:>8.2f}{memory_mib[n]:>10.0f}")
    record = {
        "pictures": arguments.pictures,
        "detector": arguments.detector,
        "rounds": arguments.rounds,
        "pictures_per_second": {n: round(rate, 1) for n, rate in rates.items()},
        "ratio": {n: round(ratio, 2) for n, ratio in ratios.items()},
        "peak_mib": {n: round(peak) for n, peak in memory_mib.items()},
        "peak_mib_of_a_quarter": round(quarter_mib),
        "state": machine_state(),
    }
    print(json.dumps(record))


def draw(folder: Path, number: int) -> Path:
    """A JPEG file with one drawn face."""
    picture, _, _ = draw_face(make_identity(0, number), {}, None, _SIDE)
    path = folder / f"{number:03d}.jpg"
    cv2.imwrite(str(path), picture[:, :, ::-1])
    return path


def predict(
    folder: Path, paths: list[str], num_pictures: int, processes: int, detector: str
) -> tuple[float, float]:
    """Seconds of one command, and the most memory of one of its processes in MiB."""
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
    return took_s, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
