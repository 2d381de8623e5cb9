"""The stream over a WebSocket: the newest frame counts, faces keep their numbers, rules hold."""

import json
import shutil
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from server_process import PATIENCE_S, ServerProcess, encoded, started
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect


@pytest.fixture
def stream(server: ServerProcess) -> Iterator[ClientConnection]:
    with connect(f"ws://{server.address}/v1/stream", proxy=None) as client:
        yield client


def answer_of(stream: ClientConnection, frame: bytes) -> dict[str, Any]:
    stream.send(frame)
    return json.loads(stream.recv(PATIENCE_S))


def until_closed(stream: ClientConnection) -> tuple[list[dict[str, Any]], int]:
    """What is still said, and the code of the end."""
    said = []
    while True:
        try:
            said.append(json.loads(stream.recv(PATIENCE_S)))
        except ConnectionClosed as closed:
            return said, closed.rcvd.code


def test_a_face_keeps_its_number(stream: ClientConnection, photo: bytes) -> None:
    answers = [answer_of(stream, photo) for _ in range(3)]
    assert [answer["frame"] for answer in answers] == [0, 1, 2]
    assert answers[0]["time_s"] == 0 < answers[1]["time_s"] < answers[2]["time_s"]
    tracks = [[face["track"] for face in answer["faces"]] for answer in answers]
    assert tracks == [[1], [1], [1]]
    # Later frames may be detected too, where the machine is slow.
    assert answers[0]["faces"][0]["face_source"] == "detected"
    assert sum(answers[0]["faces"][0]["emotions"].values()) == pytest.approx(1, abs=0.01)


def test_old_frames_are_dropped_and_not_queued(stream: ClientConnection, photo: bytes) -> None:
    count = 40
    for _ in range(count):
        stream.send(photo)
    answers = []
    while not answers or answers[-1]["frame"] < count - 1:
        answers.append(json.loads(stream.recv(PATIENCE_S)))
    numbers = [answer["frame"] for answer in answers]
    assert numbers == sorted(set(numbers))
    assert len(answers) < count
    # Nothing is left out of the count, and nothing else comes.
    assert answers[-1]["dropped"] + len(answers) == count
    with pytest.raises(TimeoutError):
        stream.recv(0.5)


def test_a_bad_frame_does_not_end_a_stream(stream: ClientConnection, photo: bytes) -> None:
    bad = answer_of(stream, b"no picture")
    assert bad["error"].startswith("unknown picture type")
    assert bad["error"].endswith("frame 0")
    assert answer_of(stream, photo)["faces"]


def test_text_is_refused(stream: ClientConnection) -> None:
    stream.send("hello")
    said, code = until_closed(stream)
    assert said == [{"error": "expected a picture as a binary message, received text"}]
    assert code == 1008


def test_limits_hold_for_frames() -> None:
    limits = ("--max-bytes", "5000", "--max-pixels", "3000", "--max-seconds", "2")
    with started(*limits, "--max-requests", "1") as server:
        address = f"ws://{server.address}/v1/stream"
        with connect(address, proxy=None) as stream:
            wide = answer_of(stream, encoded(np.zeros((60, 60), np.uint8)))
            assert wide["error"].startswith("picture too large: expected at most 3000 pixels")
            with server.client() as client:
                # An open stream is a request.
                assert client.post("/v1/crops", content=b"x").status_code == 503
            stream.send(bytes(5001))
            said, code = until_closed(stream)
            assert said[-1]["error"].startswith("picture too large: expected at most 5000 bytes")
            assert code == 1009
        time.sleep(0.2)
        with connect(address, proxy=None) as stream:
            said, code = until_closed(stream)
            assert said == [{"error": "no picture came for 2 s"}]
            assert code == 1008


def test_a_stop_ends_streams() -> None:
    with started() as server, connect(f"ws://{server.address}/v1/stream", proxy=None) as stream:
        answer_of(stream, encoded(np.zeros((64, 64), np.uint8)))
        assert server.end() == 0
        assert until_closed(stream) == ([], 1012)


# What a page does with its camera, here with a picture that it draws from bytes.
_PAGE = """async ([address, bytes]) => {
  const picture = await createImageBitmap(new Blob([new Uint8Array(bytes)]));
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  canvas.getContext("2d").drawImage(picture, 0, 0);
  const frame = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.9 });
  const socket = new WebSocket(address);
  const answers = [];
  return await new Promise((resolve, reject) => {
    socket.onerror = () => reject("the socket failed");
    socket.onopen = () => socket.send(frame);
    socket.onmessage = (message) => {
      answers.push(JSON.parse(message.data));
      if (answers.length < 3) socket.send(frame);
      else { socket.close(); resolve(answers); }
    };
  });
}"""


def test_a_browser_streams_and_the_page_of_routes_asks_nobody_else(
    server: ServerProcess, photo: bytes
) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs chromium on the path")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{server.url}/docs")
        page.get_by_text("/v1/recognize").first.wait_for()
        answers = page.evaluate(_PAGE, [f"ws://{server.address}/v1/stream", list(photo)])
        browser.close()
    assert [face["track"] for answer in answers for face in answer["faces"]] == [1, 1, 1]
    assert {url.split("/")[2] for url in asked if url.startswith("http")} == {server.address}
