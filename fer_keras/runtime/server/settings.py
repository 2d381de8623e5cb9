"""What a server may be told, checked before a port is opened; it travels to worker processes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from fer_keras.common.errors import ConfigError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# What a WebSocket's subprotocol may hold too: browsers can send a token nowhere else.
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,256}")
_ORIGIN = re.compile(r"https?://[^/\s]+")


def check_token(host: str, token: str | None) -> None:
    """Refuses to let others than this machine in without a token, and a token that cannot be one.

    Args:
        host: The address to listen on.
        token: What others must show.

    Raises:
        ConfigError: There is none, or it is too short or has other characters.
    """
    if host not in LOOPBACK and token is None:
        raise ConfigError(
            f"--host {host}: others than this machine need a token. Write one into a file "
            'with: python -c "import secrets; print(secrets.token_urlsafe(32))" and give '
            "--token-file FILE"
        )
    if token is not None and not _TOKEN.fullmatch(token):
        raise ConfigError(
            "token: expected 16 to 256 letters, digits, '.', '_', '~' or '-', received "
            f"{len(token)} characters. Make one with: "
            'python -c "import secrets; print(secrets.token_urlsafe(32))"'
        )


@dataclass(frozen=True)
class Limits:
    """How much one client may ask for. Each is at least 1 (`seconds` over 0).

    Attributes:
        body_bytes: Of one request, or of one frame of a stream.
        pixels: Of one picture, width times height.
        faces: In one picture; also the pictures or crops of one request.
        requests: At a time, in each worker process; an open stream is one.
        seconds: From the head of a request to its answer; for a stream, between two frames.
    """

    body_bytes: int = 16 * 1024 * 1024
    pixels: int = 16_000_000
    faces: int = 64
    requests: int = 64
    seconds: float = 30.0


@dataclass(frozen=True)
class Settings:
    """What to serve, where, and to whom.

    Attributes:
        models: Export folders or files; empty for the shipped model. The first is the default.
        detector: As for `fer_keras.Recognizer`.
        precision: As for `fer_keras.Recognizer`.
        threads: How many threads LiteRT uses, at least 1.
        prior: As for `fer_keras.Recognizer`.
        labels: As for `fer_keras.Recognizer`.
        min_face: As for `fer_keras.Recognizer`.
        min_quality: As for `fer_keras.Recognizer`; ready crops are all read.
        min_score: Likewise.
        host: The address to listen on.
        port: 0 takes a free one.
        token: What clients must show; None where everybody on this machine may ask.
        origins: Web pages of other hosts that may ask, as `https://example.org`.
        workers: How many processes.
        limits: See `Limits`.

    Raises:
        ConfigError: The host is not this machine's own and there is no token, or a token or an
            origin is malformed.
    """

    models: Sequence[str] = ()
    detector: str = "mtcnn"
    precision: str | None = None
    threads: int = 1
    prior: Sequence[str] | None = None
    labels: Sequence[str] = ()
    min_face: int | None = None
    min_quality: float = 0.0
    min_score: float = 0.0
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    origins: Sequence[str] = ()
    workers: int = 1
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        check_token(self.host, self.token)
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise ConfigError(
                    f"--origin: expected a scheme and a host, such as https://example.org, "
                    f"received {origin!r}"
                )
