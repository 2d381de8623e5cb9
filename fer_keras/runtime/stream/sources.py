"""Where frames come from: a camera, a network stream, a video file, a folder, an iterator.

A source is opened as often as needed; every time it gives a capture of its own, so that a reader
whose capture hangs can be left behind and replaced (see `fer_keras.runtime.stream.reader`).
"""

import importlib
import importlib.util
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.decode import IMAGE_SUFFIXES, MAX_PIXELS, read_image
from fer_keras.common.errors import ConfigError, DataError
from fer_keras.common.files import is_litter
from fer_keras.common.opencv import cv2

Pixels = NDArray[np.uint8]

_LOGGER = logging.getLogger(__name__)

DEFAULT_FPS = 25.0
# Of cameras that can be told: detectors look at no more pixels, and a Pi reads no more frames.
CAMERA_SIZE, CAMERA_FPS = (640, 480), 30.0
# FFmpeg gives up by itself after these; without them a dead host blocks for half a minute.
_OPEN_TIMEOUT_MS = 5000
_READ_TIMEOUT_MS = 2000


@dataclass(frozen=True)
class Frame:
    """One picture of a stream.

    Attributes:
        index: Its number in the source, from 0; those that were passed over count.
        time_s: When it is shown, in seconds from the first one; by the clock for live sources.
        pixels: uint8 RGB `(height, width, 3)`.
        decode_s: What decoding it took, in seconds.
    """

    index: int
    time_s: float
    pixels: Pixels
    decode_s: float


class Capture(Protocol):
    """A source that is open; used by one thread."""

    def read(self) -> Frame | None:
        """The next frame; None where there is none (the end of a file, a camera without power)."""

    def close(self) -> None:
        """Let go of the device or file."""


class Source(Protocol):
    """What a stream reads.

    Attributes:
        name: For people: a path, an address, "camera 0".
        live: Whether it goes on by itself: then the newest frame counts, none waits, and a loss is
            mended by opening it again. Otherwise every frame counts, and None is the end.
        is_camera: Whether people see themselves in it and expect a mirror.
        num_frames: How many `read` gives, None where that is not known beforehand.
        fps: Frames per second; None where the source does not say.
    """

    name: str
    live: bool
    is_camera: bool
    num_frames: int | None
    fps: float | None

    def open(self) -> Capture:
        """Open it.

        Raises:
            DataError: It is not there or cannot be read.
        """


def open_source(text: str, fps: float = DEFAULT_FPS) -> Source:
    """The source that a command's argument names.

    Args:
        text: A camera's number ("0") or device file ("/dev/video0"), a Raspberry Pi's camera
            ("picamera2", "picamera2:1", "libcamera:" with or without a name behind it), a pipeline
            of GStreamer ("gst:v4l2src ! ..."), an address ("rtsp://...", "http://..."), a video
            file, or a folder of pictures.
        fps: How many pictures of a folder make a second.

    Raises:
        DataError: There is no such file or folder, or it holds no picture.
    """
    if text.isdecimal() or text.startswith("/dev/"):
        return Camera(int(text) if text.isdecimal() else text)
    kind, colon, rest = text.partition(":")
    if kind == "picamera2" and (not colon or rest.isdecimal()):
        return PiCamera(int(rest or 0))
    if kind == "libcamera" and colon:
        return GStreamerCamera(libcamera_pipeline(rest), f"libcamera {rest}".rstrip())
    if kind == "gst" and colon:
        return GStreamerCamera(rest, "GStreamer pipeline")
    if "://" in text:
        return NetworkStream(text)
    path = Path(text)
    if path.is_dir():
        return PictureFolder(path, fps)
    if path.is_file():
        return VideoFile(path)
    raise DataError(
        "source: expected a camera's number, a video file, a folder of pictures or an address such "
        f"as rtsp://..., found nothing. Check the path: {text}"
    )


class Camera:
    """A camera of this machine.

    Unplugged and plugged in again, a camera of Linux may come back under another number. A name
    below /dev/v4l/by-id stays the same.

    Args:
        device: Its number from 0, or its device file.
    """

    live = True
    is_camera = True
    num_frames: int | None = None
    fps: float | None = None

    def __init__(self, device: int | str) -> None:
        self._device = device
        self.name = f"camera {device}"

    def open(self) -> Capture:
        """Open the camera; see `Source.open`."""
        capture = cv2.VideoCapture(self._device)
        # One picture in the driver's queue: with more, the newest would be an old one.
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return _VideoCapture(
            capture,
            f"the camera cannot be opened: it is not there, or another program uses it. Check "
            f"--source (Linux: ls /dev/video*): {self._device}",
        )


class PiCamera:
    """A camera at a Raspberry Pi's ribbon cable, by the system's package Picamera2.

    Frames have the size and the rate that the detectors work with: they scale larger ones down to
    640 pixels, so more would only cost time.

    Args:
        number: Of the camera, from 0.
    """

    live = True
    is_camera = True
    num_frames: int | None = None
    fps: float | None = CAMERA_FPS

    def __init__(self, number: int = 0) -> None:
        self._number = number
        self.name = f"picamera2 {number}"

    def open(self) -> Capture:
        """Start the camera; see `Source.open`."""
        if importlib.util.find_spec("picamera2") is None:
            raise DataError(
                "--source picamera2 needs the system's package Picamera2, which this Python does "
                "not see. Mend: sudo apt install python3-picamera2, and make the environment with "
                "python3 -m venv --system-site-packages (docs/raspberry-pi.md)"
            )
        try:
            return _PiCapture(self._number)
        # Picamera2 and libcamera raise errors of many kinds.
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(
                f"camera {self._number} of the board cannot be opened ({reason}). Check that "
                "rpicam-hello --list-cameras shows it and that no other program uses it"
            ) from error


class GStreamerCamera:
    """What a pipeline of GStreamer gives; OpenCV must have been built with it.

    Args:
        pipeline: Without its end: `videoconvert` and `appsink` are added.
        name: For people.
    """

    live = True
    is_camera = True
    num_frames: int | None = None
    fps: float | None = None

    def __init__(self, pipeline: str, name: str) -> None:
        # One frame at most waits: with more, the newest would be an old one.
        self._pipeline = (
            f"{pipeline} ! videoconvert ! video/x-raw,format=BGR ! "
            "appsink max-buffers=1 drop=true sync=false"
        )
        self.name = name

    def open(self) -> Capture:
        """Start the pipeline; see `Source.open`."""
        if not any(cv2.videoio_registry.getBackendName(b) == "GSTREAMER" for b in _backends()):
            raise DataError(
                f"{self.name}: OpenCV {cv2.__version__} was built without GStreamer, as that of "
                "the package opencv-python is. Use --source picamera2, or the system's "
                "python3-opencv in an environment with --system-site-packages"
            )
        return _VideoCapture(
            cv2.VideoCapture(self._pipeline, cv2.CAP_GSTREAMER),
            f"{self.name} cannot be opened. Try the pipeline by gst-launch-1.0: {self._pipeline}",
        )


def libcamera_pipeline(name: str = "") -> str:
    """The beginning of a pipeline for a camera that libcamera drives, in `CAMERA_SIZE`.

    Args:
        name: As `cam --list` prints it; empty for the first camera.

    Raises:
        DataError: It holds what no camera's name does, and what would change the pipeline.
    """
    if not re.fullmatch(r"[A-Za-z0-9_@,./\\:-]*", name):
        raise DataError(
            f"--source libcamera: expected a camera's name as cam --list prints it, received {name}"
        )
    width, height = CAMERA_SIZE
    chosen = f' camera-name="{name}"' if name else ""
    return (
        f"libcamerasrc{chosen} ! video/x-raw,width={width},height={height},"
        f"framerate={CAMERA_FPS:.0f}/1"
    )


class NetworkStream:
    """A stream of a network camera.

    Args:
        address: "rtsp://...", "http://..." or what else FFmpeg knows; never printed with the
            password that may be in it.
    """

    live = True
    is_camera = False
    num_frames: int | None = None
    fps: float | None = None

    def __init__(self, address: str) -> None:
        self._address = address
        scheme, _, rest = address.partition("://")
        host, slash, path = rest.partition("/")
        self.name = f"{scheme}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"

    def open(self) -> Capture:
        """Connect; see `Source.open`."""
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_TIMEOUT_MS]
        timeouts += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_TIMEOUT_MS]
        return _VideoCapture(
            cv2.VideoCapture(self._address, cv2.CAP_FFMPEG, timeouts),
            f"the stream cannot be opened. Check the address and the network: {self.name}",
        )


class VideoFile:
    """A video file, all of it or a part of its frames.

    Args:
        path: Any format that OpenCV's FFmpeg reads.
        every_frames: Give every so many frames, at least 1.
        every_s: Give a frame every so many seconds; 0 for no such limit.

    Raises:
        DataError: There is no such file, or it is no video that can be read.
    """

    live = False
    is_camera = False

    def __init__(self, path: Path, every_frames: int = 1, every_s: float = 0.0) -> None:
        self.name = str(path)
        self._path = path
        self._every_frames = every_frames
        self._every_s = every_s
        capture = self._capture()
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        capture.release()
        # A header may say anything; a rate is needed where frames carry no times.
        self.fps: float | None = fps if 0 < fps <= 1000 else None
        step = max(every_frames, round(every_s * self.fps) if self.fps else 1, 1)
        self.num_frames: int | None = -(-frames // step) if frames > 0 else None
        self._duration_s = frames / self.fps if frames > 0 and self.fps else None

    def open(self) -> Capture:
        """Open the file at its beginning; see `Source.open`."""
        return _FileCapture(
            self._capture(), self.fps or DEFAULT_FPS, self._every_frames, self._every_s
        )

    def breaks_off(self, num_frames: int, last_s: float) -> bool:
        """Whether a film ended long before its header says: it is cut off or damaged.

        Args:
            num_frames: How many frames it gave.
            last_s: When the last one is shown, in seconds.

        Returns:
            False also where the header says nothing. A header may be a frame off, and films of
            uneven rates have fewer frames than their length tells: so both must be short.
        """
        if not self.num_frames or num_frames >= 0.95 * self.num_frames - 1:
            return False
        frame_s = max(self._every_s, self._every_frames / (self.fps or DEFAULT_FPS))
        return self._duration_s is None or last_s < 0.95 * self._duration_s - 2 * frame_s

    def _capture(self) -> Any:
        if not self._path.is_file():
            raise DataError(f"expected a video file, found none. Check the path: {self._path}")
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise DataError(
                "the video cannot be read: it is damaged, of a format that FFmpeg does not know, "
                f"or no video. Convert it to MP4: {self._path}"
            )
        _check_size(capture, self.name)
        return capture


class PictureFolder:
    """The pictures of a folder, in the order of their names, as the frames of a film.

    Args:
        path: The folder; its subfolders are not looked into.
        fps: How many pictures make a second, over 0.

    Attributes:
        num_unreadable: How many pictures could not be read so far; the others keep their times.

    Raises:
        DataError: It holds no picture.
    """

    live = False
    is_camera = False

    def __init__(self, path: Path, fps: float = DEFAULT_FPS) -> None:
        self.name = str(path)
        self.fps: float | None = fps
        self._pictures = sorted(
            file
            for file in path.iterdir()
            if file.suffix.lower() in IMAGE_SUFFIXES and not is_litter(file.name)
        )
        if not self._pictures:
            raise DataError(
                f"the folder holds no picture ({', '.join(IMAGE_SUFFIXES)}). Check the path: {path}"
            )
        self.num_frames: int | None = len(self._pictures)
        self.num_unreadable = 0

    def open(self) -> Capture:
        """Start with the first picture; see `Source.open`."""
        return _IteratorCapture(self._read(), self.fps or DEFAULT_FPS)

    def _read(self) -> Iterator[Pixels | None]:
        for picture in self._pictures:
            try:
                yield read_image(picture)
            except DataError as error:
                self.num_unreadable += 1
                _LOGGER.warning("passed over: %s", error)
                yield None


class ArraySource:
    """Frames from a program.

    Args:
        frames: Called at every opening; gives uint8 RGB arrays `(height, width, 3)`.
        fps: How many frames make a second, over 0.
        num_frames: How many there are, where that is known.
        name: For people.
        live: See `Source`.
    """

    is_camera = False

    def __init__(
        self,
        frames: Callable[[], Iterable[Pixels]],
        fps: float = DEFAULT_FPS,
        num_frames: int | None = None,
        name: str = "frames",
        live: bool = False,
    ) -> None:
        if fps <= 0:
            raise ConfigError(f"fps: expected more than 0, received {fps}")
        self._frames = frames
        self.fps: float | None = fps
        self.num_frames = num_frames
        self.name = name
        self.live = live

    def open(self) -> Capture:
        """Start anew; see `Source.open`."""
        return _IteratorCapture(iter(self._frames()), self.fps or DEFAULT_FPS)


def quiet_ffmpeg() -> None:
    """Keep FFmpeg's messages and OpenCV's off the terminal; for commands, at the start."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_FATAL)


class _VideoCapture:
    """A live source behind OpenCV; the reader gives its frames their number and time."""

    def __init__(self, capture: Any, not_opened: str) -> None:
        if not capture.isOpened():
            capture.release()
            raise DataError(not_opened)
        self._capture = capture

    def read(self) -> Frame | None:
        # grab waits for the camera; what follows is work.
        try:
            if not self._capture.grab():
                return None
            start = time.perf_counter()
            ok, picture = self._capture.retrieve()
        except cv2.error:
            # What some drivers do when the cable is pulled.
            return None
        if not ok or picture is None:
            return None
        return Frame(0, 0.0, _rgb(picture), time.perf_counter() - start)

    def close(self) -> None:
        self._capture.release()


class _PiCapture:
    """A camera behind Picamera2; the reader gives its frames their number and time."""

    def __init__(self, number: int) -> None:
        self._camera = importlib.import_module("picamera2").Picamera2(number)
        try:
            # Its "BGR888" is, in memory, red, green, blue.
            configuration = self._camera.create_video_configuration(
                main={"size": CAMERA_SIZE, "format": "BGR888"},
                controls={"FrameRate": CAMERA_FPS},
                # The frame at work and the newest one.
                buffer_count=2,
            )
            self._camera.configure(configuration)
            self._camera.start()
        except BaseException:
            self._camera.close()
            raise

    def read(self) -> Frame | None:
        picture = self._camera.capture_array()
        start = time.perf_counter()
        # A copy: the camera writes the next frame to the same memory.
        pixels = np.array(picture[:, :, :3], np.uint8)
        return Frame(0, 0.0, pixels, time.perf_counter() - start)

    def close(self) -> None:
        self._camera.stop()
        self._camera.close()


class _FileCapture:
    def __init__(self, capture: Any, fps: float, every_frames: int, every_s: float) -> None:
        self._capture = capture
        self._fps = fps
        self._every_frames = every_frames
        self._every_s = every_s
        self._index = -1
        self._time_s = -1.0
        self._due_s = 0.0

    def read(self) -> Frame | None:
        start = time.perf_counter()
        while self._capture.grab():
            self._index += 1
            self._time_s = self._frame_time_s()
            # The frame that is nearest to the time at which one is due.
            early = self._time_s < self._due_s - 0.5 / self._fps
            if early or self._index % self._every_frames:
                continue
            ok, picture = self._capture.retrieve()
            if not ok or picture is None:
                return None
            self._due_s = max(self._due_s, self._time_s - self._every_s) + self._every_s
            return Frame(self._index, self._time_s, _rgb(picture), time.perf_counter() - start)
        return None

    def close(self) -> None:
        self._capture.release()

    def _frame_time_s(self) -> float:
        stamp_s = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000
        # Some files have no stamps, or such as stand still.
        return stamp_s if stamp_s > self._time_s else self._time_s + 1 / self._fps


class _IteratorCapture:
    """Frames at an even rate; None in the place of one is passed over, and has its time."""

    def __init__(self, frames: Iterator[Pixels | None], fps: float) -> None:
        self._frames = enumerate(frames)
        self._fps = fps

    def read(self) -> Frame | None:
        start = time.perf_counter()
        for index, pixels in self._frames:
            if pixels is not None:
                return Frame(index, index / self._fps, pixels, time.perf_counter() - start)
        return None

    def close(self) -> None:
        self._frames = enumerate(())


def _check_size(capture: Any, name: str) -> None:
    width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > MAX_PIXELS:
        capture.release()
        raise DataError(
            f"video too large: expected at most {MAX_PIXELS} pixels a frame, received {width} x "
            f"{height}. Scale it down: {name}"
        )


def _backends() -> list[int]:
    return list(cv2.videoio_registry.getCameraBackends())


def _rgb(picture: Any) -> Pixels:
    code = cv2.COLOR_GRAY2RGB if picture.ndim == 2 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(picture, code), np.uint8)
