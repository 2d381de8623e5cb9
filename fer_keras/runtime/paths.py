"""Pictures and films below the paths that `predict` is given, and a row for each face."""

import argparse
import io
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tqdm import tqdm

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.common.files import atomic_path, standard_output

if TYPE_CHECKING:
    from fer_keras.runtime.recognizer import Recognizer
    from fer_keras.runtime.stream.annotated import AnnotatedPictures
    from fer_keras.runtime.stream.rows import PathRow
    from fer_keras.runtime.stream.video_report import VideoReport


@dataclass
class _Counts:
    pictures: int = 0
    faces: int = 0
    without_face: int = 0
    unreadable: int = 0
    broken_off: int = 0
    videos: int = 0
    frames: int = 0


def _only_videos(paths: Sequence[Path], videos: Collection[Path], recognizer: "Recognizer") -> None:
    pictures = [path for path in paths if path not in videos]
    if pictures:
        raise ConfigError(
            f"the model reads clips of {recognizer.manifest['clip_frames']} frames of a face: "
            f"expected videos, received {len(pictures)} pictures, the first is {pictures[0]}"
        )


def is_video(path: Path) -> bool:
    """Whether a path is read as a video, by its content."""
    from fer_keras.runtime.film_files import is_film

    return is_film(path)


def find_pictures(
    paths: Iterable[Path], unreadable: Callable[[OSError], None] | None = None
) -> tuple[list[Path], int]:
    """The picture and video files that paths name, folders with all the pictures below them.

    Args:
        paths: Files and folders.
        unreadable: Called with the error of a path or a folder below it that cannot be read, or of
            a link that leads in a circle; None raises it.

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
    errors: list[OSError] = []

    def note(error: OSError) -> None:
        if unreadable is None:
            raise error
        errors.append(error)
        unreadable(error)

    for path in paths:
        known_errors = len(errors)
        try:
            # Below a folder that may not be entered nothing can be told, not even this.
            is_folder, is_there = path.is_dir(), path.exists()
        except OSError as error:
            note(error)
            continue
        if is_folder:
            visible = sorted(map(Path, visible_files(path, note)))
            pictures = [file for file in visible if file.suffix.lower() in IMAGE_SUFFIXES]
            if not pictures and len(errors) > known_errors:
                # That was said already.
                continue
            if not pictures:
                raise DataError(
                    f"the folder holds no picture ({', '.join(IMAGE_SUFFIXES)}; {len(visible)} "
                    f"other files). Check the path: {path}"
                )
            found += pictures
            passed_over += len(visible) - len(pictures)
        elif not is_there:
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
    videos: Collection[Path],
    counts: _Counts,
    arguments: argparse.Namespace,
    report: "VideoReport | None",
    annotated: "AnnotatedPictures | None",
) -> "Iterator[PathRow]":
    """A row for every face, and one without a face for what has none."""
    from fer_keras.runtime.pictures import as_pixels
    from fer_keras.runtime.stream.rows import PathRow, printable

    hidden = not sys.stderr.isatty() or (len(paths) == 1 and paths[0] in videos)
    with tqdm(paths, unit="file", file=sys.stderr, disable=hidden) as progress:
        for path in progress:
            shown = printable(path)
            faces_before = counts.faces
            frames_before = counts.frames
            try:
                if path in videos:
                    yield from _video_rows(recognizer, path, counts, arguments, report)
                else:
                    pixels = as_pixels(path)
                    faces = recognizer.recognize(pixels)
                    if annotated is not None:
                        annotated.write(path, pixels, faces)
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
        identities=arguments.identities,
    )
    bar = tqdm(total=source.num_frames, unit="frame", leave=False, disable=not sys.stderr.isatty())
    last_s = 0.0
    with bar, stream:
        for moment in stream:
            if moment.frame is None:
                continue
            last_s = moment.frame.time_s
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
    if source.breaks_off(stream.num_frames, last_s):
        counts.broken_off += 1
        tqdm.write(
            f"error: {stream.num_frames} of {source.num_frames} frames could be read, the rows of "
            f"these are kept; the video is cut off or damaged: {printable(path)}",
            file=sys.stderr,
        )


@contextmanager
def _open_output(path: Path | None) -> Iterator[TextIO]:
    """The terminal, or a file that takes its name only when it is complete."""
    if path is None:
        terminal = standard_output()
        if isinstance(terminal, io.TextIOWrapper):
            terminal.reconfigure(encoding="utf-8")
        yield terminal
        terminal.flush()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        yield stream


def _summary(counts: _Counts, passed_over: int, *written: Path | None) -> str:
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
    if counts.broken_off:
        parts.append(f"{counts.broken_off} cut off")
    if passed_over:
        parts.append(f"{passed_over} file{_s(passed_over)} of other types passed over")
    places = ", ".join(str(path) for path in written if path is not None)
    return ", ".join(parts) + (f" -> {places}" if places else "")


def _report_facts(
    recognizer: "Recognizer", arguments: argparse.Namespace, counts: _Counts
) -> list[str]:
    name = _model_name(recognizer, arguments)
    return [
        f"Model {name}, detector {arguments.detector}, {counts.frames} frames read, smoothed with "
        f"a half-life of {arguments.half_life:g} s."
    ]


def _model_name(recognizer: "Recognizer", arguments: argparse.Namespace) -> str:
    return str(recognizer.manifest.get("name") or Path(arguments.model or "").stem)


def _s(number: int) -> str:
    return "" if number == 1 else "s"
