"""A ComfyUI of our own, as a child process without a browser."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import SearchError
from .connection import Connection, Refused

ADDRESS = "127.0.0.1"
START_SECONDS = 600.0  # custom nodes may take their time
STOP_SECONDS = 10.0
PACK = Path(__file__).resolve().parents[2]
ACCELERATED = (
    "import torch; print(torch.cuda.is_available() or torch.backends.mps.is_available() "
    "or (hasattr(torch, 'xpu') and torch.xpu.is_available()))"
)


class OwnComfyUI:
    """`with OwnComfyUI(...) as comfyui:` starts it, waits until it answers, and stops it again.

    folder: where main.py is. arguments: more of ComfyUI's own, such as --base-directory. This pack
    is loaded from where it stands when it is not among the custom nodes there.
    """

    def __init__(
        self, folder: Path, *, python: Path | None = None, arguments: Sequence[str] = ()
    ) -> None:
        if not (folder / "main.py").is_file():
            raise SearchError(
                f"{folder} is not a ComfyUI folder (it has no main.py); check --comfyui."
            )
        self.folder = folder.resolve()
        self.python = python or own_python(self.folder) or Path(sys.executable)
        self.arguments = tuple(arguments)
        self._process: subprocess.Popen[Any] | None = None
        self._scratch = Path()
        port = free_port()
        self._port = str(port)
        self.connection = Connection(f"http://{ADDRESS}:{port}")

    @property
    def log(self) -> Path:
        return self._scratch / "comfyui.log"

    @property
    def output(self) -> Path:
        """Its output folder."""
        given = self._argument("--output-directory")
        if given is not None:
            return Path(given).resolve()
        return Path(self._argument("--base-directory") or self.folder).resolve() / "output"

    def __enter__(self) -> OwnComfyUI:
        self._scratch = Path(tempfile.mkdtemp(prefix="ecad-comfyui-"))
        try:
            self._start()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            stop_process(process)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def require_alive(self) -> None:
        """Raise, with the end of its log, when the process has ended."""
        code = None if self._process is None else self._process.poll()
        if code is not None:
            raise SearchError(
                f"ComfyUI {how_it_ended(code)}; its last lines:\n{last_lines(self._log_text())}"
            )

    def import_failure(self) -> str:
        """ComfyUI's own line about this pack, when it could not load it; else nothing."""
        lines = self._log_text().splitlines()
        return next(
            (line for line in lines if "annot import" in line and "ecad" in line.lower()), ""
        )

    def _start(self) -> None:
        command = [
            str(self.python),
            "main.py",
            *("--listen", ADDRESS, "--port", self._port),
            *("--database-url", "sqlite:///:memory:"),
            "--disable-auto-launch",
            *self.arguments,
        ]
        if "--cpu" not in self.arguments and not self._is_accelerated():
            command.append("--cpu")
        if not self._has_pack():
            command += ["--extra-model-paths-config", str(self._pack_paths())]
        try:
            self._process = start_process(
                command, self.folder, self.log, {**os.environ, "PYTHONUNBUFFERED": "1"}
            )
        except OSError as error:
            raise SearchError(
                f"'{self.python}' cannot be run ({error.strerror}); check --python."
            ) from error

    def _wait_until_ready(self) -> None:
        if not answers_within(START_SECONDS, self.connection, self.require_alive):
            raise SearchError(
                f"ComfyUI did not answer within {START_SECONDS:.0f} seconds; its last lines:\n"
                f"{last_lines(self._log_text())}"
            )

    def _is_accelerated(self) -> bool:
        try:
            answer = subprocess.run(
                [self.python, "-c", ACCELERATED],
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
        except OSError as error:
            raise SearchError(
                f"'{self.python}' cannot be run ({error.strerror}); check --python."
            ) from error
        if answer.returncode:
            raise SearchError(
                f"'{self.python}' has no PyTorch; name the Python that ComfyUI is run with, by "
                "--python."
            )
        return answer.stdout.strip() == "True"

    def _has_pack(self) -> bool:
        """Whether a copy of this pack is among the custom nodes of that ComfyUI."""
        base = Path(self._argument("--base-directory") or self.folder)
        folders = base.glob("custom_nodes/*/ecad_search")
        return any(not folder.parent.name.endswith(".disabled") for folder in folders)

    def _pack_paths(self) -> Path:
        """A file of extra model paths that has this pack as a custom node."""
        custom_nodes = self._scratch / "custom_nodes"
        custom_nodes.mkdir()
        link_folder(custom_nodes / PACK.name, PACK)
        paths = self._scratch / "paths.yaml"
        text = f"ecad:\n  custom_nodes: {custom_nodes.as_posix()}\n"
        paths.write_text(text, encoding="utf-8", newline="\n")
        return paths

    def _argument(self, name: str) -> str | None:
        """The value of the last `name VALUE` or `name=VALUE` among the arguments."""
        found = None
        for argument, following in zip(self.arguments, [*self.arguments, None][1:], strict=True):
            if argument == name:
                found = following
            elif argument.startswith(f"{name}="):
                found = argument.partition("=")[2]
        return found

    def _log_text(self) -> str:
        try:
            return self.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""


def start_process(
    command: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str]
) -> subprocess.Popen[Any]:
    """A child in a group of its own: Ctrl-C is ours to answer, first with /interrupt."""
    group: dict[str, Any] = {"start_new_session": True}
    if os.name == "nt":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP  # pyright: ignore[reportAttributeAccessIssue]
        group = {"creationflags": flags}
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            **group,
        )


def stop_process(process: subprocess.Popen[Any]) -> None:
    """Ask it to end, and see that it does."""
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def answers_within(
    seconds: float, connection: Connection, require_alive: Callable[[], None]
) -> bool:
    """Whether a ComfyUI that was started answers; `require_alive` raises when it has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        require_alive()
        try:
            connection.get("/system_stats")
        except (OSError, Refused, ValueError):
            time.sleep(0.2)
        else:
            return True
    return False


def how_it_ended(code: int) -> str:
    return "was killed, most likely for memory" if code == -9 else f"ended (exit code {code})"


def last_lines(log: str) -> str:
    return "\n".join(log.rstrip().splitlines()[-15:])


def link_folder(link: Path, folder: Path) -> None:
    """Make `link` lead to `folder`."""
    try:
        link.symlink_to(folder, target_is_directory=True)
    except OSError:
        if os.name != "nt":
            raise
        import _winapi  # a junction needs no administrator, a symbolic link on Windows does

        _winapi.CreateJunction(str(folder), str(link))  # pyright: ignore[reportAttributeAccessIssue]


def own_python(comfyui: Path) -> Path | None:
    """The interpreter that belongs to a ComfyUI, where it is in a usual place."""
    places = (
        comfyui / ".venv/bin/python",
        comfyui / "venv/bin/python",
        comfyui / ".venv/Scripts/python.exe",
        comfyui / "venv/Scripts/python.exe",
        comfyui.parent / "python_embeded/python.exe",
    )
    return next((place for place in places if place.is_file()), None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return probe.getsockname()[1]
