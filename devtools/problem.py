"""The one exception that `dev.py` shows to a person: a single sentence, no traceback."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path


class Problem(Exception):
    """What went wrong and what to do about it, in one sentence."""


def disk_full(folder: Path) -> Problem:
    return Problem(f"The disk that holds {folder} is full: free some space and run again.")


def require_space(folder: Path, gigabytes: float) -> None:
    """Raise before a long job starts that the disk cannot hold."""
    free = shutil.disk_usage(folder).free / 1e9
    if free < gigabytes:
        raise Problem(
            f"Set-up needs about {gigabytes:g} GB free on the disk that holds {folder}, which has "
            f"{free:.1f} GB: free some space and run the command again."
        )


def means_disk_full(error: OSError) -> bool:
    return error.errno in {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
