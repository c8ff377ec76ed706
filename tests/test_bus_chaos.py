"""Whatever is killed, each bar has its signal once, and it is the one a single process makes."""

from __future__ import annotations

from pathlib import Path

import bus_chaos
import pytest
from broker import Broker

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def test_signals_are_those_of_a_single_process_whatever_is_killed(
    own_broker: Broker, tmp_path: Path
) -> None:
    plan = bus_chaos.Plan(
        n_symbols=12,
        n_partitions=6,
        n_workers=2,
        n_bars=4_800,
        bars_per_s=600,
        kills=(0.2,),
        additions=(0.3,),
        restarts=(0.6,),
        cut_at=0.45,
        cut_s=2.0,
        limit_s=60.0,
    )
    outcome = bus_chaos.run(own_broker, tmp_path, plan, print)
    assert outcome.is_exact, outcome
    assert len(outcome.happened) == 4
