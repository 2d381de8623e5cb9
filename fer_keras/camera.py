"""Expressions from a camera, a video or a stream: `python -m fer_keras.camera --source 0`.

With a screen a window shows what is found; rows for every face and frame go to a file.
"""

import argparse
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fer_keras.arguments import positive, rate, seconds
from fer_keras.errors import ConfigError, run_command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fer_keras.runtime.recognizer import Recognizer
    from fer_keras.runtime.recording import VideoRecorder
    from fer_keras.runtime.rows import RowWriter
    from fer_keras.runtime.sources import Source
    from fer_keras.runtime.stream import Moment, Stream
    from fer_keras.runtime.window import Window

# A live picture that does not change for so long is a loss.
STILL_S = 1.5

_EXAMPLES = """\
examples:
  python -m fer_keras.camera                                       the first camera
  python -m fer_keras.camera --source talk.mp4 --output faces.csv
  python -m fer_keras.camera --source rtsp://192.168.0.7/live --no-window --output faces.jsonl
  python -m fer_keras.camera --source frames/ --fps 10 --video shown.mp4
  python -m fer_keras.camera --detector haar --precision int8 --detect-every 10     a small board

window:
  q or Esc ends, space pauses, m mirrors, s saves a snapshot, n takes a new neutral face (models
  that compare with one: look neutral until the bar is full).

output:
  One row per face and frame: frame, time_s (seconds from the first frame), track (the person's
  number), box in pixels of the source, dominant, score (the detector's), unsure, label_set, the
  smoothed probability of every emotion, and the frame's own as raw_EMOTION. JSON Lines have the
  landmarks too. Without a window and without --output the rows go to the terminal. Rows are
  written as they come; Ctrl-C ends cleanly and keeps them.

pictures:
  Nothing is written unless you ask by --video or by the key s; --no-images refuses both.

exit code:
  0  the end of the file, --max-frames, q, or Ctrl-C on a camera     130  Ctrl-C before a file's end
  2  the source, the model or an option cannot be used; the rows so far are kept
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments without the program's name; None takes the command line's.

    Returns:
        Exit code: 0, or 130 where a file was interrupted.

    Raises:
        FerKerasError: Something cannot be used; rows that were written stay.
    """
    arguments = _parser().parse_args(argv)
    if arguments.no_images and arguments.video:
        raise ConfigError("--no-images never writes a picture, so it does not go with --video")

    # Imported only now, so that --help and a wrong option are answered at once.
    from fer_keras.faces.centre_box import CentreBoxDetector
    from fer_keras.opencv import cv2
    from fer_keras.runtime.recognizer import Recognizer
    from fer_keras.runtime.sources import open_source, quiet_ffmpeg
    from fer_keras.runtime.stream import Stream

    quiet_ffmpeg()
    source = open_source(arguments.source, arguments.fps)
    recognizer = Recognizer(
        arguments.model,
        detector=CentreBoxDetector(arguments.box) if arguments.box else arguments.detector,
        threads=arguments.threads,
        precision=arguments.precision,
    )
    # OpenCV has one thread count for the whole process, so it is the command that sets it.
    cv2.setNumThreads(arguments.threads)
    is_fixed = arguments.box or arguments.detector == "none"
    interrupted = False
    with ExitStack() as stack:
        window, recorder, rows = _outputs(stack, arguments, source, recognizer)
        stream = Stream(
            source,
            recognizer,
            # A box that stays where it is must not be carried along by what moves in it.
            detect_every=1 if is_fixed else arguments.detect_every,
            half_life_s=arguments.half_life,
            neutral_s=arguments.neutral_seconds,
            still_s=None if arguments.may_stand_still else STILL_S,
        )
        stack.enter_context(stream)
        session = _Session(stream, arguments, window, recorder, rows)
        try:
            with _terminated_as_interrupted():
                session.run()
        except KeyboardInterrupt:
            interrupted = True
    print(_summary(stream, session.people, arguments), file=sys.stderr)
    return 130 if interrupted and not source.live else 0


def _outputs(
    stack: ExitStack, arguments: argparse.Namespace, source: "Source", recognizer: "Recognizer"
) -> "tuple[Window | None, VideoRecorder | None, RowWriter | None]":
    """Window, video and rows, as far as they are wanted; the stack closes them."""
    from fer_keras.runtime.recording import VideoRecorder
    from fer_keras.runtime.rows import RowWriter, open_table, table_format
    from fer_keras.runtime.sources import DEFAULT_FPS
    from fer_keras.runtime.window import Window, has_screen

    window, recorder, rows = None, None, None
    names = [str(name) for name in recognizer.classes_]
    if arguments.video:
        recorder = VideoRecorder(arguments.video, source.fps or DEFAULT_FPS)
        stack.callback(recorder.close)
    chosen = table_format(arguments.output, arguments.format)
    if arguments.output:
        file, header = open_table(arguments.output, chosen, names, arguments.append)
        stack.enter_context(file)
        rows = stack.enter_context(RowWriter(file, chosen, names, header))
    if arguments.no_window:
        pass
    elif has_screen():
        window = Window("fer_keras")
        stack.callback(window.close)
    else:
        print("no screen, so there is no window", file=sys.stderr)
    if window is None and rows is None:
        rows = stack.enter_context(RowWriter(sys.stdout, chosen, names))
    return window, recorder, rows


class _Session:
    """One run: what is drawn, what the keys do, what people read on the terminal."""

    def __init__(
        self,
        stream: "Stream",
        arguments: argparse.Namespace,
        window: "Window | None",
        recorder: "VideoRecorder | None",
        rows: "RowWriter | None",
    ) -> None:
        source = stream.source
        self._stream = stream
        self._arguments = arguments
        self._window = window
        self._recorder = recorder
        self._rows = rows
        self._mirrored = source.is_camera if arguments.mirror is None else arguments.mirror
        self._picture: NDArray[np.uint8] | None = None
        self._note = ""
        # When the first frame of a file would have been shown at its own speed.
        self._start_s: float | None = None
        self.people: set[int] = set()

    def run(self) -> None:
        """Go on until the stream or the user ends."""
        lost = False
        with self._progress() as progress:
            for moment in self._stream:
                if (moment.state == "lost") != lost:
                    lost = moment.state == "lost"
                    text = "lost, trying again" if lost else "back"
                    progress.write(f"{self._stream.source.name}: {text}", file=sys.stderr)
                if moment.frame is not None:
                    self._picture = moment.frame.pixels
                    self.people.update(face.track for face in moment.faces)
                    if self._rows is not None:
                        self._rows.write(moment.frame, moment.faces)
                    progress.update()
                if not self._show(moment):
                    return
                limit = self._arguments.max_frames
                if limit and self._stream.num_frames >= limit:
                    return

    def _show(self, moment: "Moment") -> bool:
        """Draw a moment, show and record it, do what the keys say; False ends."""
        if self._picture is None or (self._window is None and self._recorder is None):
            return True
        canvas = self._draw(moment, self._state_text(moment))
        if self._recorder is not None and moment.frame is not None:
            self._recorder.write(canvas, moment.frame.time_s)
        if self._window is None:
            return True
        self._window.show(canvas)
        key = self._window.key(self._ahead_s(moment))
        if key == " ":
            self._window.show(self._draw(moment, "paused   any key goes on"))
            while not (key := self._window.key(0.2)):
                pass
            self._start_s = None
        if key == "m":
            self._mirrored = not self._mirrored
        elif key == "n":
            self._stream.restart_neutral()
        elif key == "s" and not self._arguments.no_images:
            self._note = _save_snapshot(self._arguments.snapshots, canvas)
        return key != "quit"

    def _draw(self, moment: "Moment", text: str) -> "NDArray[np.uint8]":
        from fer_keras.runtime.overlay import Status, draw_moment

        keys = "q quit   space pause   m mirror" if self._window is not None else ""
        if keys and not self._arguments.no_images:
            keys += "   s snapshot"
        if keys and self._stream.recognizer.input_kind == "pair":
            keys += "   n neutral"
        picture = cast("NDArray[np.uint8]", self._picture)
        status = Status(text, keys, warning=moment.frame is None)
        return draw_moment(picture, moment, status, self._mirrored)

    def _state_text(self, moment: "Moment") -> str:
        if moment.state == "lost":
            return f"{self._stream.source.name} lost for {self._stream.lost_s:.0f} s, trying again"
        return f"{self._stream.fps:.1f} fps   {self._note}"

    def _ahead_s(self, moment: "Moment") -> float:
        """For how long to show a frame of a file, so that it runs no faster than it was taken."""
        if self._stream.source.live or moment.frame is None:
            return 0.0
        now_s = time.monotonic()
        if self._start_s is None or now_s - self._start_s > moment.frame.time_s:
            # The first frame, or recognition is slower than the film.
            self._start_s = now_s - moment.frame.time_s
        return moment.frame.time_s - (now_s - self._start_s)

    def _progress(self) -> Any:
        from tqdm import tqdm

        source, limit = self._stream.source, self._arguments.max_frames
        known = [number for number in (source.num_frames, limit) if number]
        # Rows on the terminal and a bar would be written over each other.
        shares_terminal = self._arguments.output is None and self._window is None
        hidden = source.live or not sys.stderr.isatty() or (shares_terminal and sys.stdout.isatty())
        return tqdm(total=min(known, default=None), unit="frame", disable=hidden)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """A service manager's SIGTERM ends the run as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _save_snapshot(folder: Path, canvas: "NDArray[np.uint8]") -> str:
    """Write what is shown; tells where, or why not."""
    from fer_keras.opencv import cv2

    path = folder / f"snapshot-{datetime.now():%Y%m%d-%H%M%S-%f}.png"
    encoded = cv2.imencode(".png", cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR))[1]
    try:
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        return f"no snapshot: {error.strerror}"
    return f"saved {path.name}"


def _summary(stream: "Stream", people: set[int], arguments: argparse.Namespace) -> str:
    parts = [
        f"{_counted(stream.num_frames, 'frame')}, {_counted(stream.num_faces, 'face')}, "
        f"{_counted(len(people), 'track')}, {stream.mean_fps:.1f} fps"
    ]
    if stream.source.live:
        parts.append(f"{stream.dropped} passed over, lost {_counted(stream.losses, 'time')}")
    stages = ", ".join(f"{stage} {ms:.1f}" for stage, ms in stream.times.mean_ms().items())
    parts.append(f"ms each: {stages}")
    where = [str(path) for path in (arguments.output, arguments.video) if path is not None]
    return "; ".join(parts) + (f" -> {', '.join(where)}" if where else "")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fer_keras.camera",
        description="Read facial expressions from a camera, a video or a stream.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--source",
        default="0",
        metavar="SOURCE",
        help="camera number (default: 0), video file, folder of pictures, rtsp:// or http:// "
        "address",
    )
    add("--model", metavar="DIR", help="export folder or .tflite file (default: the shipped model)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--detector",
        default="mtcnn",
        metavar="NAME",
        help="mtcnn (default), haar, yunet, blazeface",
    )
    where.add_argument(
        "--box",
        type=positive,
        metavar="PIXELS",
        help="no detector: a fixed box of this side in the middle (224 as in the DDAMFN project)",
    )
    add("--output", type=Path, metavar="FILE", help=".csv or .jsonl file for the rows")
    add("--append", action="store_true", help="go on with an --output file that is there already")
    add("--format", choices=("csv", "jsonl"), help="default: by the name of FILE, else csv")
    add("--video", type=Path, metavar="FILE", help="write what is shown, .mp4 or .avi")
    add(
        "--snapshots",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="where the key s saves pictures (default: the current folder)",
    )
    add("--no-images", action="store_true", help="never write a picture")
    add("--no-window", action="store_true", help="no window, although there is a screen")
    add(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        help="show the picture as in a mirror (default: cameras only)",
    )
    add("--max-frames", type=positive, metavar="N", help="end after so many frames")
    add(
        "--detect-every",
        type=positive,
        default=5,
        metavar="N",
        help="look for faces in every N-th frame, follow them in between (default: 5)",
    )
    add(
        "--half-life",
        type=seconds,
        default=0.2,
        metavar="SECONDS",
        help="of the smoothing over time; 0 for none (default: 0.2)",
    )
    add(
        "--neutral-seconds",
        type=seconds,
        default=2.0,
        metavar="SECONDS",
        help="of looking at a neutral face, for models that compare with one (default: 2)",
    )
    add(
        "--fps",
        type=rate,
        default=25.0,
        metavar="N",
        help="how many pictures of a folder make a second (default: 25)",
    )
    add(
        "--may-stand-still",
        action="store_true",
        help="a live picture that does not change is no loss (screen casts, virtual cameras)",
    )
    add("--threads", type=positive, default=1, metavar="N", help="processor threads (default: 1)")
    add(
        "--precision",
        choices=("float32", "float16", "dynamic", "int8"),
        help="which file of the export folder (default: what its manifest says)",
    )
    return parser


if __name__ == "__main__":
    run_command(main)
