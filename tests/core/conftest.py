"""Where the official schedules are, for the tests that compare with them."""

from __future__ import annotations

from pathlib import Path

import pytest

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "reference" / "ecad-schedules"


@pytest.fixture(scope="session")
def reference() -> Path:
    """The official repository's schedules; it has no licence, so they are not part of this one."""
    if not REFERENCE.is_dir():
        pytest.skip("needs the official schedules in ../shared/reference/ecad-schedules")
    return REFERENCE
