"""Every test lives in a home folder of its own and never dials beyond this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no failure. HYPOTHESIS_PROFILE=fuzz looks at far more examples, in rounds: what
# is remembered of them, so as not to repeat any, makes each slower than the one before.
settings.register_profile("test", deadline=None)
settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=10_000,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _temporary_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROSTREAM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MICROSTREAM_OFFLINE", "1")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The real market data; a test that uses it carries the marker ``realdata``."""
    if not REAL_DATA.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"real market data not found at {REAL_DATA}, and CI may not skip it")
        pytest.skip(f"real market data not found at {REAL_DATA}")
    return REAL_DATA
