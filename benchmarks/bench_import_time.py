"""How long the package takes to import, beside the libraries its users import anyway."""

from __future__ import annotations

import subprocess
import sys

from turns import Figure, publish, ratio, take_turns, told

WAYS = {
    "theirs": "import pandas, sklearn, plotly",
    "ours": "import microstream_lab",
    "all": "from microstream_lab import Engine, Store, backtest, evaluate, train_bundle",
}
HOW = "{what} in a fresh interpreter, whose own start is part of both; the disk's cache is warm."


def main() -> None:
    """The package alone, and with what a notebook on history uses."""

    def way(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], check=True)

    ways = {name: lambda code=code: way(code) for name, code in WAYS.items()}
    take_turns(ways, 1)
    taken = take_turns(ways, 5)
    whats = {
        "ours": "`import microstream_lab`",
        "all": "Engine, store, training and research, so numba, duckdb and hmmlearn too,",
    }
    publish(
        *(
            Figure(
                path,
                f"`{WAYS['theirs']}`",
                1.3,
                1 / ratio(taken["theirs"], taken[name]),
                told(taken[name]),
                told(taken["theirs"]),
                HOW.format(what=whats[name]),
                at_most=True,
            )
            for name, path in (
                ("ours", "import"),
                ("all", "import, with what a notebook on history uses"),
            )
        )
    )


if __name__ == "__main__":
    main()
