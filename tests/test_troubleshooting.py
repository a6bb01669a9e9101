"""docs/troubleshooting.md quotes the messages as the code has them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "troubleshooting.md"
ANYTHING = "…"  # stands for what differs from case to case


def shown(text: ast.expr) -> str | None:
    """A string as a reader sees it; None for any other expression."""
    if isinstance(text, ast.Constant):
        return text.value if isinstance(text.value, str) else None
    if isinstance(text, ast.JoinedStr):
        parts = [p.value if isinstance(p, ast.Constant) else ANYTHING for p in text.values]
        return "".join(map(str, parts))
    if isinstance(text, ast.BinOp) and isinstance(text.op, ast.Add):
        sides = [shown(text.left), shown(text.right)]
        return None if sides == [None, None] else "".join(side or ANYTHING for side in sides)
    return None


def strings(folder: str) -> Iterator[str]:
    for file in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.expr) and (text := shown(node)) is not None:
                yield re.sub(f"{ANYTHING}+", ANYTHING, text)


@pytest.fixture(scope="module")
def messages() -> list[str]:
    return [text for folder in ("ecad_search", "nodes") for text in strings(folder) if " " in text]


def quoted() -> list[str]:
    return re.findall(r"^> (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("quote", quoted())
def test_a_quoted_message_is_one_of_the_pack(messages, quote):
    assert any(quote in message for message in messages)


def test_the_page_quotes_and_no_message_twice():
    found = quoted()
    assert len(found) > 20
    assert len(found) == len(set(found))
