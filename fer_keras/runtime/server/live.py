"""A stream over a WebSocket: pictures in, tracked faces out, the newest picture first.

A client may send as fast as it likes. While a picture is read, the one that waits is replaced by
what comes after it: nothing queues, so what is answered is never old.
"""

import asyncio
import contextlib
import time
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from fer_keras.runtime.server.figures import Figures
from fer_keras.runtime.server.reader import Reader
from fer_keras.runtime.server.refusal import Refused
from fer_keras.runtime.server.settings import Limits
from fer_keras.runtime.stream.follow import Follower
from fer_keras.runtime.stream.sources import Frame

# Of RFC 6455: a message is against the rules; a message is too big.
_POLICY, _TOO_BIG = 1008, 1009


class LiveStream:
    """One client's stream.

    Args:
        websocket: Accepted.
        reader: With the model.
        limits: `body_bytes` for each picture, `seconds` for the pause between two of them and for
            a client that reads no answers.
        figures: Told of the frames.
    """

    def __init__(
        self, websocket: WebSocket, reader: Reader, limits: Limits, figures: Figures
    ) -> None:
        self._websocket = websocket
        self._reader = reader
        self._limits = limits
        self._figures = figures
        self._follower = Follower(reader.recognizer)
        self._newest: tuple[int, float, bytes] | None = None
        self._arrived = asyncio.Event()
        self._num_received = self._num_dropped = 0

    async def run(self) -> None:
        """Go on until the client goes, or breaks a rule, which it is told in one line of JSON."""
        receiving = asyncio.create_task(self._receive())
        answering = asyncio.create_task(self._answer())
        try:
            await asyncio.wait((receiving, answering), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (receiving, answering):
                task.cancel()
        done = await asyncio.gather(receiving, answering, return_exceptions=True)
        for error in done:
            if isinstance(error, Refused):
                await self._end(error)
            elif isinstance(error, Exception) and not isinstance(error, WebSocketDisconnect):
                raise error

    async def _receive(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._limits.seconds):
                    message = await self._websocket.receive()
            except TimeoutError as error:
                pause = f"no picture came for {self._limits.seconds:g} s"
                raise Refused(408, pause) from error
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("bytes")
            if data is None:
                raise Refused(400, "expected a picture as a binary message, received text")
            if len(data) > self._limits.body_bytes:
                raise Refused(
                    413,
                    f"picture too large: expected at most {self._limits.body_bytes} bytes, "
                    f"received {len(data)}",
                )
            if self._newest is not None:
                self._num_dropped += 1
                self._figures.frames.labels("dropped").inc()
            self._newest = self._num_received, time.monotonic(), data
            self._num_received += 1
            self._arrived.set()

    async def _answer(self) -> None:
        start_s: float | None = None
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if self._newest is None:
                continue
            number, arrived_s, data = self._newest
            self._newest = None
            start_s = arrived_s if start_s is None else start_s
            where = {"frame": number, "time_s": round(arrived_s - start_s, 3)}
            try:
                faces = await self._reader.in_pool(self._read, number, where["time_s"], data)
                answer: dict[str, Any] = {**where, "dropped": self._num_dropped, "faces": faces}
                self._figures.frames.labels("read").inc()
                self._figures.faces.inc(len(faces))
            except Refused as refused:
                # One bad frame of a camera is no reason to end.
                answer = {**where, "dropped": self._num_dropped, "error": refused.message}
                self._figures.frames.labels("refused").inc()
            try:
                async with asyncio.timeout(self._limits.seconds):
                    await self._websocket.send_json(answer)
            except TimeoutError as error:
                raise Refused(408, "the answers are not being read") from error

    def _read(self, number: int, time_s: float, data: bytes) -> list[dict[str, Any]]:
        source = f"frame {number}"
        began_s = time.perf_counter()
        pixels = self._reader.decode(data, source)
        decode_s = time.perf_counter() - began_s
        moment = self._follower.read(Frame(number, time_s, pixels, decode_s))
        self._reader.check_faces(len(moment.faces), source)
        return [{**face.result, "face_source": face.source} for face in moment.faces]

    async def _end(self, refused: Refused) -> None:
        code = _TOO_BIG if refused.status == 413 else _POLICY
        if self._websocket.application_state is not WebSocketState.CONNECTED:
            return
        # The client may be gone by now, or may not be reading.
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
            async with asyncio.timeout(1):
                await self._websocket.send_json({"error": refused.message})
                await self._websocket.close(code)
