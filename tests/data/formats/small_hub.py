"""A hub with one data set, ``org/set``: as much of its HTTP as the library of that name asks for."""

from __future__ import annotations

import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "1234567890abcdef1234567890abcdef12345678"


class SmallHub(ThreadingHTTPServer):
    """Serves the files that are put into ``files``."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    """Answers what the hub is asked about a data set."""

    server: SmallHub

    def do_GET(self) -> None:
        """Answer with a body."""
        start, _, rest = self.path.partition("org/set/")
        kind, _, rest = rest.partition("/")
        name = rest.partition("/")[2].partition("?")[0]
        files = self.server.files
        if start == "/api/datasets/" and kind == "revision" and rest.startswith("main"):
            siblings = [{"rfilename": name} for name in files]
            self.reply(json.dumps({"id": "org/set", "sha": COMMIT, "siblings": siblings}).encode())
        elif start == "/api/datasets/" and kind == "tree":
            self.reply(json.dumps([entry(name, content) for name, content in files.items()]).encode())
        elif kind == "resolve" and name in files:
            content = files[name]
            self.reply(content, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT})
        else:
            code = "RevisionNotFound" if "org/set" in self.path else "RepoNotFound"
            self.reply(b"", {"X-Error-Code": code}, status=404)

    do_HEAD = do_GET  # noqa: N815  (the name is the library's)

    def reply(self, content: bytes, headers: dict[str, str] | None = None, *, status: int = 200) -> None:
        """Send a status and headers, and to GET the content."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def entry(name: str, content: bytes) -> dict[str, Any]:
    """Return a file as the hub lists it."""
    return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
