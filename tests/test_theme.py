"""The shared look is readable on white and on black, and its colours cannot be confused."""

import itertools

import pytest

from microstream_lab import theme


def luminance(color):
    channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, two):
    high, low = sorted((luminance(one), luminance(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("background", ["#ffffff", "#111111"])
def test_text_and_lines_stand_out_from_light_and_dark_backgrounds(background):
    assert contrast(theme.TEXT, background) > 4
    for color in (theme.PRICE, theme.UP, theme.DOWN, theme.STRATEGY, theme.ANOMALY):
        assert contrast(color, background) > 2.4, color


def test_no_line_has_the_colour_of_a_regime():
    lines = {theme.PRICE, theme.UP, theme.DOWN, theme.STRATEGY, theme.BASELINE, theme.ANOMALY}
    for n_regimes in (2, 3, 4):
        assert not lines & {color for _, color in theme.regime_styles(n_regimes)}


@pytest.mark.parametrize("n_regimes", [2, 3, 4, 9])
def test_colorscale_gives_each_regime_a_flat_step_of_its_own_colour(n_regimes):
    scale = theme.regime_colorscale(n_regimes)
    assert scale[0][0] == 0
    assert scale[-1][0] == 1
    for k, (_, color) in enumerate(theme.regime_styles(n_regimes)):
        middle = (k + 0.5) / n_regimes
        (step,) = [
            (left, right)
            for left, right in itertools.pairwise(scale)
            if left[0] < middle < right[0]
        ]
        assert step[0][1] == step[1][1] == color


def test_background_spans_and_legend_agree_in_number_and_colour():
    background = theme.regime_background(["a", "b", "c"], [0, None], 3, yaxis="y")
    assert background["z"] == [[0, None]]
    assert (background["zmin"], background["zmax"]) == (-0.5, 2.5)
    legend = [entry["marker"]["color"] for entry in theme.regime_legend(3)]
    assert legend == [color for _, color in theme.regime_styles(3)]


def test_translucent_keeps_the_hue():
    assert theme.translucent("#4477AA", 0.5) == "rgba(68,119,170,0.5)"
