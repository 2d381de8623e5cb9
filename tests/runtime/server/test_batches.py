"""Crops of several requests are read together; pictures stay in memory; slow answers end."""

import asyncio
import tempfile
import time
from collections.abc import Sequence

import numpy as np
import pytest
from server_process import MODEL, encoded, httpx

from fer_keras.runtime.pictures import Pixels
from fer_keras.runtime.recognizer import FaceResult, Recognizer
from fer_keras.runtime.server.app import build_app
from fer_keras.runtime.server.batches import CropBatches
from fer_keras.runtime.server.schema import FaceAnswer
from fer_keras.runtime.server.settings import Limits, Settings


def crop(grey: int) -> Pixels:
    return np.full((2, 2, 1), grey, np.uint8)


class SlowNetwork:
    """Answers with the grey level, after a while; notes its batches."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, crops: Sequence[Pixels]) -> np.ndarray:
        self.batches.append(len(crops))
        time.sleep(0.05)
        if any(pixels[0, 0, 0] == 255 for pixels in crops):
            raise ValueError("white")
        return np.array([[pixels[0, 0, 0]] for pixels in crops], np.float32)


def test_what_arrives_while_a_batch_is_read_is_the_next_one() -> None:
    network, seen = SlowNetwork(), []

    async def ask() -> list[np.ndarray]:
        batches = CropBatches(network, max_crops=4, observe=seen.append)
        first = asyncio.create_task(batches.read([crop(1)]))
        await asyncio.sleep(0.01)
        others = [asyncio.create_task(batches.read([crop(n), crop(n)])) for n in (2, 3, 4)]
        large = asyncio.create_task(batches.read([crop(5)] * 6))
        answers = await asyncio.gather(first, *others, large)
        batches.close()
        return answers

    answers = asyncio.run(ask())
    assert [answer[:, 0].tolist() for answer in answers] == [[1], [2, 2], [3, 3], [4, 4], [5] * 6]
    assert network.batches == seen == [1, 4, 2, 6]


def test_who_gives_up_is_not_read_and_an_error_reaches_its_own_batch_alone() -> None:
    network = SlowNetwork()

    async def ask() -> list[object]:
        batches = CropBatches(network)
        first = asyncio.create_task(batches.read([crop(255)]))
        await asyncio.sleep(0.01)
        gone = asyncio.create_task(batches.read([crop(2)]))
        kept = asyncio.create_task(batches.read([crop(3)]))
        await asyncio.sleep(0.01)
        gone.cancel()
        answers = await asyncio.gather(first, gone, kept, return_exceptions=True)
        batches.close()
        return answers

    failed, gone, kept = asyncio.run(ask())
    assert isinstance(failed, ValueError)
    assert isinstance(gone, asyncio.CancelledError)
    assert isinstance(kept, np.ndarray)
    assert network.batches == [1, 1]


def client(settings: Settings) -> "httpx.AsyncClient":
    transport = httpx.ASGITransport(build_app(settings))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


def test_no_picture_is_written_to_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a picture goes to the disk")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", refuse)
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    picture = encoded(noise)
    assert len(picture) > 2 * 2**20

    async def ask() -> "httpx.Response":
        async with client(Settings(models=(str(MODEL),), detector="none")) as asking:
            return await asking.post("/v1/recognize", files={"picture": picture})

    assert asyncio.run(ask()).status_code == 200


def test_a_slow_answer_ends_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recognizer, "detect", lambda *_: time.sleep(0.6) or [])
    limits = Limits(seconds=0.2)

    async def ask() -> "httpx.Response":
        async with client(Settings(models=(str(MODEL),), limits=limits)) as asking:
            return await asking.post("/v1/recognize", content=encoded(crop(9)))

    answer = asyncio.run(ask())
    assert answer.status_code == 503
    assert answer.json() == {"error": "the answer took longer than 0.2 s"}


def test_the_documented_face_is_the_one_that_is_answered() -> None:
    assert list(FaceAnswer.model_fields) == list(FaceResult.__annotations__)
