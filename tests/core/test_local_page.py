from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from sinew.core.errors import ConfigError, DataError, SinewError
from sinew.core.local_page import MAX_BYTES, LocalPage, Reply

JSON = {"Content-Type": "application/json"}


def get(path: str) -> Reply | None:
    """Answer the page itself and one more path."""
    answers = {
        "": Reply(b"<script nonce='%NONCE%'></script>", "text/html; charset=utf-8"),
        "one": Reply.json(1),
    }
    return answers.get(path)


def post(path: str, content: Any) -> Reply | None:  # noqa: ANN401
    """Say back what was said, but not everything."""
    if content == "bad":
        raise DataError("that is no good.")
    return Reply.json(content) if path == "echo" else None


@pytest.fixture
def page() -> Iterator[LocalPage]:
    """A page that is up."""
    with LocalPage(get, post) as page:
        yield page


def ask(
    page: LocalPage,
    path: str,
    body: bytes | None = None,
    *,
    headers: dict[str, str] | None = None,
    method: str = "",
    whole: bool = True,
) -> tuple[int, Any, http.client.HTTPMessage]:
    """Send one request, below the secret unless ``whole`` is False, and return code, content and headers."""
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)
    connection.request(
        method or ("GET" if body is None else "POST"),
        f"/{page.token}/{path}" if whole else path,
        body,
        headers=headers or (JSON if body is not None else {}),
    )
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    is_json = reply.headers.get_content_type() == "application/json"
    return reply.status, json.loads(content) if is_json else content, reply.headers


def test_page_answers_what_it_has_and_404_to_the_rest(page: LocalPage) -> None:
    assert ask(page, "one")[:2] == (200, 1)
    assert ask(page, "two")[0] == 404
    assert ask(page, "echo", b'{"a": [1]}')[:2] == (200, {"a": [1]})
    assert ask(page, "elsewhere", b"1")[0] == 404


def test_html_may_run_its_own_script_and_nothing_else(page: LocalPage) -> None:
    status, content, headers = ask(page, "")
    assert status == 200
    assert content == f"<script nonce='{page.nonce}'></script>".encode()
    policy = headers["Content-Security-Policy"]
    assert f"script-src 'nonce-{page.nonce}'" in policy
    assert "default-src 'none'" in policy
    assert (headers["X-Content-Type-Options"], headers["Cache-Control"]) == ("nosniff", "no-store")


def test_it_listens_on_the_loopback_interface_only(page: LocalPage) -> None:
    assert page._server.socket.getsockname()[0] == "127.0.0.1"


def test_two_pages_have_different_secrets(page: LocalPage) -> None:
    with LocalPage(get, post) as other:
        assert other.token != page.token
        assert ask(other, f"/{page.token}/one", whole=False)[0] == 404


@pytest.mark.parametrize("path", ["/", "/one", "/wrong/one", "//one", "/%00/one", "/../one", "/%C3%A9/one", "//["])
def test_without_the_secret_there_is_nothing(page: LocalPage, path: str) -> None:
    assert ask(page, path, whole=False)[0] == 404
    assert ask(page, path, b"1", whole=False)[0] == 404


@pytest.mark.parametrize(
    "path", ["../../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "/etc/passwd", "one/../../one", "..%5c..%5cone"]
)
def test_a_path_leads_to_no_file(page: LocalPage, path: str) -> None:
    status, content, _ = ask(page, path)
    assert status == 404
    assert set(content) == {"error"}


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost", ""])
def test_a_foreign_name_that_points_here_is_refused(page: LocalPage, host: str) -> None:
    assert ask(page, "one", headers={"Host": host})[0] == 403


def test_localhost_is_an_own_name(page: LocalPage) -> None:
    assert ask(page, "one", headers={"Host": f"localhost:{page.port}"})[0] == 200


def test_another_pages_message_is_refused(page: LocalPage) -> None:
    assert ask(page, "echo", b"1", headers={**JSON, "Origin": "http://evil.example"})[0] == 403
    assert ask(page, "echo", b"1", headers={**JSON, "Origin": "null"})[0] == 403
    assert ask(page, "echo", b"1", headers={**JSON, "Origin": f"http://127.0.0.1:{page.port}"})[0] == 200


def test_a_large_message_is_refused_before_it_is_read(page: LocalPage) -> None:
    with socket.create_connection(("127.0.0.1", page.port), timeout=10) as connection:
        request = f"POST /{page.token}/echo HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\nContent-Length: 1000000000\r\n"
        connection.sendall(f"{request}Content-Type: application/json\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")
    assert ask(page, "echo", b'"' + b"a" * (MAX_BYTES - 2) + b'"')[0] == 200


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", JSON, 400),
        (b"\xff\xfe\xfd", JSON, 400),
        (b"[" * 60000, JSON, 400),
        (b"1", {"Content-Type": "text/plain"}, 415),
        (b"1", {**JSON, "Content-Length": "-1"}, 411),
        (b"1", {**JSON, "Content-Length": "²"}, 411),
        (b'"bad"', JSON, 400),
    ],
)
def test_a_message_that_makes_no_sense_gets_an_error(
    page: LocalPage, body: bytes, headers: dict[str, str], status: int
) -> None:
    found, content, _ = ask(page, "echo", body, headers=headers)
    assert found == status
    assert content["error"]
    assert ask(page, "one")[0] == 200


def test_a_message_in_chunks_is_refused(page: LocalPage) -> None:
    assert ask(page, "echo", b"1", headers={**JSON, "Transfer-Encoding": "chunked"}, method="POST")[0] in (400, 411)


def test_other_methods_do_nothing(page: LocalPage) -> None:
    assert ask(page, "one", method="DELETE")[0] == 501


def test_one_connection_carries_several_requests(page: LocalPage) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)
    for _ in range(3):
        connection.request("POST", f"/{page.token}/echo", b"[1]", JSON)
        assert connection.getresponse().read() == b"[1]"
    connection.close()


def test_a_taken_port_is_an_error_of_ours(page: LocalPage) -> None:
    with pytest.raises(SinewError, match=f"port {page.port}"):
        LocalPage(get, post, port=page.port)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_cannot_be_is_an_error_of_ours(port: int) -> None:
    with pytest.raises(ConfigError, match=f"port {port}: there is no such port"):
        LocalPage(get, post, port=port)


def test_nothing_answers_after_the_end() -> None:
    with LocalPage(get, post) as page:
        port = page.port
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=10)
