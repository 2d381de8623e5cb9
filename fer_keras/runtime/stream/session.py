"""One session of the camera: window, keys, snapshots, what is written."""

import argparse
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fer_keras.common.files import standard_output
from fer_keras.runtime.stream.watchdog import ServiceWatchdog

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fer_keras.runtime.recognizer import Recognizer
    from fer_keras.runtime.stream.blur import FaceBlur
    from fer_keras.runtime.stream.follow import Moment
    from fer_keras.runtime.stream.mqtt import MqttPublisher
    from fer_keras.runtime.stream.recording import VideoRecorder
    from fer_keras.runtime.stream.rows import RowWriter
    from fer_keras.runtime.stream.sources import Source
    from fer_keras.runtime.stream.stream import Stream
    from fer_keras.runtime.stream.window import Window


# A live picture that does not change for so long is a loss.
STILL_S = 1.5


def _outputs(
    stack: ExitStack, arguments: argparse.Namespace, source: "Source", recognizer: "Recognizer"
) -> "tuple[Window | None, VideoRecorder | None, RowWriter | None]":
    """Window, video and rows, as far as they are wanted; the stack closes them."""
    from fer_keras.runtime.stream.recording import VideoRecorder
    from fer_keras.runtime.stream.rows import RowWriter, open_table, table_format
    from fer_keras.runtime.stream.sources import DEFAULT_FPS
    from fer_keras.runtime.stream.window import Window, has_screen

    window, recorder, rows = None, None, None
    names = [str(name) for name in recognizer.classes_]
    if arguments.video:
        recorder = VideoRecorder(arguments.video, source.fps or DEFAULT_FPS)
        stack.callback(recorder.close)
    chosen, every = table_format(arguments.output, arguments.format), arguments.all_frames
    if arguments.output:
        file, header = open_table(arguments.output, chosen, names, arguments.append)
        stack.enter_context(file)
        rows = stack.enter_context(RowWriter(file, chosen, names, header, every))
    if arguments.no_window:
        pass
    elif has_screen():
        window = Window("fer_keras")
        stack.callback(window.close)
    else:
        print("no screen, so there is no window", file=sys.stderr)
    if window is None and rows is None and not arguments.mqtt:
        rows = stack.enter_context(RowWriter(standard_output(), chosen, names, all_frames=every))
    return window, recorder, rows


def _publisher(
    stack: ExitStack, arguments: argparse.Namespace, recognizer: "Recognizer"
) -> "MqttPublisher | None":
    """What tells the smart home, where that is wanted; the stack says goodbye."""
    if not arguments.mqtt:
        return None
    from fer_keras.runtime.stream.mqtt import MqttPublisher, parse_broker

    publisher = MqttPublisher(
        parse_broker(arguments.mqtt),
        arguments.mqtt_name or f"fer_keras {socket.gethostname()}",
        [str(name) for name in recognizer.classes_],
        arguments.mqtt_user,
        os.environ.get("FER_KERAS_MQTT_PASSWORD"),
    )
    return stack.enter_context(publisher)


def _blur() -> "FaceBlur":
    from fer_keras.runtime.stream.blur import FaceBlur

    return FaceBlur()


class _Session:
    """One run: what is drawn, what the keys do, what people read on the terminal."""

    def __init__(
        self,
        stream: "Stream",
        arguments: argparse.Namespace,
        window: "Window | None",
        recorder: "VideoRecorder | None",
        rows: "RowWriter | None",
        publisher: "MqttPublisher | None" = None,
    ) -> None:
        source = stream.source
        self._stream = stream
        self._arguments = arguments
        self._window = window
        self._recorder = recorder
        self._rows = rows
        self._publisher = publisher
        self._blur = _blur() if arguments.blur_faces else None
        self._trouble: str | None = None
        self._mirrored = source.is_camera if arguments.mirror is None else arguments.mirror
        self._picture: NDArray[np.uint8] | None = None
        self._note = ""
        # When the first frame of a file would have been shown at its own speed.
        self._start_s: float | None = None
        self.people: set[int] = set()
        self._last_s = 0.0
        # Whether a film ended long before its header says.
        self.broken_off = False
        # Pictures of a folder; each was named.
        self.num_unreadable = 0

    def run(self) -> None:
        """Go on until the stream or the user ends."""
        from fer_keras.runtime.stream.sources import PictureFolder, VideoFile

        lost = False
        watchdog = ServiceWatchdog()
        with self._progress() as progress, contextlib.closing(watchdog):
            for moment in self._stream:
                # Also while the camera is lost: the command then waits for it.
                watchdog.alive()
                if (moment.state == "lost") != lost:
                    lost = moment.state == "lost"
                    text = "lost, trying again" if lost else "back"
                    progress.write(f"{self._stream.source.name}: {text}", file=sys.stderr)
                if self._publisher is not None:
                    self._publish(moment, progress)
                if moment.frame is not None:
                    self._picture, self._last_s = moment.frame.pixels, moment.frame.time_s
                    if self._blur is not None:
                        self._picture = self._blur.cover(self._picture, moment.boxes, self._last_s)
                    self.people.update(face.track for face in moment.faces)
                    if self._rows is not None:
                        self._rows.write(moment.frame, moment.faces)
                    progress.update()
                if not self._show(moment):
                    return
                limit = self._arguments.max_frames
                if limit and self._stream.num_frames >= limit:
                    return
        source = self._stream.source
        if isinstance(source, VideoFile):
            self.broken_off = source.breaks_off(self._stream.num_frames, self._last_s)
        elif isinstance(source, PictureFolder):
            self.num_unreadable = source.num_unreadable

    def _publish(self, moment: "Moment", progress: Any) -> None:
        publisher = cast("MqttPublisher", self._publisher)
        if moment.frame is not None:
            publisher.update(moment.faces)
        elif moment.state == "lost":
            publisher.lost()
        if publisher.trouble != self._trouble:
            self._trouble = publisher.trouble
            progress.write(self._trouble or "mqtt: back", file=sys.stderr)

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
        from fer_keras.runtime.stream.overlay import Status, draw_moment

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
    from fer_keras.common.opencv import cv2

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
