"""Archive files in and out: what is read, what is refused and where, and the way back."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from archive_server import as_read, trades_frame
from factories import make_bars
from hypothesis import given, settings
from hypothesis import strategies as st

from microstream_lab.errors import ChecksumError, DataError, SettingsError
from microstream_lab.market.files import (
    find_files,
    is_agg_trades,
    read_agg_trades,
    read_klines,
    write_agg_trades,
    write_klines,
)
from microstream_lab.market.files.rendering import FUTURES_KLINE_HEADER, kline_text
from microstream_lab.market.files.table import read_rows
from microstream_lab.market.names import FileName, Period, parse_name
from microstream_lab.market.packed import checksum_path, read_content
from microstream_lab.market.wire import KLINE_LAYOUT
from microstream_lab.schema import TRADE_COLUMNS, require_bars

NAME = "BTCUSDT-1m-2024-01"
TRADES_NAME = "BTCUSDT-aggTrades-2024-01-01"
BARS = make_bars(50, start="2024-01-01")
LINES = kline_text(BARS, 1_000).splitlines()
TRADE_LINES = [
    f"{100 + n},42000.{n:02d},0.5,{200 + 2 * n},{201 + 2 * n},{1_704_067_200_000 + n},"
    f"{n % 2 == 0},True"
    for n in range(30)
]
COLUMN = {name: n for n, name in enumerate(FUTURES_KLINE_HEADER.strip().split(","))}


def put(folder: Path, content: str | bytes | list[str], name: str = f"{NAME}.csv") -> Path:
    """A file of this content; a list is taken as lines."""
    if isinstance(content, list):
        content = "\n".join(content) + "\n"
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def zipped(folder: Path, members: dict[str, bytes | str], name: str = f"{NAME}.zip") -> Path:
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return folder / name


def with_cell(row: int, column: str, text: str) -> list[str]:
    """The good lines with one cell of a row (from 0) replaced."""
    cells = LINES[row].split(",")
    cells[COLUMN[column]] = text
    return [*LINES[:row], ",".join(cells), *LINES[row + 1 :]]


def scaled(lines: list[str], change: Callable[[int], str]) -> list[str]:
    """The lines with both times rewritten."""
    out = []
    for line in lines:
        cells = line.split(",")
        cells[0], cells[6] = change(int(cells[0])), change(int(cells[6]))
        out.append(",".join(cells))
    return out


# What is read.


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(LINES),
        "\n".join(LINES) + "\n",
        "\n".join(LINES) + "\n\n\n",
        "\r\n".join(LINES) + "\r\n",
        "\ufeff" + "\n".join(LINES),
        FUTURES_KLINE_HEADER + "\n".join(LINES),
        "\ufeff" + FUTURES_KLINE_HEADER.replace("\n", "\r\n") + "\r\n".join(LINES),
        "Open time,Open,High,Low,Close,Volume,Close time,Quote asset volume,Number of trades,"
        "Taker buy base asset volume,Taker buy quote asset volume,Ignore\n" + "\n".join(LINES),
        "\n".join(scaled(LINES, lambda ms: str(ms // 1_000))),
        "\n".join(scaled(LINES, lambda ms: f"{ms / 1_000:.3f}")),
        "\n".join(scaled(LINES, lambda ms: str(ms * 1_000 + (999 if ms % 10 else 0)))),
    ],
    ids=[
        *("no newline", "newline", "blank end", "crlf", "bom", "header"),
        *("bom crlf header", "long header", "seconds", "float seconds", "microseconds"),
    ],
)
def test_every_known_dress_of_the_same_klines_gives_the_same_bars(
    text: str, tmp_path: Path
) -> None:
    bars = read_klines(put(tmp_path, text))
    pd.testing.assert_frame_equal(require_bars(bars), as_read(BARS), check_exact=True)


def test_zip_gives_the_same_bars_as_its_csv(tmp_path: Path) -> None:
    bars = read_klines(zipped(tmp_path, {f"{NAME}.csv": "\n".join(LINES)}))
    pd.testing.assert_frame_equal(bars, as_read(BARS), check_exact=True)


def test_frame_read_may_be_changed_in_place(tmp_path: Path) -> None:
    bars = read_klines(put(tmp_path, LINES))
    bars.loc[bars.index[0], "volume"] = 1.0
    bars["volume"].to_numpy(copy=True)[0] = 2.0
    assert bars["volume"].iloc[0] == 1.0


@given(st.floats(min_value=1e-8, max_value=1e12))
def test_decimals_are_read_as_python_reads_them(value: float) -> None:
    text = f"{value:.8f}"
    if float(text) == 0:
        return
    line = f"1704067200000,{text},{text},{text},{text},0,1704067259999,0,0,0,0,0"
    assert read_rows(line.encode(), KLINE_LAYOUT, "x").columns["open"][0] == float(text)


def test_symbol_and_interval_may_be_given_where_the_name_is_silent(tmp_path: Path) -> None:
    bars = read_klines(put(tmp_path, LINES, "mine.csv"), symbol="ETHUSDT", interval="1m")
    assert bars["symbol"].unique().tolist() == ["ETHUSDT"]


def test_name_inside_the_zip_counts_where_its_own_is_silent(tmp_path: Path) -> None:
    path = zipped(tmp_path, {f"{NAME}.csv": "\n".join(LINES)}, "download(1).zip")
    assert read_klines(path)["interval"].unique().tolist() == ["1m"]


def test_agg_trades_are_read_from_spot_and_futures_layouts(tmp_path: Path) -> None:
    spot = read_agg_trades(put(tmp_path, TRADE_LINES, f"{TRADES_NAME}.csv"))
    header = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
    futures_lines = [line.rsplit(",", 1)[0].replace("True", "true") for line in TRADE_LINES]
    path = put(tmp_path, [header, *futures_lines], f"{TRADES_NAME}.csv")
    futures = read_agg_trades(path, market="um")
    assert spot.columns.tolist() == [*TRADE_COLUMNS, "market", "symbol"]
    assert isinstance(spot.index, pd.RangeIndex)
    assert str(spot["trade_time"].dtype) == "datetime64[us, UTC]"
    columns = list(TRADE_COLUMNS)
    pd.testing.assert_frame_equal(spot[columns], futures[columns])
    assert spot["buyer_is_maker"].tolist()[:2] == [True, False]


def test_agg_trades_with_a_hole_in_their_ids_are_read_as_they_are(tmp_path: Path) -> None:
    path = put(tmp_path, TRADE_LINES[:5] + TRADE_LINES[9:], f"{TRADES_NAME}.csv")
    assert np.diff(read_agg_trades(path)["agg_id"]).max() == 5


# What is refused.

BAD_KLINES = {
    "11 columns": ([*LINES[:4], LINES[4].rsplit(",", 1)[0], *LINES[5:]], 5, "11 columns", "12"),
    "13 columns": ([*LINES[:4], LINES[4] + ",0", *LINES[5:]], 5, "13 columns", "12"),
    "11 from the start": ([line.rsplit(",", 1)[0] for line in LINES], 1, "11 columns", "12"),
    "13 from the start": ([line + ",0" for line in LINES], 1, "13 columns", "12"),
    "text": (with_cell(7, "high", "abc"), 8, "'abc'", "a number as high"),
    "nothing": (with_cell(7, "volume", ""), 8, "''", "a number as volume"),
    "fraction of a trade": (with_cell(7, "count", "1.5"), 8, "'1.5'", "a whole number as trades"),
    "nan": (with_cell(7, "close", "nan"), 8, "close nan", "finite"),
    "inf": (with_cell(7, "volume", "inf"), 8, "volume inf", "finite"),
    "overflow": (with_cell(7, "volume", "1e999"), 8, "volume inf", "finite"),
    "negative price": (with_cell(7, "low", "-1"), 8, "low -1.0", "above zero"),
    "zero price": (with_cell(7, "open", "0"), 8, "open 0.0", "above zero"),
    "negative volume": (with_cell(7, "volume", "-0.1"), 8, "volume -0.1", "zero or more"),
    "negative trades": (with_cell(7, "count", "-3"), 8, "trades -3", "zero or more"),
    "high below low": (with_cell(7, "high", "1"), 8, "high 1.0", "close <= high"),
    "close above high": (with_cell(7, "close", "1e6"), 8, "close 1000000.0", "close <= high"),
    "open below low": (with_cell(7, "open", "1"), 8, "open 1.0", "low <= open"),
    "taker": (with_cell(7, "taker_buy_volume", "1e9"), 8, "taker_buy_base 1", "at most volume"),
    "taker quote": (
        with_cell(7, "taker_buy_quote_volume", "1e15"),
        8,
        "taker_buy_quote 1",
        "at most quote_volume",
    ),
    "off the grid": (
        scaled(LINES[:3], str) + scaled(LINES[3:], lambda ms: str(ms + 500)),
        4,
        "00:03:00.5",
        "a multiple of 1m",
    ),
    "close time": (with_cell(7, "close_time", "1704067679998"), 8, "00:07:59.998", "a bar of 1m"),
    "duplicate": ([*LINES[:6], LINES[5], *LINES[6:]], 7, "after 2024-01-01 00:05:00", "each once"),
    "unsorted": ([LINES[1], LINES[0], *LINES[2:]], 2, "00:00:00 after", "ascending"),
    "header mid-file": (
        [*LINES[:9], FUTURES_KLINE_HEADER.strip(), *LINES[9:]],
        10,
        "a second header",
        "rows only",
    ),
    "blank line mid-file": ([*LINES[:9], "", *LINES[9:]], 10, "1 columns", "12"),
    "absurd first year": (with_cell(0, "open_time", "99"), 1, "open_time 99", "2009 and 2100"),
    "absurd year": (with_cell(7, "open_time", "17040672000000000000"), 8, "'17040672", "whole"),
    "nanoseconds": (scaled(LINES, lambda ms: f"{ms}000000"), 1, "open_time 1704", "2009 and 2100"),
    "units mixed": (
        LINES[:5] + scaled(LINES[5:], lambda ms: f"{ms}000"),
        6,
        "open_time 1704067500000000",
        "in ms as in the first row",
    ),
    "another month": (
        scaled(LINES, lambda ms: str(ms + 31 * 86_400_000)),
        1,
        "2024-02-01",
        "2024-01",
    ),
    "past the month": (
        scaled(LINES, lambda ms: str(ms + 31 * 86_400_000 - 600_000)),
        11,
        "2024-02-01 00:00:00",
        "2024-01",
    ),
    "unknown header": (["a,b,c,d,e,f,g,h,i,j,k,l", *LINES], 1, "'a'", "open_time"),
    "header of swapped columns": (
        [FUTURES_KLINE_HEADER.strip().replace("high,low", "low,high"), *LINES],
        1,
        "'low'",
        "high",
    ),
    "empty": ("", 1, "an empty file", "at least one row"),
    "newlines": ("\n\n", 1, "an empty file", "at least one row"),
    "header only": (FUTURES_KLINE_HEADER, 2, "no rows", "at least one"),
    "latin-1": (
        "\n".join(LINES[:3]).encode() + b"\n\xe9" + "\n".join(LINES[3:]).encode(),
        4,
        "byte 0xe9",
        "UTF-8",
    ),
    "latin-1 in the column ignored": (
        ("\n".join(LINES[:3])).encode()[:-1] + b"\xff\n" + "\n".join(LINES[3:]).encode(),
        3,
        "byte 0xff",
        "UTF-8",
    ),
    "utf-16": ("\n".join(LINES).encode("utf-16"), 1, "byte 0xff", "UTF-8"),
    "stray carriage return": (
        with_cell(7, "ignore", "0\r0"),
        8,
        "'0\\r0'",
        "plain text as ignore",
    ),
    "quotes": (with_cell(7, "open", '"1'), 8, "'\"1'", "a number"),
    "binary": (bytes(range(1, 128)), 1, "columns", "12"),
}


@pytest.mark.parametrize(
    ("content", "line", "found", "expected"), BAD_KLINES.values(), ids=BAD_KLINES
)
@pytest.mark.parametrize("packed", [False, True], ids=["csv", "zip"])
def test_bad_klines_are_refused_with_file_line_found_and_expected(
    content: list[str] | str | bytes,
    line: int,
    found: str,
    expected: str,
    packed: bool,
    tmp_path: Path,
) -> None:
    path = put(tmp_path, content)
    if packed:
        path = zipped(tmp_path, {f"{NAME}.csv": path.read_bytes()})
    with pytest.raises(DataError) as caught:
        read_klines(path)
    error = caught.value
    assert (error.where, error.line) == (str(path), line)
    assert found in error.found
    assert expected in error.expected
    assert "\n" not in str(error)


@settings(deadline=None)
@given(st.data())
def test_no_damage_to_a_file_makes_reading_raise_anything_but_a_data_error(
    data: st.DataObject,
) -> None:
    text = (FUTURES_KLINE_HEADER + "\n".join(LINES[:8])).encode()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 200)))
    junk = st.binary(max_size=40) | st.text('0123456789.,-+eE\r\n "naif', max_size=40).map(
        str.encode
    )
    with tempfile.TemporaryDirectory() as folder:
        path = put(Path(folder), text[:start] + data.draw(junk) + text[end:])
        try:
            require_bars(read_klines(path))
        except DataError as error:
            line = error.line
        else:
            return
    assert line is not None


def test_line_counts_the_header(tmp_path: Path) -> None:
    lines = [FUTURES_KLINE_HEADER.strip(), *with_cell(7, "high", "1")]
    with pytest.raises(DataError, match=r"line 9: found open .* high 1\.0"):
        read_klines(put(tmp_path, lines))


def test_last_digit_of_summed_volumes_is_forgiven(tmp_path: Path) -> None:
    volume = float(LINES[7].split(",")[5])
    text = f"{volume + 1e-8:.8f}"
    assert len(read_klines(put(tmp_path, with_cell(7, "taker_buy_volume", text)))) == 50


@pytest.mark.parametrize("interval", ["5m", "1h", "1s"])
def test_bars_of_another_interval_than_the_name_says_are_refused(
    interval: str, tmp_path: Path
) -> None:
    path = put(tmp_path, LINES, f"BTCUSDT-{interval}-2024-01.csv")
    with pytest.raises(DataError, match=rf"expected (a bar|a multiple) of {interval}"):
        read_klines(path)


def test_caller_and_name_must_agree(tmp_path: Path) -> None:
    path = put(tmp_path, LINES)
    with pytest.raises(DataError, match="found symbol BTCUSDT in its name, expected ETHUSDT"):
        read_klines(path, symbol="ETHUSDT")
    with pytest.raises(DataError, match="found interval 1m in its name, expected 5m"):
        read_klines(path, interval="5m")
    assert len(read_klines(path, symbol="BTCUSDT", interval="1m")) == 50


def test_name_that_tells_nothing_needs_the_caller(tmp_path: Path) -> None:
    path = put(tmp_path, LINES, "mine.csv")
    for options in ({}, {"symbol": "BTCUSDT"}, {"interval": "1m"}):
        with pytest.raises(DataError, match="symbol and interval given"):
            read_klines(path, **options)


def test_zip_of_another_symbol_than_its_name_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path, {"ETHUSDT-1m-2024-01.csv": "\n".join(LINES)})
    with pytest.raises(DataError, match=r"found ETHUSDT-1m-2024-01\.csv inside, expected BTCUSDT"):
        read_klines(path)


def test_kinds_of_files_are_not_confused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected one of klines"):
        read_klines(put(tmp_path, TRADE_LINES, f"{TRADES_NAME}.csv"))
    with pytest.raises(DataError, match="expected one of aggTrades"):
        read_agg_trades(put(tmp_path, LINES))


def test_date_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a real date"):
        read_klines(put(tmp_path, LINES, "BTCUSDT-1m-2024-13.csv"))


@pytest.mark.parametrize("market", ["SPOT", "futures", ""])
def test_unknown_market_is_refused(market: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="spot um sim"):
        read_klines(put(tmp_path, LINES), market=market)


def test_file_that_is_not_there_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_klines(tmp_path / f"{NAME}.zip")


def _changed_trade(row: int, column: int, text: str) -> list[str]:
    cells = TRADE_LINES[row].split(",")
    cells[column] = text
    return [*TRADE_LINES[:row], ",".join(cells), *TRADE_LINES[row + 1 :]]


BAD_TRADES = {
    "6 columns": ([line.rsplit(",", 2)[0] for line in TRADE_LINES], 1, "6 columns", "8"),
    "9 columns": ([line + ",1" for line in TRADE_LINES], 1, "9 columns", "8"),
    "a short row": ([*TRADE_LINES[:3], TRADE_LINES[3][:30], *TRADE_LINES[4:]], 4, "columns", "8"),
    "duplicate id": (_changed_trade(4, 0, "103"), 5, "agg_id 103 after 103", "ascending"),
    "id backwards": (_changed_trade(4, 0, "7"), 5, "agg_id 7 after 103", "ascending"),
    "negative id": (_changed_trade(4, 3, "-1"), 5, "first_id -1", "zero or more"),
    "last before first": (_changed_trade(4, 4, "207"), 5, "last_id 207", "first_id <= last_id"),
    "zero price": (_changed_trade(4, 1, "0"), 5, "price 0.0", "above zero"),
    "nan quantity": (_changed_trade(4, 2, "NaN"), 5, "quantity nan", "above zero"),
    "text as flag": (_changed_trade(4, 6, "maybe"), 5, "'maybe'", "True or False"),
    "another day": (_changed_trade(4, 5, "1704153600000"), 5, "2024-01-02", "2024-01-01"),
    "absurd time": (_changed_trade(0, 5, "5"), 1, "trade_time 5", "2009 and 2100"),
    "units mixed": (_changed_trade(4, 5, "1704067200000000"), 5, "trade_time 17", "in ms"),
}


@pytest.mark.parametrize(
    ("lines", "line", "found", "expected"), BAD_TRADES.values(), ids=BAD_TRADES
)
def test_bad_agg_trades_are_refused_with_file_line_found_and_expected(
    lines: list[str], line: int, found: str, expected: str, tmp_path: Path
) -> None:
    path = put(tmp_path, lines, f"{TRADES_NAME}.csv")
    with pytest.raises(DataError) as caught:
        read_agg_trades(path)
    assert (caught.value.where, caught.value.line) == (str(path), line)
    assert found in caught.value.found
    assert expected in caught.value.expected


# Zips and checksums.


@pytest.mark.parametrize("keep", [0, 10, 100, 0.5, 0.99])
def test_truncated_zip_is_refused(keep: float, tmp_path: Path) -> None:
    path = zipped(tmp_path, {f"{NAME}.csv": "\n".join(LINES)})
    raw = path.read_bytes()
    path.write_bytes(raw[: int(keep * len(raw)) if keep < 1 else int(keep)])
    with pytest.raises(DataError, match="damaged zip"):
        read_klines(path)


@settings(deadline=None)
@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_zip_with_a_flipped_byte_reads_the_same_or_is_a_data_error(place: int, flip: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{NAME}.csv", "\n".join(LINES))
    raw = bytearray(buffer.getvalue())
    raw[place % len(raw)] ^= flip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{NAME}.zip"
        path.write_bytes(raw)
        try:
            bars = read_klines(path)
        except DataError:
            return
    assert bars["close"].tolist() == BARS["close"].tolist()


def test_zip_bomb_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = zipped(tmp_path, {f"{NAME}.csv": b"0" * (80 << 20)})
    assert path.stat().st_size < 1 << 20
    with pytest.raises(DataError, match="inflates beyond"):
        read_klines(path)


def test_zip_that_lies_about_its_size_is_not_believed(tmp_path: Path) -> None:
    path = zipped(tmp_path, {f"{NAME}.csv": b"0" * (80 << 20)})
    raw = bytearray(path.read_bytes())
    entry = raw.index(b"PK\x01\x02")
    raw[entry + 24 : entry + 28] = (1_000).to_bytes(4, "little")
    path.write_bytes(raw)
    with pytest.raises(DataError):
        read_klines(path)


def test_size_limit_holds_for_plain_files_too(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at most 100"):
        read_content(put(tmp_path, LINES), max_bytes=100)


@pytest.mark.parametrize(
    "members",
    [
        {},
        {f"{NAME}.csv": "\n".join(LINES), "other.csv": "1"},
        {f"../{NAME}.csv": "\n".join(LINES)},
        {f"/etc/{NAME}.csv": "\n".join(LINES)},
        {f"folder\\{NAME}.csv": "\n".join(LINES)},
        {f"{NAME}.exe": "\n".join(LINES)},
        {"folder/": ""},
    ],
    ids=["none", "two", "up", "absolute", "backslash", "not a csv", "a folder"],
)
def test_zip_must_hold_exactly_one_plain_csv(members: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected (exactly one CSV|one plain \.csv name)"):
        read_klines(zipped(tmp_path, members))


def test_zip_method_that_cannot_be_bounded_is_refused(tmp_path: Path) -> None:
    path = tmp_path / f"{NAME}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr(f"{NAME}.csv", "\n".join(LINES))
    with pytest.raises(DataError, match="expected deflated or stored"):
        read_klines(path)


def test_zip_with_a_password_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path, {f"{NAME}.csv": "\n".join(LINES)})
    raw = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(mark) + offset] |= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match="unusual zip"):
        read_klines(path)


def test_wrong_checksum_is_refused(tmp_path: Path) -> None:
    (path,) = write_klines(BARS, tmp_path)
    checksum_path(path).write_text(f"{'0' * 64}  {path.name}\n")
    with pytest.raises(ChecksumError, match=r"found sha256 .* expected 0000"):
        read_klines(path)


@pytest.mark.parametrize(
    "text", ["", "hello", "0" * 63 + "  x", "0" * 64, f"{'g' * 64}  {NAME}.zip", "\x00\xff"]
)
def test_malformed_checksum_file_is_refused(text: str, tmp_path: Path) -> None:
    (path,) = write_klines(BARS, tmp_path)
    checksum_path(path).write_text(text)
    with pytest.raises(ChecksumError, match=r"64 hex digits|that of"):
        read_klines(path)


def test_checksum_of_another_file_is_refused(tmp_path: Path) -> None:
    (path,) = write_klines(BARS, tmp_path)
    checksum_path(path).write_text(f"{'0' * 64}  ETHUSDT-1m-2024-01.zip\n")
    with pytest.raises(ChecksumError, match="ETHUSDT"):
        read_klines(path)


# Finding.


def test_find_files_brings_each_series_in_order_of_time(tmp_path: Path) -> None:
    names = [
        *("BTCUSDT-1m-2024-02.zip", "BTCUSDT-1m-2023-12.zip", "BTCUSDT-1m-2024-01-31.csv"),
        *("ADAUSDT-1m-2024-01.zip", "BTCUSDT-aggTrades-2024-01-01.zip", "zzz.csv"),
    ]
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for n, name in enumerate(names):
        (tmp_path / ("deep/er" if n % 2 else ".") / name).touch()
    for name in ("BTCUSDT-1m-2024-02.zip.CHECKSUM", ".BTCUSDT-1m-2024-03.zip", "notes.txt"):
        (tmp_path / name).touch()
    assert [file.name for file in find_files(tmp_path)] == [
        "BTCUSDT-aggTrades-2024-01-01.zip",
        "ADAUSDT-1m-2024-01.zip",
        "BTCUSDT-1m-2023-12.zip",
        "BTCUSDT-1m-2024-01-31.csv",
        "BTCUSDT-1m-2024-02.zip",
        "zzz.csv",
    ]


def test_find_files_takes_one_file_or_a_glob(tmp_path: Path) -> None:
    for month in (1, 2, 11):
        (tmp_path / f"BTCUSDT-1m-2024-{month:02d}.zip").touch()
    one = tmp_path / "BTCUSDT-1m-2024-11.zip"
    assert find_files(one) == [one]
    assert len(find_files(f"{tmp_path}/*-2024-0?.zip")) == 2


@pytest.mark.parametrize("pattern", ["", "nowhere", "*.zip"])
def test_find_files_says_when_there_is_nothing(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found no files"):
        find_files(tmp_path / pattern)


def test_names_tell_kind_symbol_interval_and_period() -> None:
    klines = FileName("BTCUSDT", "klines", "1m", Period(date(2024, 5, 1), monthly=True))
    assert parse_name("x/BTCUSDT-1m-2024-05.zip") == klines
    assert klines.archive_path("spot") == "spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-05.zip"
    quarterly = parse_name("BTCUSDT_240628-aggTrades-2024-05-31.csv")
    assert quarterly is not None
    assert quarterly.symbol == "BTCUSDT_240628"
    assert str(quarterly.period) == "2024-05-31"
    assert parse_name("BTCUSDT-1m.csv") == FileName("BTCUSDT", "klines", "1m")
    for name in ("BTCUSDT.csv", "BTCUSDT-7m-2024-05.zip", "BTCUSDT-1m-2024.zip", "x.txt"):
        assert parse_name(name) is None
    assert is_agg_trades("BTCUSDT-aggTrades-2024-05-31.zip")
    assert not is_agg_trades("BTCUSDT-1m-2024-05.zip")


# Writing.


@st.composite
def bars_frames(draw: st.DrawFn) -> pd.DataFrame:
    n = draw(st.integers(1, 12))
    interval, start = draw(
        st.sampled_from(
            [("1m", "2024-12-31T23:55"), ("1h", "2025-01-31T20:00"), ("1s", "2019-06-01")]
        )
    )
    bars = make_bars(
        n, interval=interval, start=start, market=draw(st.sampled_from(["spot", "um", "sim"]))
    )
    unit = draw(st.sampled_from([1e-8, 1.0, 1e6]))
    amounts = st.integers(1, 10**8).map(lambda k: float(f"{k * unit:.8f}"))
    low, mid, high = sorted(draw(st.tuples(amounts, amounts, amounts)))
    bars["open"], bars["high"], bars["low"], bars["close"] = mid, high, low, mid
    bars["volume"], bars["quote_volume"] = draw(amounts), draw(amounts)
    bars["taker_buy_base"], bars["taker_buy_quote"] = bars["volume"], 0.0
    return bars


@settings(max_examples=25, deadline=None)
@given(bars_frames())
def test_klines_written_and_read_back_are_the_same(bars: pd.DataFrame) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = write_klines(bars, folder)
        market = str(bars["market"].iloc[0])
        back = pd.concat([read_klines(file, market=market) for file in files])
    pd.testing.assert_frame_equal(back, as_read(bars), check_exact=True, check_freq=False)


def test_agg_trades_written_and_read_back_are_the_same(tmp_path: Path) -> None:
    trades = trades_frame(100)
    files = write_agg_trades(trades, tmp_path)
    assert [file.stem[-10:] for file in files] == ["2024-01-01", "2024-01-02"]
    back = pd.concat([read_agg_trades(file) for file in files], ignore_index=True)
    pd.testing.assert_frame_equal(back, trades, check_exact=True)


def test_spot_is_written_in_microseconds_from_2025_and_futures_never(tmp_path: Path) -> None:
    def first_time(start: str, market: str) -> str:
        bars = make_bars(1, start=start, market=market)
        (file,) = write_klines(bars, tmp_path / market / start)
        return read_content(file).text.decode().splitlines()[-1].split(",")[0]

    assert len(first_time("2024-12-31", "spot")) == 13
    assert len(first_time("2025-01-01", "spot")) == 16
    assert len(first_time("2025-01-01", "sim")) == 16
    assert len(first_time("2025-01-01", "um")) == 13


def test_same_bars_give_the_same_bytes(tmp_path: Path) -> None:
    (one,) = write_klines(BARS, tmp_path / "one")
    (two,) = write_klines(BARS, tmp_path / "two")
    assert one.read_bytes() == two.read_bytes()
    assert checksum_path(one).read_text() == checksum_path(two).read_text()
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == sorted(
        [one.name, checksum_path(one).name]
    )


def test_by_the_day_when_asked(tmp_path: Path) -> None:
    files = write_klines(make_bars(30, interval="1h"), tmp_path, monthly=False)
    assert [file.name for file in files] == [
        "BTCUSDT-1h-2024-01-01.zip",
        "BTCUSDT-1h-2024-01-02.zip",
    ]


def test_folder_that_cannot_be_written_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DataError, match="expected a folder that can be written"):
        write_klines(BARS, tmp_path / "taken")


def test_partial_bars_cannot_be_written(tmp_path: Path) -> None:
    bars = as_read(BARS)
    bars.loc[bars.index[3], "quality"] = "partial"
    with pytest.raises(DataError, match="00:03:00"):
        write_klines(bars, tmp_path)
    assert list(tmp_path.glob("*.zip")) == []


def test_value_that_is_not_finite_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not finite"):
        write_klines(BARS.assign(volume=np.nan), tmp_path)


def test_time_finer_than_the_unit_of_the_file_cannot_be_written(tmp_path: Path) -> None:
    trades = trades_frame(3)
    trades["trade_time"] += pd.Timedelta(1, "us")
    with pytest.raises(DataError, match="a multiple of 1000 us"):
        write_agg_trades(trades, tmp_path)


# Real files.


@pytest.mark.realdata
def test_real_year_of_minutes_is_read_whole(real_data: Path) -> None:
    files = find_files(real_data / "klines_1m")
    bars = pd.concat([read_klines(file, market="um") for file in files])
    assert len(files) == 12
    assert len(require_bars(bars)) == 525_600
    assert int((bars["volume"] == 0).sum()) == 64


@pytest.mark.realdata
def test_real_files_join_over_the_change_of_unit(real_data: Path) -> None:
    files = find_files(f"{real_data}/klines_5m/*.zip")
    bars = pd.concat([read_klines(file) for file in files])
    assert len(bars) == 148_896
    assert (np.diff(bars.index.asi8) == 300_000_000).all()


@pytest.mark.realdata
def test_real_values_are_those_of_the_text_to_the_last_bit(real_data: Path) -> None:
    file = real_data / "klines_5m" / "BTCUSDT-5m-2025-01.zip"
    bars = read_klines(file)
    lines = read_content(file).text.decode().splitlines()
    assert bars["quote_volume"].tolist() == [float(line.split(",")[7]) for line in lines]


@pytest.mark.realdata
def test_real_agg_trades_are_contiguous_and_written_back_byte_for_byte(
    real_data: Path, tmp_path: Path
) -> None:
    (file,) = find_files(f"{real_data}/trades/*.zip")
    trades = read_agg_trades(file)
    assert len(trades) == 256_978
    assert (np.diff(trades["agg_id"]) == 1).all()
    assert (trades["first_id"].to_numpy()[1:] == trades["last_id"].to_numpy()[:-1] + 1).all()
    (written,) = write_agg_trades(trades.head(50_000), tmp_path)
    assert read_content(file).text.startswith(read_content(written).text)
