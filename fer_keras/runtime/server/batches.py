"""Crops of many requests in one run of the network.

Nothing waits on purpose: while one batch is read, what arrives becomes the next one. So a lone
request is answered at once, and under load batches grow by themselves.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from fer_keras.runtime.pictures import Pixels

Probabilities = NDArray[np.float32]
ReadCrops = Callable[[Sequence[Pixels]], Probabilities]


class CropBatches:
    """Gathers crops and reads them together; used from one event loop.

    Args:
        read: Crops -> probabilities `(n, classes)`; called in a thread of its own, never twice at
            the same time.
        max_crops: Of several requests together; one request with more is read alone.
        observe: Told how many crops each batch had.
    """

    def __init__(
        self,
        read: ReadCrops,
        max_crops: int = 32,
        observe: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._read = read
        self._max_crops = max_crops
        self._observe = observe
        self._waiting: deque[tuple[Sequence[Pixels], asyncio.Future[Probabilities]]] = deque()
        self._runner: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "crop batches")

    async def read(self, crops: Sequence[Pixels]) -> Probabilities:
        """Read crops, together with those of others.

        Args:
            crops: As `fer_keras.Recognizer.read_crops` takes them.

        Returns:
            Their probabilities, float32 `(n, classes)`.

        Raises:
            FerKerasError: What the network says.
        """
        future: asyncio.Future[Probabilities] = asyncio.get_running_loop().create_future()
        self._waiting.append((crops, future))
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        return await future

    def close(self) -> None:
        """End the thread, after the batch that it is reading."""
        self._thread.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next():
            crops = [crop for part, _ in batch for crop in part]
            self._observe(len(crops))
            try:
                rows = await loop.run_in_executor(self._thread, self._read, crops)
            except Exception as error:  # Handed on to those who wait for it.
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            start = 0
            for part, future in batch:
                if not future.done():
                    future.set_result(rows[start : start + len(part)])
                start += len(part)

    def _next(self) -> list[tuple[Sequence[Pixels], "asyncio.Future[Probabilities]"]]:
        batch: list[tuple[Sequence[Pixels], asyncio.Future[Probabilities]]] = []
        size = 0
        while self._waiting:
            crops, future = self._waiting[0]
            if batch and size + len(crops) > self._max_crops:
                break
            self._waiting.popleft()
            # Who has given up in the meantime is not read.
            if not future.done():
                batch.append((crops, future))
                size += len(crops)
        return batch
