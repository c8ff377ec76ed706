"""Settings come typed from the environment or .env, and a bad one is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from microstream_lab.errors import SettingsError
from microstream_lab.settings import Settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MICROSTREAM_HOME", str(tmp_path))
    return tmp_path


def test_paths_resolve_from_the_home_folder_and_not_the_working_directory(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "elsewhere").mkdir()
    monkeypatch.chdir(home / "elsewhere")
    settings = Settings.load()
    assert settings.store_path == home / "data" / "microstream.duckdb"
    assert settings.models_path == home / "models"
    assert settings.path("/absolute") == Path("/absolute")


def test_the_dotenv_file_is_read_and_the_environment_wins(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".env").write_text("SYMBOL=ethusdt\nINTERVAL=5m\n# a comment\n")
    monkeypatch.setenv("INTERVAL", "15m")
    settings = Settings.load()
    assert (settings.symbol, settings.interval) == ("ETHUSDT", "15m")


def test_a_full_stream_address_is_cut_to_its_base(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BINANCE_WS_URL", "wss://stream.binance.com:9443/ws/btcusdt@trade")
    assert Settings.load().binance_ws_url == "wss://stream.binance.com:9443"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SYMBOL", "BTC/USDT", "such as BTCUSDT"),
        ("INTERVAL", "7m", "1m 3m 5m"),
        ("MARKET", "mars", "spot um sim"),
        ("HMM_N_COMPONENTS", "1", "greater than or equal to 2"),
        ("HMM_N_COMPONENTS", "three", "integer"),
        ("ISOLATION_FOREST_CONTAMINATION", "0.9", "less than or equal to 0.5"),
        ("FEATURE_WINDOW_SIZE", "0", "greater than or equal to 2"),
        ("BINANCE_REST_URL", "api.binance.com", "expected an address"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=message) as caught:
        Settings.load()
    assert str(caught.value).startswith(f"{name}: found {value!r}")


@pytest.mark.parametrize("n_regimes", [2, 3, 4, 7, 12])
def test_any_number_of_regimes_has_distinct_names_and_colours(home: Path, n_regimes: int) -> None:
    settings = Settings.load()
    assert len(set(settings.names_of_regimes(n_regimes))) == n_regimes
    assert len(set(settings.colors_of_regimes(n_regimes))) == n_regimes


def test_regimes_can_be_named_and_coloured(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGIME_NAMES", '["calm", "wild"]')
    settings = Settings.load()
    assert settings.names_of_regimes(2) == ("calm", "wild")
    assert settings.names_of_regimes(3)[0] == "Stable liquidity"


def test_a_list_that_is_no_json_is_refused_in_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGIME_COLORS", "blue")
    with pytest.raises(SettingsError, match=r"regime_colors.*written as JSON"):
        Settings.load()
