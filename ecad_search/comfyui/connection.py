"""The HTTP API and the events of a running ComfyUI, with the standard library alone."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from ..errors import SearchError
from .websocket import WebSocket

SECONDS = 60.0  # for one answer
PLAIN = re.compile(r"[A-Za-z]+://[\w.~:/\[\]%-]+", re.ASCII)


class Refused(Exception):
    """An HTTP status that says no, with what the server answered."""

    def __init__(self, status: int, body: bytes):
        super().__init__(f"HTTP {status}")
        self.status = status
        try:
            self.answer: Any = json.loads(body)
        except ValueError:
            self.answer = {"error": {"message": body.decode("utf-8", "replace")[:300]}}

    @property
    def sentence(self) -> str:
        """ComfyUI's `error` and `node_errors` on one line."""
        if not isinstance(self.answer, dict):
            return str(self)
        parts = [
            f"{node.get('class_type')}: {error.get('message')} {error.get('details')}"
            for node in (self.answer.get("node_errors") or {}).values()
            for error in node.get("errors", [])
        ]
        if not parts:
            error = self.answer.get("error")
            parts = [error.get("message", "") if isinstance(error, dict) else str(error)]
        return "; ".join(" ".join(part.split()) for part in dict.fromkeys(parts)) or str(self)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirection is an answer that says no: only the user says whom to connect to."""

    def redirect_request(self, *_: object) -> None:
        return None


def direct_opener() -> urllib.request.OpenerDirector:
    """To the very address: past proxies of the environment, and not elsewhere from there."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)


@dataclass(frozen=True)
class Connection:
    """A ComfyUI at `url`, such as http://127.0.0.1:8188.

    Requests raise OSError when nobody answers and Refused when the answer is no.
    """

    url: str
    _opener: urllib.request.OpenerDirector = field(
        default_factory=direct_opener, repr=False, compare=False
    )

    @classmethod
    def to(cls, address: str) -> Connection:
        """'localhost:8188' and 'http://localhost:8188/' are the same server."""
        url = address if "://" in address else f"http://{address}"
        try:
            parts = urllib.parse.urlsplit(url)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # a port that is no number, half a bracket
            usable = False
        # A query, a user's name or a blank would become part of every request.
        if not usable or not PLAIN.fullmatch(url):
            raise SearchError(
                f"{address[:80]!a} is not the address of a ComfyUI; expected one such as "
                "http://127.0.0.1:8188."
            )
        return cls(url.rstrip("/"))

    def get(self, path: str, **query: str) -> Any:
        return json.loads(self.read(path, **query))

    def read(self, path: str, **query: str) -> bytes:
        encoded = "?" + urllib.parse.urlencode(query) if query else ""
        return self._answer(urllib.request.Request(self.url + path + encoded))

    def post(self, path: str, body: Any) -> Any:
        request = urllib.request.Request(
            self.url + path,
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
            method="POST",
        )
        answer = self._answer(request)
        return json.loads(answer) if answer.strip() else None

    def events(self, client: str) -> WebSocket:
        """The events of what `client` queues."""
        parts = urllib.parse.urlsplit(self.url)
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        return WebSocket(parts.hostname or "", port, f"{parts.path}/ws?clientId={client}", tls=tls)

    def _answer(self, request: urllib.request.Request) -> bytes:
        try:
            with self._opener.open(request, timeout=SECONDS) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.read()) from error
