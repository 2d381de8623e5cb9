"""One model behind the server: bytes in, faces out, without blocking the event loop."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fer_keras.common.decode import decode_image, image_size
from fer_keras.common.errors import DataError
from fer_keras.runtime.faces.face import Face
from fer_keras.runtime.faces.look import Look, look_at
from fer_keras.runtime.pictures import Pixels
from fer_keras.runtime.recognizer import FaceResult, Recognizer
from fer_keras.runtime.server.batches import CropBatches
from fer_keras.runtime.server.refusal import Refused
from fer_keras.runtime.server.settings import Limits

_T = TypeVar("_T")


class Reader:
    """Reads pictures in a few threads, and their crops in batches.

    Args:
        name: By which clients ask for the model.
        recognizer: With a model of single pictures.
        limits: `pixels` and `faces` hold for each picture.
        pool: The threads that decode, detect and crop; shared by all models.
        observe: See `CropBatches`.

    Attributes:
        name: As given.
        recognizer: As given.
    """

    def __init__(
        self,
        name: str,
        recognizer: Recognizer,
        limits: Limits,
        pool: ThreadPoolExecutor,
        observe: Callable[[int], None],
    ) -> None:
        self.name = name
        self.recognizer = recognizer
        self._limits = limits
        self._pool = pool
        self._batches = CropBatches(recognizer.read_crops, observe=observe)

    async def recognize(self, data: bytes, source: str) -> list[FaceResult]:
        """As `fer_keras.Recognizer.recognize`.

        Args:
            data: Of a picture file.
            source: What to call it in messages.

        Raises:
            Refused: It cannot be read, or is over a limit.
        """
        return await self._read(*await self.in_pool(self._find, data, source))

    async def read_crops(self, pictures: Sequence[bytes]) -> list[FaceResult]:
        """As `fer_keras.Recognizer.recognize` without a detector: each picture is one face.

        Args:
            pictures: Of picture files.

        Raises:
            Refused: One cannot be read, or is over a limit.
        """
        return await self._read(*await self.in_pool(self._ready, pictures))

    async def in_pool(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Do something in the threads; who gives up before it began is not worked for."""
        return await asyncio.wrap_future(self._pool.submit(work, *arguments))

    def decode(self, data: bytes, source: str) -> Pixels:
        """The pixels of a picture file.

        Raises:
            Refused: It cannot be read, or has too many pixels.
        """
        try:
            height, width = image_size(data, source=source)
            if height * width > self._limits.pixels:
                raise Refused(
                    413,
                    f"picture too large: expected at most {self._limits.pixels} pixels, received "
                    f"{width} x {height}: {source}",
                )
            return decode_image(data, channels=3, source=source)
        except DataError as error:
            raise Refused(422, str(error)) from error

    def check_faces(self, count: int, source: str) -> None:
        """Refuse a picture with too many faces.

        Raises:
            Refused: There are more than the limit.
        """
        if count > self._limits.faces:
            raise Refused(
                413,
                f"too many faces: expected at most {self._limits.faces}, found {count}: {source}",
            )

    def describe(self) -> dict[str, Any]:
        """The facts of the model, for clients."""
        recognizer = self.recognizer
        return {
            "name": self.name,
            "labels": [str(label) for label in recognizer.classes_],
            "image_size": list(recognizer.image_size),
            "channels": recognizer.channels,
            "file": recognizer.file_name,
            "sha256": recognizer.file_sha256,
            "prior": recognizer.prior,
            "reject_threshold": recognizer.decision.reject_threshold,
            "conformal_threshold": recognizer.decision.conformal_threshold,
        }

    def close(self) -> None:
        """End the thread of the batches."""
        self._batches.close()

    async def _read(
        self, faces: Sequence[Face], looks: Sequence[Look], crops: Sequence[Pixels]
    ) -> list[FaceResult]:
        if not faces:
            return []
        rows = await self._batches.read(crops)
        return [
            self.recognizer.result(face, row, look=look)
            for face, look, row in zip(faces, looks, rows, strict=True)
        ]

    def _find(self, data: bytes, source: str) -> tuple[list[Face], list[Look], list[Pixels]]:
        pixels = self.decode(data, source)
        found = self.recognizer.detect(pixels)
        self.check_faces(len(found), source)
        faces, looks = self.recognizer.worth_reading(pixels, found)
        return faces, looks, self.recognizer.crop_faces(pixels, faces)

    def _ready(self, pictures: Sequence[bytes]) -> tuple[list[Face], list[Look], list[Pixels]]:
        faces, looks, crops = [], [], []
        for number, data in enumerate(pictures, 1):
            pixels = self.decode(data, f"picture {number}")
            height, width = pixels.shape[:2]
            faces.append(Face((0.0, 0.0, float(width), float(height)), None, 1.0))
            looks.append(look_at(pixels, faces[-1], None))
            crops += self.recognizer.ready_crops([pixels])
        return faces, looks, crops
