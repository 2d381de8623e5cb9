"""What the server answers a second, and how late: `python benchmarks/serve.py`.

Starts `python -m fer_keras.serve` and asks it over as many connections as there are clients, each
with its next request as soon as the last one is answered. `--requests` asks so many times instead
and prints the server's memory on the way. Clients and server share the machine. Other work on it
lowers the rates, but hardly the processor time that the server takes for a request, nor the rate as
a share of what `Recognizer` does without a server in the same minute, on one thread.
"""

import argparse
import asyncio
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_keras.common.arguments import positive, seconds
from fer_keras.runtime.recognizer import Recognizer
from fer_keras.runtime.shipped import default_model


def main() -> None:
    """Print a line for each number of clients, or the memory on the way."""
    arguments = _parser().parse_args()
    picture = _crop() if arguments.route == "crops" else _scene()
    with _server(arguments.model, arguments.workers) as (process, url):
        request = _request(url, arguments.route, picture)
        asyncio.run(_load(url, request, 4, time.monotonic() + 1))
        if arguments.requests:
            _print_memory(process, url, request, arguments)
            return
        print(f"{arguments.route}, {len(picture)} bytes each, {arguments.workers} worker(s)")
        print("clients   requests/s   of no server   p50 ms   p99 ms   CPU ms each        n")
        for clients in arguments.clients:
            alone = _rate_alone(arguments.model, arguments.route, picture)
            start_s, start_cpu_s = time.monotonic(), _processor_s(process.pid)
            times = asyncio.run(_load(url, request, clients, start_s + arguments.seconds))
            rate = len(times) / (time.monotonic() - start_s)
            cpu_ms = 1000 * (_processor_s(process.pid) - start_cpu_s) / len(times)
            p50, p99 = 1000 * np.percentile(times, (50, 99))
            print(
                f"{clients:7d}   {rate:10.1f}   {rate / alone:12.2f}   {p50:6.1f}   {p99:6.1f}   "
                f"{cpu_ms:11.2f}   {len(times):6d}",
                flush=True,
            )


def _print_memory(
    process: "subprocess.Popen[str]", url: str, request: bytes, arguments: argparse.Namespace
) -> None:
    print("requests   server MiB   requests/s")
    step = max(1, arguments.requests // 10)
    print(f"{0:8d}   {_memory_mib(process.pid):10.1f}", flush=True)
    for done in range(step, arguments.requests + 1, step):
        start_s = time.monotonic()
        asyncio.run(_load(url, request, arguments.clients[0], count=step))
        rate = step / (time.monotonic() - start_s)
        print(f"{done:8d}   {_memory_mib(process.pid):10.1f}   {rate:10.1f}", flush=True)


async def _load(
    url: str, request: bytes, clients: int, until_s: float = math.inf, count: int = sys.maxsize
) -> list[float]:
    """Ask until a time or for so many answers; the seconds that each took."""
    times: list[float] = []
    left = iter(range(count))

    async def ask() -> None:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        while time.monotonic() < until_s and next(left, None) is not None:
            start_s = time.perf_counter()
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if not head.startswith(b"http/1.1 200"):
                raise SystemExit(f"the server said {head.splitlines()[0].decode()}")
            length = head.partition(b"content-length:")[2].split(b"\r\n")[0]
            await reader.readexactly(int(length))
            times.append(time.perf_counter() - start_s)
        writer.close()

    await asyncio.gather(*(ask() for _ in range(clients)))
    return times


def _rate_alone(model: str, route: str, picture: bytes) -> float:
    """Pictures a second of one `Recognizer` in this process, for about two seconds."""
    recognizer = Recognizer(model, detector="mtcnn" if route == "recognize" else "none")
    recognizer.recognize(picture)
    start_s = time.monotonic()
    count = 0
    while time.monotonic() < start_s + 2:
        recognizer.recognize(picture)
        count += 1
    return count / (time.monotonic() - start_s)


def _request(url: str, route: str, picture: bytes) -> bytes:
    head = (
        f"POST /v1/{route} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n"
        f"Content-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
    )
    return head.encode() + picture


@contextmanager
def _server(model: str, workers: int) -> "Iterator[tuple[subprocess.Popen[str], str]]":
    words = ["-m", "fer_keras.serve", "--port", "0", "--model", model, "--workers", str(workers)]
    words += ["--max-requests", "256"]
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None:
            raise SystemExit("the server has no output")
        yield process, process.stdout.readline().split("/docs")[0]
    finally:
        process.terminate()
        process.wait()


def _processor_s(pid: int) -> float:
    """Processor time of a process and its children so far, in seconds; Linux."""
    ticks = 0
    for number in _family(pid):
        words = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        ticks += int(words[11]) + int(words[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _family(pid: int) -> list[str]:
    return [str(pid), *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _memory_mib(pid: int) -> float:
    """Resident memory of a process and its children, in MiB; Linux."""
    total_kib = 0
    for number in _family(pid):
        for line in Path(f"/proc/{number}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total_kib += int(line.split()[1])
    return total_kib / 1024


def _crop() -> bytes:
    """A ready crop: a smooth picture of 96 x 96."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return _jpeg(cv2.resize(coarse, (96, 96), interpolation=cv2.INTER_CUBIC))


def _scene() -> bytes:
    """A frame of 640 x 480 with one drawn face."""
    from fer_keras.data.drawn_faces.face_canvas import View
    from fer_keras.data.drawn_faces.face_drawing import draw_face
    from fer_keras.data.drawn_faces.face_parameters import PROTOTYPES, make_identity

    frame = np.full((480, 640, 3), 128, np.uint8)
    face = draw_face(make_identity(7, 1000), PROTOTYPES["happiness"][0][0], View(), 240)[0]
    frame[120:360, 200:440] = face[..., ::-1]
    return _jpeg(frame)


def _jpeg(bgr: NDArray[np.uint8]) -> bytes:
    return bytes(cv2.imencode(".jpg", bgr)[1].tobytes())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--route", choices=("crops", "recognize"), default="crops")
    parser.add_argument("--model", default=str(default_model()), help="default: the shipped model")
    parser.add_argument("--workers", type=positive, default=1, help="default: 1")
    parser.add_argument("--clients", type=positive, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=seconds, default=10.0, help="for each (default: 10)")
    parser.add_argument("--requests", type=positive, help="print the memory over so many instead")
    return parser


if __name__ == "__main__":
    main()
