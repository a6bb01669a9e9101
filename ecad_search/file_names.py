"""Names that become files: the same on every system, and never outside of their folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .errors import StorageError

LONGEST_PART = 120  # characters, of a name that we write; file systems stop at 255 bytes
LONGEST_PART_BYTES = 240
LONGEST_NAME = 500  # characters, folders included
FORBIDDEN = re.compile(r'[<>:"/\\|?*]')  # what Windows refuses, so that folders can move
RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])", re.IGNORECASE)


def wrong_with(part: str, *, longest: int = LONGEST_PART) -> str:
    """What is wrong with the name of one file or folder, without its ending; "" if nothing is."""
    if not part:
        return "has an empty part"
    if part.startswith("."):
        return "has a part that starts with a dot"
    if part != part.strip() or part.endswith("."):
        return "has a part with a blank at an end or a dot at its end"
    if not part.isprintable():
        return "has a character that cannot be printed"
    if len(part) > longest or len(os.fsencode(part)) > LONGEST_PART_BYTES:
        return f"has a part of {len(part)} characters"
    if found := FORBIDDEN.search(part):
        return f"has the character {found[0]!r}"
    if RESERVED.fullmatch(part.split(".")[0].strip()):
        return f"has the part {part!r}, which Windows keeps for a device"
    return ""


def followed(folder: Path, file: Path, *, name: str, described: str) -> Path:
    """Where `file` really is; StorageError when a link leads out of `folder`, or goes in circles.

    `name` is what the user wrote, `described` what they call the folder.
    """
    try:
        home, found = folder.resolve(), file.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise StorageError(
            f"{name[:80]!r} cannot be followed in {described} ({reason}); check the folder."
        ) from error
    if not found.is_relative_to(home):
        raise StorageError(
            f"{name[:80]!r} leads out of {described}; expected a file inside it, so choose "
            "another name."
        )
    return found


def confined(folder: Path, name: str, described: str, *, suffix: str = "") -> Path:
    """`folder / name` + `suffix`, links followed; `name` may have folders, with either slash.

    StorageError for a name that leads out of `folder`, or that some system has no file of.
    """
    expected = f"expected a relative name inside {described}, such as 'mine/first'"
    parts = re.split(r"[\\/]", name)
    wrong = next(filter(None, (wrong_with(part, longest=200) for part in parts)), "")
    if len(name) > LONGEST_NAME:
        wrong = f"has {len(name)} characters"
    if wrong:
        raise StorageError(f"{name[:80]!r} is not a usable file name, for it {wrong}; {expected}.")
    file = folder.joinpath(*parts[:-1], parts[-1] + suffix)
    return followed(folder, file, name=name, described=described)
