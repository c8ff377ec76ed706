"""Typed settings from the environment or ``.env``; relative paths resolve from the home folder.

Invariant: the working directory never matters, and a value that cannot work is refused here, in
one line, before anything is opened or dialled.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableSetting

from microstream_lab.errors import SettingsError
from microstream_lab.schema import INTERVALS, MARKETS

__all__ = ["REGIME_COLORS", "REGIME_NAMES", "Settings", "default_home"]

REGIME_NAMES = {
    2: ("Stable liquidity", "Liquidity crisis"),
    3: ("Stable liquidity", "High volatility", "Liquidity crisis"),
    4: ("Stable liquidity", "Elevated volatility", "High volatility", "Liquidity crisis"),
}
REGIME_COLORS = {
    2: ("#4477AA", "#BB5566"),
    3: ("#4477AA", "#DDAA33", "#BB5566"),
    4: ("#4477AA", "#66CCEE", "#DDAA33", "#BB5566"),
}
"""Paul Tol's colour-blind-safe schemes, calm to crisis: https://personal.sron.nl/~pault/"""
_WHEEL = (
    *("#332288", "#4477AA", "#66CCEE", "#44AA99", "#117733", "#228833"),
    *("#CCBB44", "#DDAA33", "#EE7733", "#EE6677", "#BB5566", "#882255"),
)
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")

_PACKAGE = Path(__file__).resolve().parent


def default_home() -> Path:
    """``MICROSTREAM_HOME``, else the project folder, else ``~/microstream_lab``."""
    if home := os.environ.get("MICROSTREAM_HOME"):
        return Path(home).expanduser().resolve()
    project = _PACKAGE.parent
    return project if (project / "notebooks").is_dir() else Path.home() / "microstream_lab"


class Settings(BaseSettings):
    """What a user can set, under the names users know.

    Read from the environment first, then from ``.env`` in the home folder. Use :meth:`load`, which
    turns a bad value into one clear :class:`SettingsError`.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, case_sensitive=False
    )

    symbol: str = "BTCUSDT"
    interval: str = "1m"
    market: str = "spot"
    binance_ws_url: str = "wss://stream.binance.com:9443"
    binance_rest_url: str = "https://api.binance.com"
    binance_archive_url: str = "https://data.binance.vision"
    isolation_forest_contamination: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    hmm_n_components: Annotated[int, Field(ge=2, le=12)] = 3
    feature_window_size: Annotated[int, Field(ge=2, le=10_000)] = 20
    regime_names: tuple[str, ...] = ()
    regime_colors: tuple[str, ...] = ()
    kafka_bootstrap_servers: str = "localhost:9092"
    kafka_raw_bars_topic: str = "market_raw_bars"
    kafka_regime_signals_topic: str = "market_regime_signals"
    kafka_dead_letters_topic: str = "market_dead_letters"
    kafka_partitions: Annotated[int, Field(ge=1, le=10_000)] = 12
    kafka_security_protocol: str = "PLAINTEXT"
    kafka_sasl_mechanism: str = "PLAIN"
    kafka_sasl_username: str = ""
    kafka_sasl_password: SecretStr = SecretStr("")
    kafka_options: dict[str, str | int | float | bool] = {}
    live_source: str = "auto"
    drift_requests_training: bool = False
    microstream_home: Path = Field(default_factory=default_home)
    microstream_store: str = ""
    microstream_store_token: str = Field(default="", repr=False)
    microstream_offline: bool = False

    @classmethod
    def load(cls) -> Settings:
        """Read the settings, raising :class:`SettingsError` at the first that cannot be used."""
        try:
            return cls(_env_file=default_home() / ".env")  # type: ignore[call-arg]
        except UnreadableSetting as error:
            raise SettingsError(f"settings: {error}; a list is written as JSON") from error
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"]).upper()
            raise SettingsError(f"{name}: found {first['input']!r}; {first['msg']}") from error

    @field_validator("symbol")
    @classmethod
    def _symbol(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Z0-9]{2,30}", value.upper()):
            raise ValueError("expected letters and digits, such as BTCUSDT")
        return value.upper()

    @field_validator("interval")
    @classmethod
    def _interval(cls, value: str) -> str:
        if value not in INTERVALS:
            raise ValueError(f"expected one of {' '.join(INTERVALS)}")
        return value

    @field_validator("market")
    @classmethod
    def _market(cls, value: str) -> str:
        if value not in MARKETS:
            raise ValueError(f"expected one of {' '.join(MARKETS)}")
        return value

    @field_validator("kafka_security_protocol")
    @classmethod
    def _protocol(cls, value: str) -> str:
        if value.upper() not in _PROTOCOLS:
            raise ValueError(f"expected one of {' '.join(_PROTOCOLS)}")
        return value.upper()

    @field_validator(
        "kafka_raw_bars_topic", "kafka_regime_signals_topic", "kafka_dead_letters_topic"
    )
    @classmethod
    def _topic(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", value):
            raise ValueError("expected a topic's name: letters, digits, dots, dashes, underscores")
        return value

    @field_validator("binance_ws_url", "binance_rest_url", "binance_archive_url")
    @classmethod
    def _base_url(cls, value: str) -> str:
        match = re.match(r"((?:wss?|https?)://[^/?#\s]+)", value)
        if not match:
            raise ValueError("expected an address such as wss://stream.binance.com:9443")
        return match[1]

    @field_validator("microstream_home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    def path(self, *parts: str) -> Path:
        """A path below the home folder; an absolute last part stands for itself."""
        return self.microstream_home.joinpath(*parts)

    @property
    def store_path(self) -> Path:
        """The DuckDB file, or where a store is served: ``quack:host:port``."""
        if self.microstream_store.startswith("quack:"):
            return Path(self.microstream_store)
        return self.path(self.microstream_store or "data/microstream.duckdb")

    @property
    def models_path(self) -> Path:
        """The registry's folder."""
        return self.path("models")

    @property
    def runs_path(self) -> Path:
        """Executed notebooks and their reports."""
        return self.path("data", "runs")

    def names_of_regimes(self, n_regimes: int) -> tuple[str, ...]:
        """Names of `n_regimes` regimes, calmest first: the user's, the usual or numbered ones."""
        if len(self.regime_names) == n_regimes:
            return self.regime_names
        return REGIME_NAMES.get(n_regimes, tuple(f"Regime {k}" for k in range(n_regimes)))

    def colors_of_regimes(self, n_regimes: int) -> tuple[str, ...]:
        """Hex colours of `n_regimes` regimes, calmest first."""
        if len(self.regime_colors) == n_regimes:
            return self.regime_colors
        return REGIME_COLORS.get(n_regimes, _WHEEL[:n_regimes])
