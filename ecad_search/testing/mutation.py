"""Broken variants of valid files: what a bad disk, editor, program or person makes of one.

All is a function of a random generator, so that a failing case can be made again.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

# Stand for texts that json.dumps cannot write.
DEEP, LONG_NUMBER, HUGE_NUMBER, TWICE = "@deep@", "@long@", "@huge@", "@twice@"
RAW = {
    DEEP: "[" * 2000 + "]" * 2000,
    LONG_NUMBER: "9" * 5000,
    HUGE_NUMBER: "1e999",
    TWICE: '{"a": 1, "a": 2}',
}
ODD_TEXT = (
    "",
    " ",
    "x",
    "a" * 3000,
    "\ud800",
    "\0",
    "\u202e\x1b[2J",
    "a\nb",
    "../../x",
    "/etc/passwd",
    "C:\\x",
    "con",
    "nan",
    "1e5",
    "٣",
    "é🎨",
    "__class__",
)
ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    3.5,
    -0.0,
    2**31,
    2**63,
    10**30,
    -(10**30),
    10**299,
    10**400,
    1e-320,
    1e200,
    1.7e308,
    -1.7e308,
    float("nan"),
    float("inf"),
    -float("inf"),
    *ODD_TEXT,
    *RAW,
    [],
    {},
    [[]],
    [None],
    [0, 0],
    ["a", "b"],
    [1] * 300,
    {"a": 1},
    {"": {}},
    {"a": {"b": {"c": [1]}}},
)
ODD_BYTES = (
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",  # a surrogate
    b"\xef\xbb\xbf",
    b"\r\n",
    b"\n",
    b"\x85",
    b'"',
    b"{",
    b"]",
    b",",
    b"NaN",
    b"-",
    b"1e999",
    b"\\u0000",
    b"\\ud800",
    b"\t",
)


def broken_json(text: str, rng: random.Random, *, most: int = 3) -> str:
    """JSON `text` with one to `most` values replaced, moved, doubled, renamed or taken away."""
    value = json.loads(text)
    for _ in range(rng.randint(1, most)):
        value = _changed(value, rng)
    written = json.dumps(value)
    for mark, raw in RAW.items():
        if mark in written:
            written = written.replace(json.dumps(mark), raw)
    return written


def broken_bytes(content: bytes, rng: random.Random, *, most: int = 3) -> bytes:
    """`content` with bytes flipped, inserted, doubled or lost."""
    for _ in range(rng.randint(1, most)):
        at = rng.randrange(len(content) + 1)
        end = min(len(content), at + rng.choice((1, 1, 2, 8, 40)))
        kind = rng.randrange(9)
        if kind == 0:
            content = content[:at]
        elif kind == 1:
            content = content[at:]
        elif kind == 2:
            content = content[:at] + content[end:]
        elif kind == 3:
            content = content[:end] + content[at:]
        elif kind == 4 and at < len(content):
            flipped = content[at] ^ (1 << rng.randrange(8))
            content = content[:at] + bytes([flipped]) + content[at + 1 :]
        elif kind == 5:
            content = content[:at] + rng.randbytes(rng.randint(1, 6)) + content[at:]
        elif kind == 6 and rng.random() < 0.1:
            content = content.decode("utf-8", "replace").encode("utf-16")
        else:
            content = content[:at] + rng.choice(ODD_BYTES) + content[at:]
    return content


def broken_file(content: bytes, rng: random.Random) -> bytes:
    """A JSON file, broken in its values or in its bytes."""
    if rng.random() < 0.75:
        content = broken_json(content.decode("utf-8"), rng).encode("utf-8")
    return broken_bytes(content, rng) if rng.random() < 0.3 else content


def broken_lines(content: bytes, rng: random.Random) -> bytes:
    """A file of JSON lines: one of them broken, lines lost, doubled or swapped, or bytes."""
    lines = content.splitlines(keepends=True)
    kind = rng.randrange(8)
    at = rng.randrange(len(lines))
    if kind < 4:
        lines[at] = broken_json(lines[at].decode("utf-8"), rng).encode("utf-8") + b"\n"
    elif kind == 4:
        del lines[at]
    elif kind == 5:
        lines.insert(rng.randrange(len(lines) + 1), lines[at])
    elif kind == 6:
        other = rng.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    content = b"".join(lines)
    return broken_bytes(content, rng) if kind == 7 or rng.random() < 0.15 else content


def hostile_name(rng: random.Random, parts: Sequence[str]) -> str:
    """A name for a file that may lead elsewhere, made from `parts` and worse."""
    worse = (
        "..", ".", "", " ", "~", "/", "//", "\\", "\\\\server\\share", "C:", "C:\\", "con",
        "CON.txt", "aux.json", "nul", "com1", "LPT9.a", "conin$", "a.", "a ", " a", ".hidden",
        "a:b", "a*", "a?", "<a>", "a|b", 'a"', "a\0b", "a\n", "\u202ea", "\ud800", "é", "日本語",
        "🎨", "x" * 130, "x" * 260, "🎨" * 70, "%2e%2e", "..%2f", "file://", "$HOME", "`id`",
        "-rf", "\x7f", "\uff0e\uff0e",
    )  # fmt: skip
    count = rng.choice((1, 1, 2, 3, 6, 60))
    chosen = [rng.choice(worse if rng.random() < 0.5 else parts) for _ in range(count)]
    return rng.choice(("/", "/", "\\", "")).join(chosen)


def _changed(value: Any, rng: random.Random) -> Any:
    """One change somewhere below; containers are changed in place."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.02:
        return _odd(value, rng)
    parent = value
    while True:
        keys = list(parent) if isinstance(parent, dict) else range(len(parent))
        key = rng.choice(keys)
        below = parent[key]
        if isinstance(below, dict | list) and below and rng.random() < 0.75:
            parent = below
            continue
        break
    kind = rng.randrange(10)
    if kind < 5:
        parent[key] = _odd(below, rng)
    elif kind == 5:
        del parent[key]
    elif isinstance(parent, list):
        if kind == 6:
            parent.insert(rng.randrange(len(parent) + 1), deepcopy(below))
        elif kind == 7:
            parent.insert(rng.randrange(len(parent) + 1), deepcopy(rng.choice(ODD)))
        elif kind == 8:
            rng.shuffle(parent)
        else:
            del parent[rng.randrange(len(parent)) :]
    elif kind == 6:
        parent[rng.choice(("a", "", "x" * 200, "format", "id", "\x1b"))] = deepcopy(rng.choice(ODD))
    elif kind == 7:
        other = rng.choice(keys)
        parent[key], parent[other] = parent[other], below
    else:
        parent[f"{key}{rng.choice(('', '_', ' ', '0'))}x"] = parent.pop(key)
    return value


def _odd(value: Any, rng: random.Random) -> Any:
    """Something in the place of `value`: often of its own type, or near to it."""
    if rng.random() < 0.5:
        return deepcopy(rng.choice(ODD))
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int | float):
        as_float = float(value) if abs(value) < 10**300 else 0.5
        return rng.choice((value + 1, value - 1, -value, value * 1000, as_float, str(value)))
    if isinstance(value, str):
        at = rng.randrange(len(value) + 1)
        changes = (value[:at], value + value, value[:at] + rng.choice(ODD_TEXT) + value[at:])
        return rng.choice((*changes, value.upper(), [value]))
    return [value] if rng.random() < 0.5 else {"a": value}
