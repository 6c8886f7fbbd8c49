"""A page for the browser on this machine: one small HTTP server that nothing else may talk to.

It listens on the loopback interface only. Other programs and web pages reach that too, so the address
holds a secret, the ``Host`` must be this server's own (a foreign name that was made to point here is
refused) and so must the ``Origin``, and no message is read before its length is known to be small.
"""

from __future__ import annotations

import json
import secrets
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from sinew.core.errors import ConfigError, SinewError

HOST = "127.0.0.1"
MAX_BYTES = 64 * 1024
"""Largest message that is read."""
SILENCE = 30.0
"""How long a connection may say nothing [s]."""


@dataclass(frozen=True)
class Reply:
    """What a path answers.

    Attributes:
        body: bytes to send.
        kind: their media type.
        status: HTTP code.
        then: called when it has been sent.
    """

    body: bytes
    kind: str = "application/json"
    status: int = 200
    then: Callable[[], None] | None = None

    @classmethod
    def json(cls, content: Any, status: int = 200) -> Reply:  # noqa: ANN401  (any JSON value)
        """Return a JSON answer."""
        return cls(json.dumps(content).encode(), status=status)

    @classmethod
    def error(cls, status: int, message: str) -> Reply:
        """Return an answer that says what was wrong."""
        return cls.json({"error": message}, status)


class LocalPage:
    """Serves a page until it is closed; use it in a ``with`` block.

    Args:
        get: answers a path below the secret one, "" for the page itself; None where there is nothing.
            In HTML, ``%NONCE%`` is replaced by what lets a script or style run.
        post: answers a path to which a JSON value was sent. A ``SinewError`` becomes an answer 400.
        port: to listen on; 0 for any that is free.

    Raises:
        ConfigError: there is no such port.
        SinewError: the port is taken.
    """

    def __init__(
        self, get: Callable[[str], Reply | None], post: Callable[[str, Any], Reply | None], *, port: int = 0
    ) -> None:
        if not 0 <= port < 65536:
            raise ConfigError(f"port {port}: there is no such port. Choose one up to 65535, or 0 for any that is free.")
        self.get, self.post = get, post
        self.token, self.nonce = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
        page = self

        class Handler(_Handler):
            owner = page

        try:
            self._server = _Server((HOST, port), Handler)
        except OSError as error:
            raise SinewError(
                f"port {port}: could not be listened on ({error.strerror}). Choose another, or 0 for any."
            ) from error
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """The address of the page, secret included."""
        return f"http://{HOST}:{self.port}/{self.token}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a browser keeps connections open

    def server_bind(self) -> None:
        """Bind without asking a name server what this machine is called, which can take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  (as inherited)
        """Say nothing of a browser that leaves in the middle of an answer."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    owner: LocalPage
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "sinew", ""
    timeout = SILENCE

    def do_GET(self) -> None:
        """Answer a question."""
        self._send(self._refusal() or self._answer(self.owner.get, self._path()))

    def do_POST(self) -> None:
        """Take a message."""
        refusal = self._refusal() or self._body_refusal()
        if refusal is not None:
            self.close_connection = True  # what was sent along is not read
            self._send(refusal)
            return
        try:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        except (ValueError, RecursionError) as error:
            self._send(Reply.error(400, f"the message is not JSON ({error})"))
            return
        self._send(self._answer(lambda path: self.owner.post(path, content), self._path()))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: ANN401  (as inherited)
        """Keep the terminal quiet."""

    def _path(self) -> str:
        """Return the path below the secret."""
        return self._whole_path()[len(self.owner.token) + 2 :]

    def _whole_path(self) -> str:
        return unquote(self.path.partition("?")[0])

    def _refusal(self) -> Reply | None:
        """Return why this is not answered, None when it is."""
        own = {f"{name}:{self.owner.port}" for name in (HOST, "localhost")}
        if self.headers.get("Host") not in own:
            return Reply.error(403, "this server answers under its own address only")
        origin = self.headers.get("Origin")
        if origin is not None and origin not in {f"http://{host}" for host in own}:
            return Reply.error(403, "this server answers its own page only")
        secret, slash, _ = self._whole_path()[1:].partition("/")
        if not slash or not secrets.compare_digest(secret.encode(), self.owner.token.encode()):
            return Reply.error(404, "nothing here; open the address that the terminal printed")
        return None

    def _body_refusal(self) -> Reply | None:
        """Return why the message is not read, None when it is."""
        length = self.headers.get("Content-Length")
        if length is None or not length.isascii() or not length.isdigit():
            return Reply.error(411, "the message does not say how long it is")
        if int(length) > MAX_BYTES:
            return Reply.error(413, f"the message has {length} bytes, at most {MAX_BYTES} are read")
        if self.headers.get_content_type() != "application/json":
            return Reply.error(415, "messages are application/json")
        return None

    def _answer(self, ask: Callable[[str], Reply | None], path: str) -> Reply:
        try:
            return ask(path) or Reply.error(404, f"there is no {path!r}")
        except SinewError as error:
            return Reply.error(400, str(error))

    def _send(self, reply: Reply) -> None:
        body = reply.body
        if reply.kind.startswith("text/html"):
            body = body.replace(b"%NONCE%", self.owner.nonce.encode())
        nonce = f"'nonce-{self.owner.nonce}'"
        headers = {
            "Content-Type": reply.kind,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Content-Security-Policy": f"default-src 'none'; img-src 'self' data:; connect-src 'self'; "
            f"script-src {nonce}; style-src {nonce}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        }
        self.send_response(reply.status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        if reply.then is not None:
            reply.then()
