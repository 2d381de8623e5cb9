"""Serves the page on the loopback interface, and nothing else to nobody else.

What it serves is a fixed list of files in memory. LiteRT.js is fetched by the build command and
never committed.
"""

from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fer_keras.common.errors import ConfigError
from fer_keras.runtime.web.site import SiteFile

HOST = "127.0.0.1"
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

    Raises:
        ConfigError: The port is taken or not allowed.
    """

    daemon_threads = True

    def __init__(self, site: Mapping[str, SiteFile], port: int) -> None:
        self.files = {f"/{name}": file for name, file in site.items()}
        self.files["/"] = site["index.html"]
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise ConfigError(
                f"--port: {HOST}:{port} cannot be used ({error.strerror}). Choose another, or "
                "0 for any free one"
            ) from error
        # A foreign site whose name is made to point here (DNS rebinding) sends its own name.
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self.server_port}/"


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
        if self.headers.get_all("Host") not in [[host] for host in self.server.hosts]:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "unknown host")
            return
        # Looked up as it stands: a query, an escape or a path of the disk is no key of the list.
        file = self.server.files.get(self.path)
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
