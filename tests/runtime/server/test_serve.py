"""The server answers real clients as `Recognizer` does, and refuses the rest in one line."""

import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from server_process import PATIENCE_S, ServerProcess, encoded, started
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from fer_keras.runtime.recognizer import FaceResult, Recognizer
from fer_keras.runtime.server.run import open_port

FACES = [np.full((48, 48), grey, np.uint8) for grey in range(0, 250, 10)]


def as_json(results: object) -> object:
    return json.loads(json.dumps(results))


def refusal(answer: httpx.Response, status: int) -> str:
    """The one line that an answer refuses with."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert "\n" not in answer.text
    return str(answer.json()["error"])


def test_a_raw_picture_is_answered_as_recognize_does(
    server: ServerProcess, recognizer: Recognizer, photo: bytes
) -> None:
    with server.client() as client:
        answer = client.post("/v1/recognize", content=photo)
    expected = recognizer.recognize(photo)
    assert expected, "the photo has a face"
    assert answer.json() == as_json(expected)
    assert list(answer.json()[0]) == list(FaceResult.__annotations__)


def test_a_form_is_answered_picture_by_picture(
    server: ServerProcess, recognizer: Recognizer, photo: bytes
) -> None:
    blank = encoded(np.full((64, 64, 3), 90, np.uint8))
    files = [("picture", ("a.png", photo)), ("picture", ("b.png", blank))]
    with server.client() as client:
        answer = client.post("/v1/recognize", files=files)
        alone = client.post("/v1/recognize", files=files[:1])
    assert answer.json() == [as_json(recognizer.recognize(photo)), []]
    assert alone.json() == answer.json()[:1]


def test_crops_of_many_clients_are_answered_as_predict_proba_does(
    server: ServerProcess, recognizer: Recognizer
) -> None:
    expected = recognizer.predict_proba(FACES)
    with server.client() as client:
        together = client.post(
            "/v1/crops", files=[("picture", ("crop.png", encoded(face))) for face in FACES]
        ).json()
        with ThreadPoolExecutor(8) as pool:
            alone = list(
                pool.map(lambda face: client.post("/v1/crops", content=encoded(face)).json(), FACES)
            )
    labels = [str(label) for label in recognizer.classes_]
    rows = [[face["emotions"][label] for label in labels] for face in together]
    np.testing.assert_array_equal(np.array(rows, np.float32), expected)
    assert [[face] for face in together] == alone


def test_curl(server: ServerProcess, recognizer: Recognizer, photo: bytes, tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("needs curl")
    file = tmp_path / "photo.png"
    file.write_bytes(photo)
    words = [curl, "--silent", "--noproxy", "*"]
    raw = [*words, "--data-binary", f"@{file}", f"{server.url}/v1/recognize"]
    form = [*words, "-F", f"picture=@{file}", f"{server.url}/v1/recognize"]
    answers = [json.loads(subprocess.check_output(command)) for command in (raw, form)]
    expected = as_json(recognizer.recognize(photo))
    assert answers == [expected, [expected]]


def test_facts(server: ServerProcess, recognizer: Recognizer) -> None:
    with server.client() as client:
        models = client.get("/v1/models").json()
        assert client.get("/healthz").json()["status"] == "ok"
        before = client.get("/metrics").text
        client.post("/v1/crops", content=encoded(FACES[0]))
        after = client.get("/metrics").text
        other = client.post("/v1/crops?model=other", content=encoded(FACES[0]))
        routes = client.get("/openapi.json").json()["paths"]
    assert models["models"][0]["labels"] == list(recognizer.classes_)
    assert models["default"] == models["models"][0]["name"]
    assert refusal(other, 404) == f"unknown model 'other'. Known: {models['default']}."
    assert {"/v1/recognize", "/v1/crops", "/v1/models", "/healthz", "/metrics"} == {*routes}

    # As Prometheus reads it.
    parser = pytest.importorskip("prometheus_client.parser")
    counts = [
        {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in parser.text_string_to_metric_families(text)
            for sample in family.samples
        }
        for text in (before, after)
    ]
    assert counts[1]["fer_keras_faces_total",] == counts[0]["fer_keras_faces_total",] + 1
    # Nothing that counts goes down.
    assert all(
        counts[1][key] >= value for key, value in counts[0].items() if key[0].endswith("_total")
    )


def test_unknown_routes_and_methods_are_refused_in_one_line(server: ServerProcess) -> None:
    with server.client() as client:
        assert refusal(client.get("/v2/nothing"), 404)
        assert refusal(client.put("/v1/crops", content=b"1"), 405)


# ---- limits


def wait_for_a_request(server: ServerProcess) -> None:
    """Return when the server has begun with a request."""
    until = time.monotonic() + PATIENCE_S
    with server.client() as client:
        while "fer_keras_requests_under_way 1.0\n" not in client.get("/metrics").text:
            assert time.monotonic() < until, "the request does not arrive"
            time.sleep(0.02)


def test_bodies_over_the_limit_are_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    limits = ("--max-bytes", "60000", "--max-pixels", "30000", "--max-faces", "3")
    small, large = encoded(FACES[0]), encoded(noise)
    assert len(large) > 60000
    with started(*limits, "--detector", "none") as server, server.client() as client:
        told = client.post("/v1/recognize", content=large)
        assert refusal(told, 413) == "body too large: expected at most 60000 bytes"
        chunked = client.post("/v1/recognize", content=iter([large[:1000], large[1000:]]))
        assert refusal(chunked, 413) == "body too large: expected at most 60000 bytes"
        form = client.post("/v1/recognize", files={"picture": large})
        assert refusal(form, 413) == "body too large: expected at most 60000 bytes"
        wide = client.post("/v1/recognize", content=encoded(np.zeros((200, 200), np.uint8)))
        assert refusal(wide, 413) == (
            "picture too large: expected at most 30000 pixels, received 200 x 200: picture 1"
        )
        many = client.post("/v1/crops", files=[("picture", ("c.png", small))] * 4)
        assert refusal(many, 413).startswith("the form cannot be read: Too many files")
        assert client.post("/v1/crops", files=[("picture", ("c.png", small))] * 3).is_success


def test_requests_over_the_limit_are_refused_and_slow_ones_ended() -> None:
    crop = encoded(FACES[0])
    head = f"POST /v1/crops HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(crop)}\r\n\r\n"
    with started("--max-requests", "1", "--max-seconds", "6") as server:
        host, port = server.address.split(":")
        with socket.create_connection((host, int(port)), PATIENCE_S) as slow:
            slow.sendall(head.encode() + crop[:10])
            wait_for_a_request(server)
            with server.client() as client:
                busy = client.post("/v1/crops", content=crop)
                assert client.get("/healthz").is_success
            answer = b"".join(iter(lambda: slow.recv(65536), b"")).decode()
        assert refusal(busy, 503).startswith("too many requests at a time: expected at most 1")
        assert busy.headers["retry-after"] == "1"
        assert answer.startswith("HTTP/1.1 408")
        assert answer.endswith('{"error":"the body took longer than 6 s"}')
        with server.client() as client:
            assert client.post("/v1/crops", content=crop).is_success


# ---- who may ask


def test_others_need_a_token(tmp_path: Path) -> None:
    token = "a-token-of-some-length"
    (tmp_path / "token").write_text(token + "\n")
    crop = encoded(FACES[0])
    with (
        started("--host", "0.0.0.0", "--token-file", str(tmp_path / "token")) as server,
        server.client() as client,
    ):
        assert refusal(client.post("/v1/crops", content=crop), 401)
        wrong = {"Authorization": f"Bearer {token}x"}
        assert refusal(client.get("/v1/models", headers=wrong), 401)
        # Not in ASCII, which a comparison of str objects does not take.
        strange = {"Authorization": "Bearer ü".encode("latin-1")}
        assert refusal(client.get("/metrics", headers=strange), 401)
        right = {"Authorization": f"Bearer {token}"}
        assert client.post("/v1/crops", content=crop, headers=right).is_success
        assert client.get("/healthz").is_success
        assert token not in client.get("/openapi.json").text
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://{server.address}/v1/stream", proxy=None)
        assert refused.value.response.status_code == 401
        assert b"Authorization" in refused.value.response.body
        protocols = ["fer_keras", f"token.{token}"]
        address = f"ws://{server.address}/v1/stream"
        with connect(address, subprotocols=protocols, proxy=None) as stream:
            assert stream.subprotocol == "fer_keras"
            stream.send(crop)
            assert json.loads(stream.recv(PATIENCE_S))["faces"] == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--host", "0.0.0.0"), "others than this machine need a token"),
        (("--token-file", "/nowhere"), "--token-file: cannot be read"),
        (("--origin", "example.org"), "--origin: expected a scheme and a host"),
        (("--model", "/nowhere"), "no model found"),
        (("--detector", "mtcn"), "unknown face detector 'mtcn'"),
    ],
)
def test_what_cannot_be_served_is_one_line(arguments: tuple[str, ...], expected: str) -> None:
    words = [sys.executable, "-m", "fer_keras.serve", "--port", "0", *arguments]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S)
    _is_one_line(done, expected)


def test_a_taken_port_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        words = [sys.executable, "-m", "fer_keras.serve", "--port", port]
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S)
    _is_one_line(done, f"--port: 127.0.0.1:{port} cannot be used (Address already in use)")


def _is_one_line(done: "subprocess.CompletedProcess[str]", expected: str) -> None:
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr
    # LiteRT says hello.
    lines = [line for line in done.stderr.splitlines() if not line.startswith("INFO: ")]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")


def test_foreign_names_and_foreign_pages_are_refused(server: ServerProcess) -> None:
    crop = encoded(FACES[0])
    with server.client() as client:
        rebound = client.post("/v1/crops", content=crop, headers={"Host": "example.org:8000"})
        assert refusal(rebound, 421) == "expected a request to 127.0.0.1 or localhost"
        page = client.post("/v1/crops", content=crop, headers={"Origin": "https://example.org"})
        assert refusal(page, 403).startswith("a web page of another host may not ask")
        own = client.post("/v1/crops", content=crop, headers={"Origin": server.url})
        assert own.is_success
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{server.address}/v1/stream", origin="https://example.org", proxy=None)
    assert refused.value.response.status_code == 403


def test_pages_that_are_allowed_may_ask() -> None:
    page = {"Origin": "https://example.org"}
    with started("--origin", "https://example.org") as server, server.client() as client:
        asked = client.options(
            "/v1/crops", headers={**page, "Access-Control-Request-Method": "POST"}
        )
        assert asked.headers["access-control-allow-origin"] == "https://example.org"
        answer = client.post("/v1/crops", content=encoded(FACES[0]), headers=page)
        assert answer.headers["access-control-allow-origin"] == "https://example.org"


# ---- hostile bodies


def png_with_size(width: int, height: int) -> bytes:
    """A PNG whose head promises a size."""
    chunks = b"\x89PNG\r\n\x1a\n"
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for kind, data in ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 64)), (b"IEND", b"")):
        checksum = zlib.crc32(kind + data)
        chunks += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
    return chunks


def hostile_request(rng: random.Random, pictures: list[bytes]) -> tuple[str, bytes, str]:
    """A path, a body and its content type that mean no good."""
    picture = bytearray(rng.choice(pictures))
    kind = rng.randrange(8)
    if kind == 0:
        picture = bytearray(rng.randbytes(rng.randrange(3000)))
    elif kind == 1:
        picture = picture[: rng.randrange(len(picture))]
    elif kind == 2:
        for _ in range(rng.randrange(1, 40)):
            picture[rng.randrange(len(picture))] = rng.randrange(256)
    elif kind == 3:
        picture = bytearray(png_with_size(rng.randrange(2**32), rng.choice([0, 1, 9, 2**31])))
    elif kind == 4:
        start = rng.randrange(len(picture))
        picture[start : start + rng.randrange(200)] = rng.randbytes(rng.randrange(200))
    elif kind == 5:
        # The head alone, then noise.
        picture[rng.randrange(2, 60) :] = rng.randbytes(rng.randrange(500))
    body, content_type = bytes(picture), rng.choice(["image/jpeg", "", "text/html", "\xe4"])
    if rng.random() < 0.5:
        boundary = rng.choice(["x", "", "----b", "a" * 70, "a" * 400, '"', "x; x"])
        name = rng.choice(["picture", "", "\xff", "a" * 300, 'x"; filename="y'])
        part = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\n'
        ends = [f"\r\n--{boundary}--\r\n", f"\r\n--{boundary}", "\r\n", ""]
        body = part.encode("latin-1") + b"\r\n" + body + rng.choice(ends).encode()
        if rng.random() < 0.3:
            del (damaged := bytearray(body))[rng.randrange(len(body)) :]
            body = bytes(damaged)
        charset = rng.choice(["", "; charset=utf-16", "; charset=no-such", "; charset=\xe4"])
        content_type = f"multipart/form-data; boundary={boundary}{charset}"
    return rng.choice(["/v1/recognize", "/v1/crops"]), body, content_type


def send_hostile_requests(url: str, count: int, seed: int) -> dict[int, int]:
    """Send them; status -> how often. Every answer but 200 is one line of JSON."""
    rng = random.Random(seed)
    noise = np.random.default_rng(seed).integers(0, 256, (60, 50, 3), dtype=np.uint8)
    pictures = [encoded(noise, suffix) for suffix in (".png", ".jpg", ".bmp", ".webp")]
    statuses: dict[int, int] = {}
    with httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as client:
        for _ in range(count):
            path, body, content_type = hostile_request(rng, pictures)
            headers = {"Content-Type": content_type.encode("latin-1")}
            answer = client.post(path, content=body, headers=headers)
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
            if answer.status_code != 200:
                assert list(answer.json()) == ["error"]
                assert "\n" not in answer.text
            assert answer.status_code < 500, (content_type, body[:80], answer.text)
    return statuses


def test_hostile_bodies_are_refused_and_never_fail(server: ServerProcess) -> None:
    statuses = send_hostile_requests(server.url, count=400, seed=1)
    assert sum(statuses.values()) == 400
    assert statuses[422] > 50
    assert statuses[400] > 50
    with server.client() as client:
        assert client.post("/v1/crops", content=encoded(FACES[0])).is_success


# ---- the end, and many processes


def test_a_stop_finishes_what_is_under_way() -> None:
    crop = encoded(FACES[0])
    head = f"POST /v1/crops HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(crop)}\r\n\r\n"
    with started() as server:
        host, port = server.address.split(":")
        with socket.create_connection((host, int(port)), PATIENCE_S) as client:
            client.sendall(head.encode() + crop[:10])
            wait_for_a_request(server)
            server.process.send_signal(signal.SIGTERM)
            until = time.monotonic() + PATIENCE_S
            while _is_listening(host, int(port)):
                assert time.monotonic() < until, "new clients are still taken"
                time.sleep(0.05)
            assert server.process.poll() is None
            client.sendall(crop[10:])
            answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200")
        assert server.process.wait(PATIENCE_S) == 0


def _is_listening(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are told by Linux")
def test_workers_share_the_port_and_their_figures() -> None:
    crop = encoded(FACES[0])
    with started("--workers", "2") as server:
        for number in range(1, 21):
            # Each connection is a new one, and the kernel says which process takes it.
            with server.client() as client:
                assert client.post("/v1/crops", content=crop).is_success
                text = client.get("/metrics").text
            assert f"fer_keras_faces_total {number:.1f}\n" in text
        workers = _workers(server.process.pid)
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        until = time.monotonic() + PATIENCE_S
        while len(now := _workers(server.process.pid)) < 2 or workers[0] in now:
            assert time.monotonic() < until, "the worker was not replaced"
            time.sleep(0.2)
        with server.client() as client:
            assert client.post("/v1/crops", content=crop).is_success
        assert server.end() == 0
        assert not _workers(server.process.pid)


def _workers(parent: int) -> list[int]:
    """The processes below one that answer requests."""
    children = Path(f"/proc/{parent}/task/{parent}/children")
    pids = map(int, children.read_text().split()) if children.exists() else ()
    return [pid for pid in pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_answers_come_while_a_large_picture_is_read(server: ServerProcess) -> None:
    large = encoded(np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8))
    with server.client() as client:
        busy = threading.Thread(
            target=client.post, args=("/v1/recognize",), kwargs={"content": large}
        )
        busy.start()
        time.sleep(0.05)
        assert client.get("/healthz").is_success
        busy.join()


def test_connections_send_at_once() -> None:
    """Or the body of every answer waits 40 ms for the receipt of its headers."""
    with (
        open_port("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()),
    ):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
