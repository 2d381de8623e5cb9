"""The routes of the server, as an ASGI application."""

import logging
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from fastapi import APIRouter, FastAPI, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response

from fer_keras.common.errors import ConfigError, did_you_mean
from fer_keras.common.opencv import cv2
from fer_keras.runtime.recognizer import FaceResult, Precision, Recognizer
from fer_keras.runtime.server.bodies import is_form, read_pictures
from fer_keras.runtime.server.figures import Figures
from fer_keras.runtime.server.guard import STATIC_PATH, WEBSOCKET_PROTOCOL, Guard, deny
from fer_keras.runtime.server.live import LiveStream
from fer_keras.runtime.server.reader import Reader
from fer_keras.runtime.server.refusal import Refused, error_response
from fer_keras.runtime.server.schema import (
    ERRORS,
    PICTURES_BODY,
    FaceAnswer,
    HealthAnswer,
    ModelsAnswer,
)
from fer_keras.runtime.server.settings import Limits, Settings
from fer_keras.runtime.shipped import default_model


def build_app(settings: Settings) -> FastAPI:
    """The server of some models.

    Args:
        settings: What to serve, and to whom.

    Returns:
        An ASGI application; it opens the models now, and lets go of its threads when it ends.

    Raises:
        ConfigError: A setting does not fit a model, or two models have the same name.
        ModelFileError: A model cannot be used.
    """
    figures = Figures()
    # OpenCV has one thread count for the whole process; the pool is what uses the cores.
    cv2.setNumThreads(settings.threads)
    pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // settings.workers), "pictures")
    readers = {
        name: Reader(name, recognizer, settings.limits, pool, figures.batch_crops.observe)
        for name, recognizer in open_recognizers(settings).items()
    }

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        pool.shutdown()
        for reader in readers.values():
            reader.close()

    # Bodies that are no good would fill the log; their senders are told.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    app = FastAPIOffline(
        title="fer_keras",
        version=version("fer_keras"),
        description="Facial expressions from pictures. No picture is stored or logged.",
        redoc_url=None,
        static_url=STATIC_PATH,
        lifespan=lifespan,
    )
    app.include_router(_routes(readers, settings.limits, figures))
    app.include_router(_streams(readers, settings.limits, figures))
    app.include_router(_facts(readers, figures))
    _answer_errors_in_json(app)
    routes = frozenset(
        path for route in app.routes if (path := getattr(route, "path", "")) != STATIC_PATH
    )
    app.add_middleware(Guard, settings=settings, figures=figures, routes=routes)
    if settings.origins:
        # The last one added is the outermost: it answers what browsers ask before they ask.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    return app


def open_recognizers(settings: Settings) -> dict[str, Recognizer]:
    """Open the models of the settings.

    Args:
        settings: What to serve.

    Returns:
        Name -> recognizer; the first is the default.

    Raises:
        ConfigError: A setting does not fit a model, two models have the same name, or one reads
            pairs or clips.
        ModelFileError: A model cannot be used.
    """
    recognizers: dict[str, Recognizer] = {}
    for model in settings.models or (str(default_model()),):
        recognizer = Recognizer(
            model,
            detector=settings.detector,
            threads=settings.threads,
            precision=cast(Precision | None, settings.precision),
            prior=settings.prior,
            labels=settings.labels,
            min_face=settings.min_face,
            min_quality=settings.min_quality,
            min_score=settings.min_score,
        )
        name = str(recognizer.manifest.get("name") or Path(model).stem)
        if recognizer.input_kind != "image":
            # Those need to know who is on a picture, which a request does not say.
            raise ConfigError(
                "--model: expected a model of single pictures, received one of kind "
                f"{recognizer.input_kind!r}. Use python -m fer_keras.camera for it: {model}"
            )
        if name in recognizers:
            raise ConfigError(f"--model: two models have the name {name!r}. Leave one out: {model}")
        recognizers[name] = recognizer
    return recognizers


def _chosen(readers: Mapping[str, Reader], name: str | None) -> Reader:
    if name is None:
        return next(iter(readers.values()))
    if name not in readers:
        raise Refused(404, f"unknown model {name!r}. {did_you_mean(name, readers)}")
    return readers[name]


def _routes(readers: Mapping[str, Reader], limits: Limits, figures: Figures) -> APIRouter:
    router = APIRouter(responses=ERRORS)

    @router.post(
        "/v1/recognize",
        openapi_extra=PICTURES_BODY,
        response_model=list[FaceAnswer] | list[list[FaceAnswer]],
    )
    async def recognize(request: Request, model: str | None = None) -> JSONResponse:
        """Find the faces of pictures and read their expressions.

        A raw picture as the body is answered with the list of its faces, the largest first. A form
        (`multipart/form-data`) is answered with such a list for each of its files, in their order.
        """
        reader = _chosen(readers, model)
        pictures = await read_pictures(request, limits)
        answers = [
            await reader.recognize(data, f"picture {number}")
            for number, data in enumerate(pictures, 1)
        ]
        figures.faces.inc(sum(map(len, answers)))
        return JSONResponse(answers if is_form(request) else answers[0])

    @router.post("/v1/crops", openapi_extra=PICTURES_BODY, response_model=list[FaceAnswer])
    async def crops(request: Request, model: str | None = None) -> JSONResponse:
        """Read the expressions of pictures that are ready faces: nothing is looked for in them.

        The answer has one face for each picture, in their order.
        """
        reader = _chosen(readers, model)
        answers: Sequence[FaceResult] = await reader.read_crops(
            await read_pictures(request, limits)
        )
        figures.faces.inc(len(answers))
        return JSONResponse(answers)

    return router


def _streams(readers: Mapping[str, Reader], limits: Limits, figures: Figures) -> APIRouter:
    router = APIRouter()

    @router.websocket("/v1/stream")
    async def stream(websocket: WebSocket, model: str | None = None) -> None:
        try:
            reader = _chosen(readers, model)
        except Refused as refused:
            await deny(websocket, refused)
            return
        offered = websocket.scope.get("subprotocols", ())
        await websocket.accept(WEBSOCKET_PROTOCOL if WEBSOCKET_PROTOCOL in offered else None)
        await LiveStream(websocket, reader, limits, figures).run()

    return router


def _facts(readers: Mapping[str, Reader], figures: Figures) -> APIRouter:
    router = APIRouter()

    @router.get("/v1/models", response_model=ModelsAnswer)
    async def models() -> JSONResponse:
        """The models that are served; the default one answers where `model` is not given."""
        described: list[dict[str, Any]] = [reader.describe() for reader in readers.values()]
        return JSONResponse({"default": next(iter(readers)), "models": described})

    @router.get("/healthz", response_model=HealthAnswer)
    async def healthz() -> JSONResponse:
        """Whether the server answers; its models were tried when it started."""
        return JSONResponse({"status": "ok", "version": version("fer_keras")})

    @router.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Counts and times, for Prometheus."""
        return Response(figures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def _answer_errors_in_json(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        return error.response()

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        return error_response(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return error_response(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")

    @app.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> JSONResponse:
        # The server's own log has the reason; it is nobody else's business.
        return error_response(500, "the server failed; its log says why")
