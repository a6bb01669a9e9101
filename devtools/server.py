"""A ComfyUI server as a child process, and its HTTP API."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Of the library only what needs no package: dev.py runs before there is any.
from ecad_search.comfyui.connection import Connection
from ecad_search.comfyui.process import (
    ADDRESS,
    answers_within,
    free_port,
    how_it_ended,
    last_lines,
    link_folder,
    start_process,
    stop_process,
)
from ecad_search.comfyui.websocket import WebSocket

from .environment import PACK_NAME, Environment, child_variables
from .problem import Problem, disk_full

START_SECONDS = 300.0


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
    link_folder(link, pack)
    return folder


class Server:
    """`with Server(...) as server:` starts ComfyUI, waits until it answers, and stops it again."""

    def __init__(self, environment: Environment, base: Path, port: int, *extra: str):
        self.port = port
        self.url = f"http://{ADDRESS}:{port}"
        self.connection = Connection(self.url)
        self.log = base.parent / "server.log"  # outlives a base that is only for one run
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
        environment = child_variables(PYTHONUNBUFFERED="1")
        self._process = start_process(self._command, self._folder, self.log, environment)
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self._process is not None:
            stop_process(self._process)

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
            how = how_it_ended(self._process.returncode)
            raise Problem(f"ComfyUI {how}, its last lines:\n{last_lines(text)}")

    def wait(self) -> None:
        """Until the process ends by itself, which it does not when all is well."""
        while True:
            time.sleep(0.5)
            self.require_alive()

    # -- HTTP

    def get(self, path: str, **query: str) -> Any:
        return self._answer(self.connection.get, path, **query)

    def read(self, path: str, **query: str) -> bytes:
        return self._answer(self.connection.read, path, **query)

    def post(self, path: str, body: Any) -> Any:
        return self._answer(self.connection.post, path, body)

    def events(self, client: str) -> WebSocket:
        return self.connection.events(client)

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

    def _answer(self, ask: Callable[..., Any], *arguments: Any, **query: str) -> Any:
        try:
            return ask(*arguments, **query)
        except OSError:
            self.require_alive()
            raise

    def _wait_until_ready(self) -> None:
        if not answers_within(START_SECONDS, self.connection, self.require_alive):
            raise Problem(
                f"ComfyUI did not start within {START_SECONDS:.0f} seconds: see {self.log}."
            )
