"""Where the official schedules are, for the tests that compare with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "reference" / "ecad-schedules"


settings.register_profile("ecad", deadline=None)  # a busy machine is no failure
settings.load_profile("ecad")


@pytest.fixture(scope="session")
def reference() -> Path:
    """The official repository's schedules; it has no licence, so they are not part of this one."""
    if not REFERENCE.is_dir():
        pytest.skip("needs the official schedules in ../shared/reference/ecad-schedules")
    return REFERENCE
