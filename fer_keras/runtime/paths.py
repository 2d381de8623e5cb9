"""Pictures and films below the paths that `predict` is given, and a row for each face."""

import argparse
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.common.files import atomic_path

if TYPE_CHECKING:
    from fer_keras.runtime.recognizer import Recognizer
    from fer_keras.runtime.stream.rows import PathRow
    from fer_keras.runtime.stream.video_report import VideoReport


@dataclass
class _Counts:
    pictures: int = 0
    faces: int = 0
    without_face: int = 0
    unreadable: int = 0
    videos: int = 0
    frames: int = 0


def _only_videos(paths: Sequence[Path], recognizer: "Recognizer") -> None:
    pictures = [path for path in paths if not is_video(path)]
    if pictures:
        raise ConfigError(
            f"the model reads clips of {recognizer.manifest['clip_frames']} frames of a face: "
            f"expected videos, received {len(pictures)} pictures, the first is {pictures[0]}"
        )


def is_video(path: Path) -> bool:
    """Whether a path is read as a video, by its name."""
    from fer_keras.runtime.stream.sources import VIDEO_SUFFIXES

    return path.suffix.lower() in VIDEO_SUFFIXES


def find_pictures(
    paths: Iterable[Path], unreadable: Callable[[OSError], None] | None = None
) -> tuple[list[Path], int]:
    """The picture and video files that paths name, folders with all the pictures below them.

    Args:
        paths: Files and folders.
        unreadable: Called with the error of a folder that cannot be read, or of a link that leads
            in a circle, below one of the paths; None raises it.

    Returns:
        The files, each once: in the order given, those of a folder sorted by path; and how many
        other files the folders hold.

    Raises:
        DataError: A path does not exist, or a folder holds no picture.
    """
    from fer_keras.common.decode import IMAGE_SUFFIXES
    from fer_keras.runtime.bulk.shards import visible_files
    from fer_keras.runtime.pictures import refuse_url

    found: list[Path] = []
    passed_over = 0
    for path in paths:
        if path.is_dir():
            visible = sorted(map(Path, visible_files(path, unreadable)))
            pictures = [file for file in visible if file.suffix.lower() in IMAGE_SUFFIXES]
            if not pictures:
                raise DataError(
                    f"the folder holds no picture ({', '.join(IMAGE_SUFFIXES)}; {len(visible)} "
                    f"other files). Check the path: {path}"
                )
            found += pictures
            passed_over += len(visible) - len(pictures)
        elif not path.exists():
            refuse_url(str(path))
            raise DataError(
                f"expected a picture, a video or a folder, found nothing. Check the path: {path}"
            )
        else:
            found.append(path)
    return list(dict.fromkeys(found)), passed_over


def _rows(
    recognizer: "Recognizer",
    paths: Sequence[Path],
    counts: _Counts,
    arguments: argparse.Namespace,
    report: "VideoReport | None",
) -> "Iterator[PathRow]":
    """A row for every face, and one without a face for what has none."""
    from tqdm import tqdm

    from fer_keras.runtime.stream.rows import PathRow, printable

    hidden = not sys.stderr.isatty() or (len(paths) == 1 and is_video(paths[0]))
    with tqdm(paths, unit="file", file=sys.stderr, disable=hidden) as progress:
        for path in progress:
            shown = printable(path)
            faces_before = counts.faces
            frames_before = counts.frames
            try:
                if is_video(path):
                    yield from _video_rows(recognizer, path, counts, arguments, report)
                else:
                    faces = recognizer.recognize(path)
                    counts.pictures += 1
                    counts.faces += len(faces)
                    for number, face in enumerate(faces):
                        yield PathRow(shown, number, face)
            except DataError as error:
                counts.unreadable += 1
                tqdm.write(f"error: {error}", file=sys.stderr)
                continue
            if counts.faces == faces_before:
                counts.without_face += 1
                tqdm.write(f"warning: no face found: {shown}", file=sys.stderr)
                # Its frames have said it already.
                if not (arguments.all_frames and counts.frames > frames_before):
                    yield PathRow(shown)


def _video_rows(
    recognizer: "Recognizer",
    path: Path,
    counts: _Counts,
    arguments: argparse.Namespace,
    report: "VideoReport | None",
) -> "Iterator[PathRow]":
    from tqdm import tqdm

    from fer_keras.runtime.stream.rows import PathRow, printable
    from fer_keras.runtime.stream.sources import VideoFile
    from fer_keras.runtime.stream.stream import Stream

    every_frames, every_s = arguments.every
    source = VideoFile(path, every_frames, every_s)
    stream = Stream(
        source,
        recognizer,
        detect_every=arguments.detect_every,
        half_life_s=arguments.half_life,
    )
    bar = tqdm(total=source.num_frames, unit="frame", leave=False, disable=not sys.stderr.isatty())
    with bar, stream:
        for moment in stream:
            if moment.frame is None:
                continue
            if report is not None:
                report.add(moment.frame, moment.faces)
            counts.frames += 1
            counts.faces += len(moment.faces)
            bar.update()
            for number, face in enumerate(moment.faces):
                yield PathRow(printable(path), number, face.result, moment.frame, face)
            if arguments.all_frames and not moment.faces:
                yield PathRow(printable(path), frame=moment.frame)
    counts.videos += 1
    # A header may be a frame off; a damaged file ends far earlier.
    if source.num_frames and stream.num_frames < 0.95 * source.num_frames - 1:
        tqdm.write(
            f"warning: {stream.num_frames} of {source.num_frames} frames could be read; the video "
            f"is cut off or damaged: {printable(path)}",
            file=sys.stderr,
        )


@contextmanager
def _open_output(path: Path | None) -> Iterator[TextIO]:
    """The terminal, or a file that takes its name only when it is complete."""
    if path is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")
        yield sys.stdout
        sys.stdout.flush()
        return
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        yield stream


def _summary(counts: _Counts, passed_over: int, output: Path | None, report: Path | None) -> str:
    read = [f"{counts.pictures} picture{_s(counts.pictures)}"] if counts.pictures else []
    if counts.videos:
        of_videos = f"of {counts.videos} video{_s(counts.videos)}"
        read.append(f"{counts.frames} frame{_s(counts.frames)} {of_videos}")
    where = " and ".join(read) or "0 pictures"
    parts = [f"{counts.faces} face{_s(counts.faces)} in {where}"]
    if counts.without_face:
        parts.append(f"{counts.without_face} without a face")
    if counts.unreadable:
        parts.append(f"{counts.unreadable} unreadable")
    if passed_over:
        parts.append(f"{passed_over} file{_s(passed_over)} of other types passed over")
    written = [str(path) for path in (output, report) if path is not None]
    return ", ".join(parts) + (f" -> {', '.join(written)}" if written else "")


def _report_facts(
    recognizer: "Recognizer", arguments: argparse.Namespace, counts: _Counts
) -> list[str]:
    name = recognizer.manifest.get("name") or Path(arguments.model or "").stem
    return [
        f"Model {name}, detector {arguments.detector}, {counts.frames} frames read, smoothed with "
        f"a half-life of {arguments.half_life:g} s."
    ]


def _s(number: int) -> str:
    return "" if number == 1 else "s"
