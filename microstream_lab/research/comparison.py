"""The runs of a sweep beside each other: who is best, what each setting does, and how much is luck.

Invariant: failed runs are counted and shown, and never take part in a comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd

from microstream_lab.errors import RunError
from microstream_lab.research.figures import readable
from microstream_lab.research.sharpe import expected_best_sharpe
from microstream_lab.settings import Settings

__all__ = ["Comparison", "compare", "read_table"]

_FIRST_CHOICE: Final = ("sharpe", "eta_squared")
_ASIDE: Final = ("run_id", "error")


@dataclass(frozen=True)
class Comparison:
    """A sweep's table, and the figure its rows are compared by.

    ``table`` has one row a run, ``varied`` names its parameters, ``figure`` the figure compared.
    """

    table: pd.DataFrame
    varied: tuple[str, ...]
    figure: str
    lower_is_better: bool = False

    @property
    def done(self) -> pd.DataFrame:
        """Runs that ended well and have the figure."""
        return self.table[(self.table["error"] == "") & self.table[self.figure].notna()]

    @property
    def failed(self) -> pd.DataFrame:
        """Parameters and error of the others."""
        lost = self.table.drop(self.done.index)
        return lost[[*self.varied, "error"]].replace({"error": {"": f"no {self.figure}"}})

    def ranked(self) -> pd.DataFrame:
        """Runs that ended well, the best first, with all their figures."""
        columns = [name for name in self.table if name not in _ASIDE]
        return self.done.sort_values(self.figure, ascending=self.lower_is_better, kind="stable")[
            columns
        ]

    def by_setting(self) -> pd.DataFrame:
        """For each value of each parameter: how many runs, and worst, median and best figure."""
        parts = {name: self._spread(name) for name in self.varied}
        return pd.concat(parts, names=["parameter", "value"])

    def across(self, name: str = "symbol") -> pd.DataFrame:
        """The figure with one column a value of `name` and one row a combination of the rest."""
        rest = [other for other in self.varied if other != name] or [name]
        texts = self.done[[*self.varied]].astype(str)
        named = texts.assign(**{self.figure: self.done[self.figure]})
        if name not in self.varied:
            return named.set_index(rest)[[self.figure]]
        return named.pivot_table(self.figure, rest, name, sort=False)

    def luckiest(self) -> float:
        """The best figure to be expected if all runs were equally good and differed by chance.

        References
        ----------
        Bailey and Lopez de Prado (2014), The deflated Sharpe ratio, eq. 1; for any figure.
        """
        values = self.done[self.figure]
        variance = float(values.var(ddof=1)) if len(values) > 1 else 0.0
        ahead = expected_best_sharpe(variance, len(values))
        return float(values.mean()) + (-ahead if self.lower_is_better else ahead)

    def verdict(self) -> str:
        """One or two sentences."""
        if self.done.empty:
            return f"none of {len(self.table)} runs ended well"
        best = self.ranked()[:1].to_dict("records")[0]
        settings = ", ".join(f"{name} {best[name]}" for name in self.varied)
        value, luck = float(best[self.figure]), self.luckiest()
        beyond = value < luck if self.lower_is_better else value > luck
        judged = "more than" if beyond else "no more than"
        return (
            f"best of {len(self.done)} by {readable(self.figure)}: {settings} ({value:.3g}); "
            f"{judged} the luckiest of equals would show ({luck:.3g})"
        )

    def _spread(self, name: str) -> pd.DataFrame:
        values = self.done[name].astype(str)
        figures = self.done.groupby(values, sort=False)[self.figure]
        spread = pd.DataFrame(
            {
                "runs": figures.count(),
                "worst": figures.max() if self.lower_is_better else figures.min(),
                "median": figures.median(),
                "best": figures.min() if self.lower_is_better else figures.max(),
            }
        )
        return spread.rename_axis("value")


def compare(
    table: pd.DataFrame,
    varied: list[str] | tuple[str, ...],
    figure: str | None = None,
    lower_is_better: bool = False,
) -> Comparison:
    """Compare the rows of a sweep.

    Parameters
    ----------
    table : DataFrame
        As :func:`microstream_lab.research.sweep.sweep` returns it.
    varied : list of str
        The parameters that vary.
    figure : str, optional
        The figure to compare; a Sharpe ratio or variance explained where there is one, else the
        first number, unless given.

    Raises
    ------
    RunError
        If no run has such a figure.
    """
    numbers = [str(name) for name in table.drop(columns=[*varied]).select_dtypes("number")]
    choice = [name for name in _FIRST_CHOICE if name in numbers]
    chosen = figure or next(iter([*choice, *numbers]), None)
    if chosen is None or chosen not in numbers:
        there = ", ".join(numbers) or "none at all"
        raise RunError(f"sweep: found no figure {chosen or 'to compare'}; there are: {there}")
    return Comparison(table, tuple(varied), chosen, lower_is_better)


def read_table(path: Path | str, settings: Settings | None = None) -> pd.DataFrame:
    """A sweep's table from its CSV; a relative path is below the home folder.

    Raises
    ------
    RunError
        If it is not there or is no table of a sweep.
    """
    file = (settings or Settings.load()).path(str(path))
    try:
        table = pd.read_csv(file, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: found no readable table: {error}") from error
    if "error" not in table:
        raise RunError(f"{file}: found no column 'error', expected the table of a sweep")
    return table.assign(error=table["error"].fillna("").astype(str))
