"""Serves the page on the loopback interface, and nothing else to nobody else without a token.

What it serves is a fixed list of files in memory. LiteRT.js is fetched by the build command and
never committed.
"""

import hmac
import socket
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fer_keras.common.errors import ConfigError
from fer_keras.runtime.server.settings import LOOPBACK, check_token
from fer_keras.runtime.web.site import SiteFile

_REQUEST_TIMEOUT_S = 10.0
# The same policy stands in index.html, so that it holds wherever the page is hosted; a <meta>
# cannot carry frame-ancestors. WebAssembly is compiled code, which has to be allowed by name.
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; object-src 'none'; "
    "base-uri 'none'; form-action 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": f"{CONTENT_POLICY}; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # A new build or model must not meet files of the old one.
    "Cache-Control": "no-store",
}


class PageServer(ThreadingHTTPServer):
    """A server of a fixed list of files, from memory.

    Args:
        site: Path relative to the page -> file.
        port: 0 takes a free one.
        host: The address to listen on.
        token: The first part of every path, which others than this machine need: a browser sends no
            header with an address that is typed in.

    Raises:
        ConfigError: The port is taken or not allowed, the host is not this machine's own and there
            is no token, or the token is malformed.
    """

    daemon_threads = True

    def __init__(
        self,
        site: Mapping[str, SiteFile],
        port: int,
        host: str = LOOPBACK[0],
        token: str | None = None,
    ) -> None:
        check_token(host, token)
        self.token = token
        self.files = {f"/{name}": file for name, file in site.items()}
        self.files["/"] = site["index.html"]
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise ConfigError(
                f"--port: {host}:{port} cannot be used ({error.strerror}). Choose another, or 0 "
                "for any free one"
            ) from error
        self._host = socket.gethostname() if host in ("0.0.0.0", "::") else _in_url(host)
        # A foreign site whose name is made to point here (DNS rebinding) sends its own name, but
        # knows no token.
        self.hosts = {f"{_in_url(name)}:{self.server_port}" for name in LOOPBACK}

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{self._host}:{self.server_port}/{f'{self.token}/' if self.token else ''}"

    def file_at(self, path: str) -> SiteFile | None:
        """The file of an address; None where there is none, or where the token is not in it.

        Args:
            path: As the browser sent it.
        """
        if self.token is not None:
            given, slash, rest = path.removeprefix("/").partition("/")
            if not hmac.compare_digest(given.encode(), self.token.encode()):
                return None
            path = slash + rest
        # Looked up as it stands: a query, an escape or a path of the disk is no key of the list.
        return self.files.get(path)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version = "fer_keras"
    sys_version = ""
    timeout = _REQUEST_TIMEOUT_S

    def do_GET(self) -> None:
        """A file of the list, or 404."""
        self._answer(with_content=True)

    def do_HEAD(self) -> None:
        """As GET, without the content."""
        self._answer(with_content=False)

    def _answer(self, with_content: bool) -> None:
        known = self.headers.get_all("Host") in [[host] for host in self.server.hosts]
        if self.server.token is None and not known:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "unknown host")
            return
        file = self.server.file_at(self.path)
        if file is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", file.media_type)
        self.send_header("Content-Length", str(len(file.content)))
        self.end_headers()
        if with_content:
            self.wfile.write(file.content)

    def _refuse(self) -> None:
        self.send_error(HTTPStatus.METHOD_NOT_ALLOWED)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def end_headers(self) -> None:
        """Adds the headers of every answer, errors too."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what is looked at is nobody's business."""
