"""A ComfyUI server as a child process, and its HTTP API."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from .environment import PACK_NAME, Environment, child_variables
from .problem import Problem, disk_full
from .websocket import WebSocket

ADDRESS = "127.0.0.1"
START_SECONDS = 300.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return probe.getsockname()[1]


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        if os.name != "nt":  # else a port that was in use a minute ago still looks taken
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError:
            return False
    return True


def choose_port(wanted: int | None) -> int:
    if wanted is None:
        return free_port()
    if not 1 <= wanted <= 65535:
        raise Problem(f"--port has to be between 1 and 65535, not {wanted}.")
    if not is_free(wanted):
        raise Problem(
            f"Port {wanted} is taken by another program: name another with --port, or leave it out."
        )
    return wanted


def make_base(folder: Path, pack: Path) -> Path:
    """A base directory for ComfyUI (models, input, output, user) with `pack` as its custom node."""
    custom_nodes = folder / "custom_nodes"
    custom_nodes.mkdir(parents=True, exist_ok=True)
    (folder / "input").mkdir(exist_ok=True)
    link = custom_nodes / PACK_NAME
    if os.path.lexists(link):
        if link.exists() and link.samefile(pack):
            return folder
        link.unlink()
    try:
        link.symlink_to(pack, target_is_directory=True)
    except OSError:
        if os.name != "nt":
            raise
        import _winapi  # a junction needs no administrator, a symbolic link on Windows does

        _winapi.CreateJunction(str(pack), str(link))  # pyright: ignore[reportAttributeAccessIssue]
    return folder


class Server:
    """`with Server(...) as server:` starts ComfyUI, waits until it answers, and stops it again."""

    def __init__(self, environment: Environment, base: Path, port: int, *extra: str):
        self.port = port
        self.url = f"http://{ADDRESS}:{port}"
        self.log = base.parent / "server.log"  # outlives a base that is only for one run
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._command = [
            str(environment.python),
            "main.py",
            *("--listen", ADDRESS, "--port", str(port)),
            *("--base-directory", str(base)),
            *("--database-url", "sqlite:///:memory:"),
            "--disable-auto-launch",
            *([] if environment.accelerated else ["--cpu"]),
            *extra,
        ]
        self._folder = environment.comfyui
        self._process: subprocess.Popen[Any] | None = None

    def __enter__(self) -> Server:
        # A group of its own: Ctrl-C is ours to answer, first with /interrupt.
        group: dict[str, Any] = {"start_new_session": True}
        if os.name == "nt":
            group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}  # pyright: ignore[reportAttributeAccessIssue]
        environment = child_variables(PYTHONUNBUFFERED="1")
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                **group,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def require_alive(self) -> None:
        """Raise, with the end of the log, when the process has ended."""
        if self._process is not None and self._process.poll() is not None:
            text = self.log.read_text(encoding="utf-8", errors="replace")
            if "No space left on device" in text[-20000:]:
                raise disk_full(self.log.parent)
            if "address already in use" in text[-20000:]:
                raise Problem(
                    f"Port {self.port} was taken by another program meanwhile: run again."
                )
            code = self._process.returncode
            how = (
                "was killed, most likely for memory" if code == -9 else f"ended (exit code {code})"
            )
            last = "\n".join(text.rstrip().splitlines()[-15:])
            raise Problem(f"ComfyUI {how}, its last lines:\n{last}")

    def wait(self) -> None:
        """Until the process ends by itself, which it does not when all is well."""
        while True:
            time.sleep(0.5)
            self.require_alive()

    # -- HTTP

    def get(self, path: str, **query: str) -> Any:
        return json.loads(self.read(path, **query))

    def read(self, path: str, **query: str) -> bytes:
        encoded = "?" + urllib.parse.urlencode(query) if query else ""
        return self._request(urllib.request.Request(self.url + path + encoded))

    def post(self, path: str, body: Any) -> Any:
        data = json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json"}, method="POST"
        )
        answer = self._request(request)
        return json.loads(answer) if answer.strip() else None

    def events(self, client: str) -> WebSocket:
        return WebSocket(ADDRESS, self.port, f"/ws?clientId={client}")

    def require_nodes(self, names: set[str]) -> None:
        """Raise, with the reason from the log, when ComfyUI does not know one of these nodes."""
        missing = sorted(names - set(self.get("/object_info")))
        if missing:
            reason = self.import_failure() or f"the log is {self.log}"
            raise Problem(f"ComfyUI has no node {', '.join(missing)}: {reason}")

    def import_failure(self) -> str | None:
        """ComfyUI's own line about this pack, when it could not load it."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        failures = (line for line in lines if PACK_NAME in line and "annot import" in line)
        return next(failures, None)

    def _request(self, request: urllib.request.Request) -> bytes:
        try:
            with self._opener.open(request, timeout=60) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.read()) from error
        except OSError:
            self.require_alive()
            raise

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self.require_alive()
            try:
                self.get("/system_stats")
            except (OSError, Refused, ValueError):
                time.sleep(0.2)
            else:
                return
        raise Problem(f"ComfyUI did not start within {START_SECONDS:.0f} seconds: see {self.log}.")


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
            return f"{self}"
        parts = []
        for node in (self.answer.get("node_errors") or {}).values():
            for error in node.get("errors", []):
                what = f"{error.get('message')} {error.get('details')}"
                parts.append(f"{node.get('class_type')}: {what}")
        if not parts:
            error = self.answer.get("error")
            parts = [error.get("message", "") if isinstance(error, dict) else str(error)]
        return "; ".join(" ".join(part.split()) for part in dict.fromkeys(parts))
