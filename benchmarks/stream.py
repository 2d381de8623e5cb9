"""A film of two drawn faces with known changes, read by the stream: delay, flips, speed, memory.

Two drawn people move in a scene of 640 x 480; about every 3 s each shows another emotion, blending
from one to the next within 0.2 s. The film is written as MP4 and read as a user's would be.
Measured against what was drawn:

- delay: from the start of a change to the first frame in which the new emotion is shown, over the
  changes that are seen at all before the next one; a model that takes fear for surprise sees fewer;
- flips per minute and face: changes of the shown emotion, without the first after each drawn one;
- right: share of the rows, 0.5 s and more after a change, that show what is drawn;
- rows: as a share of faces x frames.

Without smoothing and with it the same readings are compared. Drawings say nothing about photos.

    python benchmarks/stream.py --model runs/drawn/export
    python benchmarks/stream.py --model runs/drawn/export --frames 500 --detect-every 1 5 10
    python benchmarks/stream.py --model runs/drawn/export --soak 100000 --output build/

`--soak N` replays the film until N frames have been read, and fits a line to the memory of the
process: MB per 10,000 frames, and a plot.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.errors import run_command
from fer_keras.common.files import atomic_path, write_text
from fer_keras.common.labels import EMOTIONS
from fer_keras.common.opencv import cv2
from fer_keras.data.drawn_faces.face_canvas import View
from fer_keras.data.drawn_faces.face_drawing import draw_face
from fer_keras.data.drawn_faces.face_parameters import PROTOTYPES, make_identity
from fer_keras.runtime import Recognizer
from fer_keras.runtime.stream.smoothing import HALF_LIFE_S, HYSTERESIS
from fer_keras.runtime.stream.sources import ArraySource, VideoFile
from fer_keras.runtime.stream.stream import Stream

Pixels = NDArray[np.uint8]

FPS = 25.0
HEIGHT, WIDTH = 480, 640
PERIOD_S = 3.0
BLEND_S = 0.2
SETTLED_S = 0.5
_BACKGROUND = (150, 155, 160)


@dataclass(frozen=True)
class Actor:
    """A drawn person on a path of their own.

    Attributes:
        subject: Number of the identity; held out of the drawn training set.
        side: Of the drawn square, in pixels.
        centre_x: About which the person moves, in pixels.
        changes: When another emotion begins, in seconds, and which.
    """

    subject: int
    side: int
    centre_x: int
    changes: tuple[tuple[float, str], ...]

    def emotion_at(self, time_s: float) -> str:
        """What is drawn (the new emotion from the start of its blend)."""
        return [emotion for start_s, emotion in self.changes if start_s <= time_s][-1]

    def action_units(self, time_s: float) -> dict[int, float]:
        """Intensities 0..1."""
        known = [i for i, (start_s, _) in enumerate(self.changes) if start_s <= time_s]
        start_s, new = self.changes[known[-1]]
        old = self.changes[max(0, known[-1] - 1)][1]
        share = min(1.0, (time_s - start_s) / BLEND_S)
        mixed: dict[int, float] = {}
        for emotion, weight in ((old, 1 - share), (new, share)):
            for unit, value in PROTOTYPES[emotion][0][0].items():
                mixed[unit] = mixed.get(unit, 0.0) + weight * value
        return mixed

    def centre_at(self, time_s: float) -> tuple[float, float]:
        """Where the square's centre is, in pixels."""
        x = self.centre_x + 45 * np.sin(0.9 * time_s + self.subject)
        y = HEIGHT / 2 + 60 * np.sin(0.6 * time_s + 2 * self.subject)
        return float(x), float(y)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the tables.

    Args:
        argv: Arguments without the program's name; None takes the command line's.

    Returns:
        Exit code 0.
    """
    arguments = _parser().parse_args(argv)
    cv2.setNumThreads(arguments.threads)
    actors = make_actors(arguments.frames / FPS, arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        film = arguments.film or Path(folder) / "film.mp4"
        if not film.exists():
            write_film(film, actors, arguments.frames, arguments.seed)
        if arguments.soak:
            report = soak(film, arguments)
        else:
            report = {
                "frames": arguments.frames,
                "model": str(arguments.model or "shipped"),
                "detector": arguments.detector,
                "runs": [
                    measure(film, actors, detect_every, arguments)
                    for detect_every in arguments.detect_every
                ],
            }
            print(markdown(report))
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        name = "stream_soak.json" if arguments.soak else "stream.json"
        write_text(arguments.output / name, json.dumps(report, indent=2) + "\n")
    return 0


def make_actors(length_s: float, seed: int) -> list[Actor]:
    """Two people whose expressions change at different times, never to the same emotion.

    Args:
        length_s: Of the film.
        seed: Of the order of the emotions and of the times.
    """
    rng = np.random.default_rng(seed)
    actors = []
    for subject, side, centre_x in ((310, 230, 150), (329, 260, 480)):
        changes = [(0.0, "neutral")]
        time_s = float(rng.uniform(1, PERIOD_S))
        while time_s < length_s - 1:
            others = [emotion for emotion in EMOTIONS if emotion != changes[-1][1]]
            changes.append((time_s, str(rng.choice(others))))
            time_s += float(rng.uniform(0.8, 1.2)) * PERIOD_S
        actors.append(Actor(subject, side, centre_x, tuple(changes)))
    return actors


def draw_frame(actors: Sequence[Actor], time_s: float, rng: np.random.Generator) -> Pixels:
    """One frame, uint8 RGB; `rng` draws the sensor's noise."""
    picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    picture[:] = _BACKGROUND
    for actor in actors:
        phase = time_s + actor.subject
        view = View(
            yaw=8 * float(np.sin(1.1 * phase)),
            pitch=5 * float(np.sin(0.7 * phase)),
            roll=5 * float(np.sin(0.5 * phase)),
            noise=4.0,
        )
        units = actor.action_units(time_s)
        face, _, _ = draw_face(make_identity(2013, actor.subject), units, view, actor.side, rng)
        x, y = actor.centre_at(time_s)
        left, top = round(x - actor.side / 2), round(y - actor.side / 2)
        x1, y1 = max(left, 0), max(top, 0)
        x2, y2 = min(left + actor.side, WIDTH), min(top + actor.side, HEIGHT)
        picture[y1:y2, x1:x2] = face[y1 - top : y2 - top, x1 - left : x2 - left]
    return picture


def write_film(path: Path, actors: Sequence[Actor], frames: int, seed: int) -> None:
    """Draw the film and write it as MP4.

    Args:
        path: The file.
        actors: Who is in it.
        frames: How many frames.
        seed: Of the noise.
    """
    from tqdm import tqdm

    rng = np.random.default_rng(seed)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    for index in tqdm(range(frames), unit="frame", desc="drawing", disable=None):
        writer.write(draw_frame(actors, index / FPS, rng)[..., ::-1])
    writer.release()


def measure(
    film: Path, actors: Sequence[Actor], detect_every: int, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Read the film once.

    Args:
        film: From `write_film`.
        actors: Who is in it.
        detect_every: See `Stream`.
        arguments: Of the command.

    Returns:
        The figures of one run; `shown` holds those without smoothing and with it.
    """
    recognizer = Recognizer(arguments.model, detector=arguments.detector, threads=arguments.threads)
    names = [str(name) for name in recognizer.classes_]
    seen: list[list[tuple[float, int, str, str]]] = [[] for _ in actors]
    rows = strays = 0
    start = time.perf_counter()
    with Stream(
        VideoFile(film), recognizer, detect_every=detect_every, half_life_s=arguments.half_life,
        hysteresis=arguments.hysteresis,
    ) as stream:  # fmt: skip
        for moment in stream:
            if moment.frame is None:
                continue
            time_s = moment.frame.index / FPS
            for face in moment.faces:
                whose = who(actors, time_s, face.result["box"])
                rows += 1
                if whose is None:
                    strays += 1
                    continue
                raw, smooth = names[int(face.raw.argmax())], face.result["dominant"]
                seen[whose].append((time_s, face.track, raw, smooth))
    seconds = time.perf_counter() - start
    return {
        "detect_every": detect_every,
        "half_life_s": arguments.half_life,
        "hysteresis": arguments.hysteresis,
        "fps": stream.num_frames / seconds,
        "mean_ms": stream.times.mean_ms(),
        "rows": rows,
        "rows_share": (rows - strays) / (stream.num_frames * len(actors)),
        "strays": strays,
        "tracks": len({row[1] for one in seen for row in one}),
        "shown": {
            kind: score(actors, [[(row[0], row[column]) for row in one] for one in seen])
            for kind, column in (("raw", 2), ("smoothed", 3))
        },
    }


def who(actors: Sequence[Actor], time_s: float, box: Sequence[float]) -> int | None:
    """Whose face a box is: the actor whose square's middle holds the box's centre."""
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    for number, actor in enumerate(actors):
        centre = actor.centre_at(time_s)
        if max(abs(x - centre[0]), abs(y - centre[1])) < actor.side / 4:
            return number
    return None


def score(actors: Sequence[Actor], seen: Sequence[Sequence[tuple[float, Any]]]) -> dict[str, Any]:
    """Delay, flips and share of right rows of what was shown.

    Args:
        actors: Who was drawn.
        seen: For each of them the times and the emotions shown.
    """
    delays: list[float] = []
    changes = flips = settled = right = 0
    minutes = 0.0
    for actor, rows in zip(actors, seen, strict=True):
        ends = [start_s for start_s, _ in actor.changes[1:]] + [float("inf")]
        before = rows[0][1] if rows else None
        for (start_s, emotion), end_s in zip(actor.changes, ends, strict=True):
            span = [(time_s, shown) for time_s, shown in rows if start_s <= time_s < end_s]
            late = [shown == emotion for time_s, shown in span if time_s - start_s >= SETTLED_S]
            settled, right = settled + len(late), right + sum(late)
            shown = [before, *(shown for _, shown in span)]
            before = shown[-1]
            switches = sum(a != b for a, b in pairwise(shown))
            if start_s > 0:
                changes += 1
                delays += [time_s - start_s for time_s, shown in span if shown == emotion][:1]
                # One of them answers the change, whatever emotion it goes to.
                switches = max(0, switches - 1)
            flips += switches
        minutes += (rows[-1][0] - rows[0][0]) / 60 if rows else 0.0
    return {
        "changes": changes,
        "seen": len(delays),
        "delay_median_s": statistics.median(delays) if delays else None,
        "delay_p90_s": float(np.quantile(delays, 0.9)) if delays else None,
        "flips_per_minute": flips / minutes if minutes else None,
        "right": right / settled if settled else None,
    }


def markdown(report: dict[str, Any]) -> str:
    """The report as two Markdown tables."""
    lines = [
        f"{report['frames']} frames of {WIDTH} x {HEIGHT} at {FPS:g} fps, 2 faces, detector "
        f"{report['detector']}",
        "",
        "| detect every | shown | changes seen | delay median / p90 s | flips per minute | right |",
        "|---|---|---|---|---|---|",
    ]
    for run in report["runs"]:
        for kind, shown in run["shown"].items():
            label = f"smoothed {run['half_life_s']:g} s" if kind == "smoothed" else kind
            lines.append(
                f"| {run['detect_every']} | {label} | {shown['seen']} of {shown['changes']} "
                f"| {shown['delay_median_s']:.2f} / {shown['delay_p90_s']:.2f} "
                f"| {shown['flips_per_minute']:.1f} | {shown['right']:.3f} |"
            )
    stages = list(report["runs"][0]["mean_ms"])
    lines += [
        "",
        f"| detect every | fps | {' | '.join(f'{stage} ms' for stage in stages)} "
        "| rows of faces x frames | other rows | tracks |",
        "|---|" + "---|" * (len(stages) + 4),
    ]
    for run in report["runs"]:
        stage_cells = " | ".join(f"{run['mean_ms'][stage]:.2f}" for stage in stages)
        lines.append(
            f"| {run['detect_every']} | {run['fps']:.1f} | {stage_cells} "
            f"| {run['rows_share']:.4f} | {run['strays']} | {run['tracks']} |"
        )
    return "\n".join(lines)


def soak(film: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Read the film over and over, and watch the memory.

    Args:
        film: From `write_film`.
        arguments: Of the command.

    Returns:
        `frames`, `rss_mb` (lists), `slope_mb_per_10000_frames` over the last four fifths, `fps`.
    """
    from tqdm import tqdm

    recognizer = Recognizer(arguments.model, detector=arguments.detector, threads=arguments.threads)
    source = ArraySource(lambda: replay(film, arguments.soak), FPS, arguments.soak, str(film))
    frames: list[int] = []
    rss_mb: list[float] = []
    start = time.perf_counter()
    with Stream(source, recognizer, detect_every=arguments.detect_every[-1]) as stream:
        for moment in tqdm(stream, total=arguments.soak, unit="frame", disable=None):
            if moment.frame is not None and moment.frame.index % 250 == 0:
                frames.append(moment.frame.index)
                rss_mb.append(resident_mb())
    seconds = time.perf_counter() - start
    # The first fifth fills caches and pools of memory.
    late = len(frames) // 5
    slope = float(np.polyfit(frames[late:], rss_mb[late:], 1)[0]) * 10_000
    print(
        f"{stream.num_frames} frames, {stream.num_faces} faces, {stream.num_frames / seconds:.1f} "
        f"fps; memory {rss_mb[late]:.1f} -> {rss_mb[-1]:.1f} MB, slope {slope:+.3f} MB per 10,000 "
        "frames"
    )
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        plot(arguments.output / "stream_soak.png", frames, rss_mb, slope)
    return {
        "frames": frames,
        "rss_mb": rss_mb,
        "slope_mb_per_10000_frames": slope,
        "fps": stream.num_frames / seconds,
    }


def replay(film: Path, frames: int) -> Iterator[Pixels]:
    """The film's frames from its start, over and over, `frames` in all."""
    given = 0
    while True:
        capture = VideoFile(film).open()
        while (frame := capture.read()) is not None:
            if given == frames:
                capture.close()
                return
            given += 1
            yield frame.pixels
        capture.close()


def resident_mb() -> float:
    """The memory that the process holds now, in MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def plot(path: Path, frames: Sequence[int], rss_mb: Sequence[float], slope: float) -> None:
    """Memory over frames as a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.2), layout="constrained")
    axes.plot(frames, rss_mb, linewidth=1)
    axes.set(xlabel="frames", ylabel="resident memory, MB", ylim=(0, 1.25 * max(rss_mb)))
    axes.set_title(f"{slope:+.3f} MB per 10,000 frames after the first fifth")
    axes.grid(alpha=0.3)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
    pyplot.close(figure)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, received {text!r}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, metavar="DIR", help="default: the shipped one")
    parser.add_argument("--detector", default="mtcnn", metavar="NAME")
    parser.add_argument("--threads", type=_positive, default=1, metavar="N")
    parser.add_argument("--frames", type=_positive, default=2000, metavar="N")
    parser.add_argument("--detect-every", type=_positive, nargs="+", default=[1, 5], metavar="N")
    parser.add_argument("--half-life", type=float, default=HALF_LIFE_S, metavar="SECONDS")
    parser.add_argument("--hysteresis", type=float, default=HYSTERESIS, metavar="P")
    parser.add_argument(
        "--film", type=Path, metavar="FILE", help="kept here, and used where it is there already"
    )
    parser.add_argument("--soak", type=_positive, metavar="N", help="frames to replay")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, metavar="DIR", help="for the JSON and the plot")
    return parser


if __name__ == "__main__":
    run_command(main)
