"""Opens the port, and runs the server in this process or in several."""

import math
import os
import signal
import socket
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from types import FrameType

import uvicorn
from uvicorn.supervisors import Multiprocess

from fer_keras.common.errors import ConfigError
from fer_keras.runtime.server.app import build_app, open_recognizers
from fer_keras.runtime.server.figures import FOLDER_VARIABLE
from fer_keras.runtime.server.settings import Settings

# Connections that wait to be accepted.
_BACKLOG = 2048
# A process that says nothing for so long is replaced.
_STARTING_S = 60
# For what is under way when the server is told to end, beyond the limit of a request.
_GRACE_S = 5


def open_port(host: str, port: int) -> socket.socket:
    """Listen.

    Args:
        host: An address of this machine.
        port: 0 takes a free one.

    Returns:
        A socket whose connections send at once. asyncio asks for that only where a socket names its
        protocol, which `create_server` leaves open; without it the body of an answer waits 40 ms
        for the receipt of its headers.

    Raises:
        ConfigError: The port is taken or not allowed, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        code = error.errno or 0
        # A name that is not known has a code of its own kind.
        reason = os.strerror(code) if code > 0 else error.strerror
        raise ConfigError(
            f"--port: {host}:{port} cannot be used ({reason}). Choose another, or 0 for "
            "any free one"
        ) from error
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def serve(settings: Settings, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Answer until SIGTERM or Ctrl-C; then finish what is under way.

    Args:
        settings: What to serve, and to whom.
        listening: From `open_port`; it is closed in the end.
        ready: Called when the models are known to be usable.

    Raises:
        FerKerasError: A model cannot be used.
    """
    with ExitStack() as stack:
        stack.enter_context(listening)
        many = settings.workers > 1
        if many:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fer_keras-metrics-"))
            # The processes that are started read it at their start.
            os.environ[FOLDER_VARIABLE] = folder
            stack.callback(os.environ.pop, FOLDER_VARIABLE, None)
        if many:
            # A model that cannot be used is told here, not by every process again and again.
            open_recognizers(settings)
        config = uvicorn.Config(
            partial(build_app, settings) if many else build_app(settings),
            factory=many,
            workers=settings.workers,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws_max_size=settings.limits.body_bytes + 2**20,
            # Pictures are compressed already.
            ws_per_message_deflate=False,
            # A process that is still importing on a busy machine is not dead.
            timeout_worker_healthcheck=_STARTING_S,
            timeout_graceful_shutdown=math.ceil(settings.limits.seconds) + _GRACE_S,
        )
        ready()
        if many:
            Multiprocess(config, [listening]).run()
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            # uvicorn sends itself the signal again when it has ended: by then that is no news.
            signal.signal(number, _ignore)
        uvicorn.Server(config).run([listening])


def _ignore(number: int, frame: FrameType | None) -> None:
    pass
