"""A lock file: makes sure that one process at a time writes a journal.

An exclusively created file works on every system and file system ComfyUI runs on; what the file
says about its owner lets a lock that outlived its process be recognised and taken over.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import uuid
from pathlib import Path
from typing import Any

from ..errors import JournalError, StorageError
from ..json_files import parsed, printable

# Tells this process from an earlier one with the same number: in a container it is always 1.
PROCESS_TOKEN = uuid.uuid4().hex


def _process_start(pid: int) -> str:
    """When process `pid` started, as the system counts it; empty where that cannot be read."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # The name in brackets may hold anything, so count the fields after its end.
        status = Path(f"/proc/{pid}/stat").read_bytes()
        fields = status.rpartition(b")")[2].decode("ascii").split()
        return f"{boot}/{fields[19]}"
    except (OSError, IndexError, UnicodeDecodeError):
        return ""


def _is_running(pid: int) -> bool:
    if sys.platform == "win32":
        # os.kill(pid, 0) would send Ctrl+C on Windows.
        import ctypes

        still_active, query_limited_information = 259, 0x1000
        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(query_limited_information, False, pid)
        if not handle:
            return kernel.GetLastError() == 5  # access denied: it exists
        code = ctypes.c_ulong()
        kernel.GetExitCodeProcess(handle, ctypes.byref(code))
        kernel.CloseHandle(handle)
        return code.value == still_active
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


class LockFile:
    """Holds `path` from `acquire` to `release`; `subject` names in messages what is locked."""

    def __init__(self, path: Path, *, subject: str) -> None:
        self.path = path
        self.subject = subject
        self._content = b""

    def acquire(self) -> None:
        """Take the lock, or raise JournalError saying who holds it."""
        owner = {
            "pid": os.getpid(),
            "host": platform.node(),
            "process": PROCESS_TOKEN,
            "started": _process_start(os.getpid()),
            "holder": uuid.uuid4().hex,
        }
        content = json.dumps(owner).encode()
        for _ in range(10):
            if self._create(content):
                return
            found = self._read()
            if found is None:
                continue  # released between our two looks
            if not self._is_stale(found):
                raise JournalError(self._busy_sentence(found))
            self._remove_stale(found)
        raise JournalError(
            f"The lock '{self.path}' keeps changing hands. Use another journal file, or wait "
            "until the other searches have ended."
        )

    def release(self) -> None:
        """Give the lock back; does nothing when it is not ours."""
        if self._content and self._read() == self._content:
            with contextlib.suppress(OSError):
                self.path.unlink()
        self._content = b""

    def _create(self, content: bytes) -> bool:
        # Written beside it and linked into place where links exist, so nobody reads a half lock.
        fresh = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex[:12]}.tmp")
        try:
            fresh.write_bytes(content)
            try:
                os.link(fresh, self.path)
            except FileExistsError:
                return False
            except (OSError, NotImplementedError, AttributeError):
                try:
                    with open(self.path, "xb") as file:
                        file.write(content)
                except FileExistsError:
                    return False
        except OSError as error:
            raise StorageError(
                f"The lock '{self.path}' cannot be written ({error.strerror or error}). "
                "Choose a journal in a folder that can be written to."
            ) from error
        finally:
            with contextlib.suppress(OSError):
                fresh.unlink()
        self._content = content
        return True

    def _read(self) -> bytes | None:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(
                f"The lock '{self.path}' cannot be read ({error.strerror or error}). "
                "Choose a journal in a folder that can be read."
            ) from error

    @staticmethod
    def _owner(content: bytes) -> dict[str, Any]:
        try:
            owner = parsed(content.decode("utf-8"))
        except ValueError:
            return {}
        return owner if isinstance(owner, dict) else {}

    def _is_stale(self, content: bytes) -> bool:
        owner = self._owner(content)
        pid = owner.get("pid")
        if owner.get("host") != platform.node() or not isinstance(pid, int):
            return False  # another machine's, or unreadable: only its user can tell
        if not 0 < pid < 2**31:
            return False
        if pid == os.getpid():
            return owner.get("process") != PROCESS_TOKEN
        if not _is_running(pid):
            return True
        started = owner.get("started")
        return bool(started) and started != _process_start(pid)

    def _remove_stale(self, content: bytes) -> None:
        aside = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex[:12]}.tmp")
        try:
            os.replace(self.path, aside)
        except OSError:
            return  # somebody else was faster
        try:
            if aside.read_bytes() != content:
                # Between our look and our move another process took the lock over: give it back.
                with contextlib.suppress(OSError, NotImplementedError, AttributeError):
                    os.link(aside, self.path)
        finally:
            with contextlib.suppress(OSError):
                aside.unlink()

    def _busy_sentence(self, content: bytes) -> str:
        owner = self._owner(content)
        if owner.get("process") == PROCESS_TOKEN and owner.get("pid") == os.getpid():
            return (
                f"'{self.subject}' is already being written by another search of this ComfyUI. "
                "Wait for it to end, or choose another journal file."
            )
        host = printable(str(owner.get("host", "an unnamed machine")))[:80]
        who = (
            f"process {owner['pid']} on '{host}'"
            if isinstance(owner.get("pid"), int)
            else "an unknown process"
        )
        return (
            f"'{self.subject}' is being written by another search ({who}). Wait for it to end, "
            f"or choose another journal file; if that process is gone, delete '{self.path}'."
        )
