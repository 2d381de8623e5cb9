"""Long streams, a network camera that goes and comes back, keys in a window (needs Xvfb)."""

import http.server
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_models import BRIGHT, DARK, write_export

from fer_keras.runtime import Recognizer
from fer_keras.runtime.stream.reader import FrameReader
from fer_keras.runtime.stream.sources import ArraySource, open_source, quiet_ffmpeg
from fer_keras.runtime.stream.stream import Stream


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_memory_over_twenty_thousand_frames(tmp_path: Path) -> None:
    """reliability: hours of video, constant memory. Faces come and go all the time."""
    frames = 20_000

    def visitors() -> Iterator[np.ndarray[Any, Any]]:
        rng = np.random.default_rng(0)
        for i in range(frames):
            picture = np.zeros((120, 160, 3), np.uint8)
            if i % 60 < 40:
                pattern = cv2.resize(BRIGHT if i % 120 < 60 else DARK, (40, 40))
                noise = rng.integers(0, 5, (40, 40), np.uint8)
                picture[40:80, i % 100 : i % 100 + 40] = (pattern // 2 + noise)[..., None]
            yield picture

    recognizer = Recognizer(write_export(tmp_path / "export"), detector="haar")
    used: list[float] = []
    with Stream(ArraySource(visitors), recognizer, detect_every=5) as stream:
        for moment in stream:
            if moment.frame is not None and moment.frame.index % 200 == 0:
                used.append(resident_mb())
    late = used[len(used) // 5 :]
    slope = np.polyfit(np.arange(len(late)) * 200, late, 1)[0] * 10_000
    print(f"{frames} frames: {late[0]:.1f} -> {late[-1]:.1f} MB, {slope:+.3f} MB per 10,000 frames")
    assert stream.num_frames == frames
    assert slope < 1


class NetworkCamera(http.server.ThreadingHTTPServer):
    """Serves motion JPEG; may fall silent, or hang up."""

    daemon_threads = True
    mode = "up"

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), NetworkPictures)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def hang_up(self) -> None:
        self.mode = "down"
        self.shutdown()
        self.server_close()


class NetworkPictures(http.server.BaseHTTPRequestHandler):
    server: NetworkCamera

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        rng = np.random.default_rng()
        while self.server.mode != "down":
            time.sleep(0.04)
            if self.server.mode == "up":
                noise = rng.integers(0, 256, (120, 160, 3), np.uint8)
                data = cv2.imencode(".jpg", noise)[1].tobytes()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")

    def log_message(self, *arguments: Any) -> None:
        pass


def test_network_camera_goes_and_comes_back() -> None:
    """Through OpenCV and FFmpeg: one that falls silent, and one that hangs up."""
    quiet_ffmpeg()
    camera = NetworkCamera()
    port = camera.server_address[1]
    with FrameReader(open_source(f"http://127.0.0.1:{port}/live")) as reader:

        def seconds_until(state: str) -> float:
            start = time.monotonic()
            while time.monotonic() - start < 20:
                frame = reader.next(0.05)
                if reader.state == state and (state != "live" or frame is not None):
                    return time.monotonic() - start
            raise AssertionError(f"not {state}, but {reader.state}")

        seconds_until("live")
        camera.mode = "silent"
        assert seconds_until("lost") <= 2
        time.sleep(2)
        camera.mode = "up"
        assert seconds_until("live") <= 5
        camera.hang_up()
        assert seconds_until("lost") <= 2
        time.sleep(3)
        camera = NetworkCamera(port)
        assert seconds_until("live") <= 5
        assert reader.losses == 2
    camera.hang_up()


@pytest.mark.skipif(
    shutil.which("Xvfb") is None or shutil.which("xdotool") is None,
    reason="needs Xvfb and xdotool",
)
def test_window_on_a_screen(tmp_path: Path) -> None:
    """The window appears, keys do what they say, Esc ends with 0."""
    export = write_export(tmp_path / "export")
    frames = tmp_path / "frames"
    frames.mkdir()
    for i in range(200):
        cv2.imwrite(str(frames / f"{i:03d}.png"), np.full((240, 320), i, np.uint8))
    display = f":{90 + os.getpid() % 9}"
    environment = {**os.environ, "DISPLAY": display}
    screen = subprocess.Popen(["Xvfb", display, "-screen", "0", "1000x700x24"])

    def do(*command: str) -> None:
        subprocess.run(["xdotool", *command], env=environment, check=True, capture_output=True)

    try:
        time.sleep(3)
        command = [sys.executable, "-m", "fer_keras.camera", "--source", str(frames), "--fps", "5"]
        command += ["--model", str(export), "--box", "120", "--snapshots", str(tmp_path)]
        camera = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        do("search", "--sync", "--name", "fer_keras")
        do("mousemove", "200", "200")
        time.sleep(3)
        for key in ("s", "m", "space", "space", "s", "Escape"):
            do("key", key)
            time.sleep(1)
        _, messages = camera.communicate(timeout=30)
    finally:
        screen.terminate()
        screen.wait()
    assert camera.returncode == 0, messages
    first, second = sorted(tmp_path.glob("snapshot-*.png"))
    assert cv2.imread(str(first)).shape == cv2.imread(str(second)).shape == (506, 856, 3)
    assert "faces, 1 track" in messages
