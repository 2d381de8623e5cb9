"""The server answers with the page's own files and with nothing else."""

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.runtime.web.server import CONTENT_POLICY, PageServer
from fer_keras.runtime.web.site import SiteFile

SITE = {
    "index.html": SiteFile(b"<p>page</p>", "text/html; charset=utf-8"),
    "vendor/wasm/x.wasm": SiteFile(b"\0asm", "application/wasm"),
}
STATIC = Path(__file__).parents[3] / "fer_keras" / "runtime" / "web" / "static"


@pytest.fixture(scope="module")
def server() -> Iterator[PageServer]:
    with PageServer(SITE, 0) as started:
        thread = threading.Thread(target=started.serve_forever)
        thread.start()
        yield started
        started.shutdown()
        thread.join()


def ask(
    server: PageServer, path: str, method: str = "GET", **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        if value:
            connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, response.headers, content


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "index.html"),
        ("/index.html", "index.html"),
        ("/vendor/wasm/x.wasm", "vendor/wasm/x.wasm"),
    ],
)
def test_a_listed_file_is_served_with_its_type(server: PageServer, path: str, name: str) -> None:
    status, headers, content = ask(server, path)
    assert (status, content) == (200, SITE[name].content)
    assert headers["Content-Type"] == SITE[name].media_type
    status, headers, content = ask(server, path, "HEAD")
    assert (status, content) == (200, b"")
    assert headers["Content-Length"] == str(len(SITE[name].content))


def test_every_answer_has_the_protecting_headers(server: PageServer) -> None:
    for status, headers, _ in (ask(server, "/"), ask(server, "/none"), ask(server, "/", "POST")):
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self';"), status
        # WebAssembly is allowed; eval, inline scripts and other hosts are not.
        assert "'wasm-unsafe-eval'" in policy
        assert "'unsafe-eval'" not in policy
        assert "'unsafe-inline'" not in policy
        assert "http" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Permissions-Policy"].startswith("camera=(self)")
        assert headers["Access-Control-Allow-Origin"] is None
        assert "Python" not in headers["Server"]


def test_the_page_carries_the_same_policy_for_other_servers() -> None:
    assert f'content="{CONTENT_POLICY}"' in (STATIC / "index.html").read_text()


@pytest.mark.parametrize(
    "path",
    [
        "/none",
        "/vendor",
        "/vendor/",
        "/vendor/wasm/",
        "/./index.html",
        "/vendor/../index.html",
        "/../server.py",
        "/..%2fserver.py",
        "/%2e%2e/server.py",
        "/static/../../errors.py",
        "/etc/passwd",
        "//etc/passwd",
        "/index.html?file=/etc/passwd",
        "/?",
        "/index.html%00",
        "/index.html/",
        "index.html",
        "/vendor/wasm/X.wasm",
    ],
)
def test_any_other_path_is_not_found(server: PageServer, path: str) -> None:
    status, _, content = ask(server, path)
    assert status == 404
    assert b"page" not in content
    assert b"root:" not in content


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "X"])
def test_only_get_and_head_are_answered(server: PageServer, method: str) -> None:
    status, _, content = ask(server, "/", method)
    assert status in (405, 501)
    assert b"page" not in content


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_machine_s_own_names_are_answered(server: PageServer, name: str) -> None:
    assert ask(server, "/", Host=f"{name}:{server.server_port}")[0] == 200


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:{port}", "127.0.0.1", "localhost:1", "127.0.0.1.x:{port}"],
)
def test_a_foreign_host_is_refused(server: PageServer, host: str) -> None:
    status, _, content = ask(server, "/", Host=host.format(port=server.server_port))
    assert status == 421
    assert b"page" not in content


def test_two_hosts_are_refused(server: PageServer) -> None:
    good = f"127.0.0.1:{server.server_port}"
    assert ask(server, "/", Host=good, host="evil.example")[0] == 421


def test_it_listens_on_the_loopback_interface_alone(server: PageServer) -> None:
    assert server.server_address[0] == "127.0.0.1"


def test_a_taken_port_is_one_line(server: PageServer) -> None:
    with pytest.raises(ConfigError, match=rf"--port: 127\.0\.0\.1:{server.server_port} cannot"):
        PageServer(SITE, server.server_port)


def test_others_than_this_machine_need_a_token() -> None:
    with pytest.raises(ConfigError, match=r"--host 0\.0\.0\.0: others .* need a token.*token-file"):
        PageServer(SITE, 0, "0.0.0.0")
    with pytest.raises(ConfigError, match="expected 16 to 256 letters"):
        PageServer(SITE, 0, "0.0.0.0", "short")
    token = "0123456789abcdef"
    with PageServer(SITE, 0, "0.0.0.0", token) as started:
        thread = threading.Thread(target=started.serve_forever)
        thread.start()
        try:
            assert started.url.endswith(f":{started.server_port}/{token}/")
            # The name is anybody's, the token nobody else's.
            foreign = {"Host": f"laptop:{started.server_port}"}
            for name, file in SITE.items():
                assert ask(started, f"/{token}/{name}", **foreign)[::2] == (200, file.content)
            assert ask(started, f"/{token}/", **foreign)[0] == 200
            for path in ("/", "/index.html", f"/{token}", f"/{token}x/", "/0123456789abcdee/"):
                assert ask(started, path)[0] == 404, path
        finally:
            started.shutdown()
            thread.join()
