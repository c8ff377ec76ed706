"""A market made up by seed: what it is told to be, what happens in it, and its trades."""

from microstream_lab.market.simulate.market import (
    SimulatedMarket,
    simulate_days,
    simulate_market,
)
from microstream_lab.market.simulate.scenario import RegimeSpec, Scenario

__all__ = ["RegimeSpec", "Scenario", "SimulatedMarket", "simulate_days", "simulate_market"]
