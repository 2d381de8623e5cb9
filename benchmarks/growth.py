"""How time and memory grow: with the faces of a picture, pictures, streams and pixels.

python benchmarks/growth.py
python benchmarks/growth.py --parts faces streams --rounds 5

The shipped model and drawn faces; processor time of the process on one thread, which other work on
the machine touches little; the fastest of the rounds. Memory is the highest while it ran. The slope
is that of the logarithm of the time over that of the size, from the row before: 1 is linear. A
million pictures are worked out from the last row.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.opencv import cv2
from fer_keras.data.drawn_faces.face_drawing import draw_face
from fer_keras.data.drawn_faces.face_parameters import make_identity
from fer_keras.runtime.recognizer import Recognizer
from fer_keras.runtime.stream.follow import Follower
from fer_keras.runtime.stream.sources import Frame
from fer_keras.runtime.timing.machine import machine_name, machine_state
from fer_keras.tracking.tracker import git_commit

Run = Callable[[], int]
_MILLION = 1_000_000


def faces_in_a_picture() -> Iterator[tuple[int, Run]]:
    """The same size of picture, more and more of it faces."""
    recognizer = Recognizer()
    for number in (1, 10, 100):
        picture = crowd(number, 960, 1280, 96)
        yield number, lambda picture=picture: len(recognizer.recognize(picture))  # type: ignore[misc]


def pictures() -> Iterator[tuple[int, Run]]:
    """One face each, without looking for it."""
    recognizer = Recognizer(detector="none")
    face = crowd(1, 96, 96, 96)
    for number in (100, 1_000, 4_000):
        yield (
            number,
            lambda number=number: sum(  # type: ignore[misc]
                len(found) for _, found in recognizer.recognize_each(face for _ in range(number))
            ),
        )


def streams() -> Iterator[tuple[int, Run]]:
    """25 frames of each, in turns, with one recognizer for all."""
    recognizer = Recognizer()
    frame = crowd(1, 480, 640, 160)
    for number in (1, 4, 16):
        yield number, lambda number=number: follow(recognizer, frame, number, 25)  # type: ignore[misc]


def pixels() -> Iterator[tuple[int, Run]]:
    """Pixels of a picture with one face that fills a third of its height."""
    recognizer = Recognizer()
    for width in (320, 640, 1280, 4000):
        height = width * 3 // 4
        picture = crowd(1, height, width, height // 3)
        yield (
            width * height,
            lambda picture=picture: len(recognizer.recognize(picture)),  # type: ignore[misc]
        )


def camera() -> Iterator[tuple[int, Run]]:
    """25 frames of 640 x 480 with so many faces."""
    recognizer = Recognizer()
    for number in (1, 10):
        frame = crowd(number, 480, 640, 120)
        yield number, lambda frame=frame: follow(recognizer, frame, 1, 25)  # type: ignore[misc]


PARTS = {
    "faces": faces_in_a_picture,
    "pictures": pictures,
    "streams": streams,
    "pixels": pixels,
    "camera": camera,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args(argv)
    cv2.setNumThreads(1)
    print(f"{machine_name()}, commit {git_commit()}, load {machine_state()['load_average']}\n")
    print("| what | size | ms | faces read | slope | MiB |")
    print("|---|---|---|---|---|---|")
    for part in arguments.parts:
        before: tuple[int, float] | None = None
        for size, run in PARTS[part]():
            seconds, found, mib = measure(run, arguments.rounds)
            slope = ""
            if before:
                slope = f"{math.log(seconds / before[1]) / math.log(size / before[0]):.2f}"
            print(
                f"| {part} | {size:,} | {1000 * seconds:,.0f} | {found:,} | {slope} | {mib:.0f} |",
                flush=True,
            )
            before = size, seconds
        if part == "pictures" and before:
            hours = before[1] / before[0] * _MILLION / 3600
            print(f"| {part}, worked out | {_MILLION:,} | {hours:.2f} hours | | | |")


def measure(run: Run, rounds: int) -> tuple[float, int, float]:
    """Processor seconds of the fastest round, what it found, and the most memory in MiB."""
    Path("/proc/self/clear_refs").write_text("5")  # The peak starts anew.
    best, found = math.inf, 0
    for _ in range(rounds):
        start = time.process_time()
        found = run()
        best = min(best, time.process_time() - start)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return best, found, int(peak.split()[1]) / 1024


def follow(recognizer: Recognizer, picture: NDArray[np.uint8], number: int, frames: int) -> int:
    """Faces read in streams that take turns; the picture moves by a pixel from frame to frame."""
    followers = [Follower(recognizer) for _ in range(number)]
    for index in range(frames):
        moved = np.roll(picture, index % 4, axis=1)
        for follower in followers:
            follower.read(Frame(index, index / 25, moved, 0.0))
    return sum(follower.num_faces for follower in followers)


def crowd(number: int, height: int, width: int, side: int) -> NDArray[np.uint8]:
    """A grey picture with drawn faces in rows from the top left."""
    picture = np.full((height, width, 3), 128, np.uint8)
    for index in range(number):
        row, column = divmod(index, width // side)
        face, _, _ = draw_face(make_identity(0, index), {}, None, side)
        picture[row * side : (row + 1) * side, column * side : (column + 1) * side] = face
    return picture


if __name__ == "__main__":
    main()
