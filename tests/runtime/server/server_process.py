"""A server in a process of its own, as a user starts it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

for package in ("fastapi", "fastapi_offline", "uvicorn", "websockets", "python_multipart"):
    pytest.importorskip(package, reason="needs the extra `serve`")
httpx = pytest.importorskip("httpx", reason="needs the package httpx")

ROOT = Path(__file__).parents[3]
MODEL = ROOT / "saved_models" / "ferplus_tiny"
PATIENCE_S = 60.0


@dataclass
class ServerProcess:
    """What a client needs to know, and how to end it."""

    process: "subprocess.Popen[str]"
    url: str

    @property
    def address(self) -> str:
        """Host and port."""
        return self.url.removeprefix("http://")

    def client(self, **options: object) -> Any:
        """A client of this server alone."""
        return httpx.Client(base_url=self.url, timeout=PATIENCE_S, trust_env=False, **options)

    def end(self) -> int:
        """Ask it to end; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@contextmanager
def started(*arguments: str, **environment: str) -> Iterator[ServerProcess]:
    """Start it on a free port, with a small model of its own project."""
    words = [sys.executable, "-m", "fer_keras.serve", "--port", "0", "--model", str(MODEL)]
    process = subprocess.Popen(
        [*words, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split("/docs")[0]
        assert url.startswith("http://"), "the server did not start"
        yield ServerProcess(process, url.replace("0.0.0.0", "127.0.0.1"))
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(PATIENCE_S)
        process.stdout.close()


def encoded(pixels: np.ndarray, suffix: str = ".png") -> bytes:
    """RGB or grey pixels as a picture file."""
    bgr = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    return cv2.imencode(suffix, np.ascontiguousarray(bgr))[1].tobytes()
