"""What ``make lab`` does once: a simulated market to look at, and a first bundle trained on it.

Invariant: simulated bars travel the same road as real ones (archive files, import, store), and
preparing again, also after having been stopped half-way, does only what is still missing.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

import pandas as pd
from tqdm import tqdm

from microstream_lab.registry import Registry
from microstream_lab.settings import Settings
from microstream_lab.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SAMPLE", "Prepared", "Sample", "prepare"]


@dataclass(frozen=True)
class Sample:
    """The built-in market: a series, its first day (UTC), its length in days and its seed."""

    market: str = "sim"
    symbol: str = "SIMUSDT"
    interval: str = "1m"
    start: str = "2024-05-01"
    days: int = 31
    seed: int = 0

    @property
    def end(self) -> pd.Timestamp:
        """The moment after its last bar."""
        return pd.Timestamp(self.start, tz="UTC") + pd.Timedelta(days=self.days)


SAMPLE: Final = Sample()
_TRAINING: Final = 60  # as many days' worth of work: what the progress bar makes of it
_IMPORT: Final = 4
_COMPILING: Final = 20


@dataclass(frozen=True)
class Prepared:
    """What a preparation found to do: bars that were missing, the version that was promoted."""

    new_bars: int
    promoted: str | None


def prepare(settings: Settings, progress: bool = False, sample: Sample = SAMPLE) -> Prepared:
    """Bring the built-in market and a current bundle for it into the user's home.

    Parameters
    ----------
    settings : Settings
        Where store, registry and ``data/simulated`` are.
    progress : bool
        Show a progress bar on stderr, if there is anything to do.
    sample : Sample
        The market to simulate.
    """
    store, registry = Store(settings.store_path), Registry(settings.models_path)
    wants_bars = not _has_bars(store, sample)
    wants_bundle = registry.current(sample.symbol, sample.interval, sample.market) is None
    total = (sample.days + _IMPORT) * wants_bars + (_TRAINING + _COMPILING) * wants_bundle
    layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}"
    with tqdm(total=total, disable=not (progress and total), bar_format=layout) as bar:
        new_bars = _import_bars(store, settings, sample, bar) if wants_bars else 0
        if wants_bundle:
            _compile(bar)
        promoted = _promote_bundle(store, registry, sample, bar) if wants_bundle else None
    return Prepared(new_bars, promoted)


def _compile(bar: tqdm[None]) -> None:
    """Have the local exchange compiled: otherwise the first monitor would wait for that."""
    from microstream_lab.market.exchange.messages import warm_up

    bar.set_description_str("Compiling the local exchange")
    warm_up()
    bar.update(_COMPILING)


def _has_bars(store: Store, sample: Sample) -> bool:
    if not store.status().exists:
        return False
    series = (sample.symbol, sample.interval, sample.market)
    return store.coverage(*series, sample.start, sample.end).n_missing == 0


def _import_bars(store: Store, settings: Settings, sample: Sample, bar: tqdm[None]) -> int:
    from microstream_lab.market.files import write_klines

    bar.set_description_str("Simulating a market")
    bars = pd.concat(list(_simulated(sample, bar)))
    folder = settings.path("data", "simulated")
    shutil.rmtree(folder, ignore_errors=True)  # whatever an earlier attempt left
    write_klines(bars, folder)
    bar.set_description_str("Importing it")
    report = store.import_klines(folder, sample.market)
    bar.update(_IMPORT)
    return report.counts.new


def _simulated(sample: Sample, bar: tqdm[None]) -> Iterator[pd.DataFrame]:
    from microstream_lab.market.simulate import simulate_days

    for day in islice(simulate_days(sample.start, sample.interval, seed=sample.seed), sample.days):
        bar.update()
        yield day.bars


def _promote_bundle(store: Store, registry: Registry, sample: Sample, bar: tqdm[None]) -> str:
    """Promote the newest version there is, and train one if there is none."""
    from microstream_lab.training import train_bundle

    bar.set_description_str("Training a first bundle")
    there = registry.list(sample.symbol, sample.interval, sample.market)
    versions = [info for info in there if not info.problem]
    if versions:
        version = versions[-1].version
    else:
        span = (sample.start, sample.end, sample.market)
        version = registry.save(train_bundle(store.bars(sample.symbol, sample.interval, *span)))
    registry.promote(sample.symbol, sample.interval, version, sample.market)
    bar.update(_TRAINING)
    return version
