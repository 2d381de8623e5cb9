"""Cameras of a board, by stand-ins: no Pi is at hand; and what systemd is told."""

import importlib.util
import os
import socket
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest

from fer_keras.common.errors import DataError
from fer_keras.runtime.stream.sources import (
    GStreamerCamera,
    PiCamera,
    libcamera_pipeline,
    open_source,
)
from fer_keras.runtime.stream.watchdog import ServiceWatchdog


class StandIn:
    """What Picamera2 offers and the source uses; `calls` is what it was asked for."""

    calls: ClassVar[list[Any]] = []
    fails = False

    def __init__(self, number: int) -> None:
        self.calls.append(number)
        self._memory = np.zeros((480, 640, 3), np.uint8)

    def create_video_configuration(self, **settings: Any) -> dict[str, Any]:
        return settings

    def configure(self, configuration: dict[str, Any]) -> None:
        self.calls.append(configuration)

    def start(self) -> None:
        if self.fails:
            raise RuntimeError("Camera __init__ sequence did not complete.")

    def capture_array(self) -> np.ndarray:
        self._memory += 1
        return self._memory

    def stop(self) -> None:
        self.calls.append("stop")

    def close(self) -> None:
        self.calls.append("close")


@pytest.fixture
def picamera2(monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    module = types.ModuleType("picamera2")
    module.__spec__ = importlib.util.spec_from_loader("picamera2", None)
    StandIn.calls, StandIn.fails = [], False
    module.Picamera2 = StandIn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", module)
    return StandIn


def test_a_board_camera_gives_frames_of_the_detectors_size(picamera2: type[StandIn]) -> None:
    source = open_source("picamera2:1")
    assert (source.name, source.live, source.is_camera) == ("picamera2 1", True, True)
    capture = source.open()
    number, configuration = picamera2.calls
    assert number == 1
    assert configuration["main"] == {"size": (640, 480), "format": "BGR888"}
    assert configuration["controls"] == {"FrameRate": 30.0}
    first, second = capture.read(), capture.read()
    assert first is not None
    assert second is not None
    # Not the memory that the camera goes on writing to.
    assert (int(first.pixels[0, 0, 0]), int(second.pixels[0, 0, 0])) == (1, 2)
    capture.close()
    assert picamera2.calls[2:] == ["stop", "close"]


def test_a_board_camera_that_does_not_start_is_let_go(picamera2: type[StandIn]) -> None:
    picamera2.fails = True
    with pytest.raises(DataError, match=r"did not complete.*rpicam-hello --list-cameras"):
        open_source("picamera2").open()
    assert picamera2.calls[-1] == "close"


def test_without_picamera2() -> None:
    if importlib.util.find_spec("picamera2") is not None:
        pytest.skip("Picamera2 is here")
    with pytest.raises(DataError, match=r"apt install python3-picamera2.*system-site-packages"):
        PiCamera().open()


def test_libcamera_is_a_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    class Capture:
        def __init__(self, pipeline: str, backend: int) -> None:
            opened.append((pipeline, backend))

        def isOpened(self) -> bool:
            return True

    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    monkeypatch.setattr(cv2.videoio_registry, "getCameraBackends", lambda: [cv2.CAP_GSTREAMER])
    open_source("libcamera:").open()
    open_source("libcamera:/base/soc/i2c0mux/i2c@1/imx219@10").open()
    open_source("gst:v4l2src device=/dev/video2").open()
    assert {backend for _, backend in opened} == {cv2.CAP_GSTREAMER}
    ending = "! videoconvert ! video/x-raw,format=BGR ! appsink max-buffers=1 drop=true sync=false"
    caps = "video/x-raw,width=640,height=480,framerate=30/1"
    assert [pipeline for pipeline, _ in opened] == [
        f"libcamerasrc ! {caps} {ending}",
        f'libcamerasrc camera-name="/base/soc/i2c0mux/i2c@1/imx219@10" ! {caps} {ending}',
        f"v4l2src device=/dev/video2 {ending}",
    ]
    with pytest.raises(DataError, match="expected a camera's name"):
        libcamera_pipeline('" ! filesink location=/tmp/x')


def test_opencv_without_gstreamer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2.videoio_registry, "getCameraBackends", lambda: [cv2.CAP_V4L2])
    with pytest.raises(DataError, match=r"built without GStreamer.*--source picamera2"):
        GStreamerCamera("videotestsrc", "GStreamer pipeline").open()


def test_systemd_hears_of_the_start_the_work_and_the_end(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(2)
        asked = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000000"}
        watchdog = ServiceWatchdog(asked)
        for _ in range(5):
            watchdog.alive()
        watchdog._last_s -= 10.0
        watchdog.alive()
        watchdog.close()
        heard = [systemd.recv(100).decode() for _ in range(4)]
        assert heard == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]
        # Meant for another process: no signs of life, but ready.
        other = ServiceWatchdog({**asked, "WATCHDOG_PID": str(os.getpid() + 1)})
        other.alive()
        other.close()
        assert [systemd.recv(100).decode() for _ in range(2)] == ["READY=1", "STOPPING=1"]


def test_without_systemd_nothing_is_sent() -> None:
    ServiceWatchdog({}).alive()
    # Nobody listens there: no reason to end.
    ServiceWatchdog({"NOTIFY_SOCKET": "/nowhere/notify"}).alive()
