"""The deflated Sharpe ratio gives the figures of the paper, and what simulation says."""

import numpy as np
import pytest
from scipy import stats

from microstream_lab.errors import DataError
from microstream_lab.research.sharpe import (
    deflated_sharpe,
    expected_best_sharpe,
    probabilistic_sharpe,
    sharpe_ratio,
)


def test_example_of_the_paper_comes_out():
    """Yearly Sharpe ratio 2.5 over 1,250 days, 100 trials of variance 1/2 a year."""
    benchmark = expected_best_sharpe(0.5 / 250, 100)
    assert benchmark == pytest.approx(0.1132, abs=5e-5)
    chance = probabilistic_sharpe(2.5 / np.sqrt(250), 1250, -3, 10, benchmark)
    assert chance == pytest.approx(0.9004, abs=5e-5)


def test_fewer_trials_leave_more_of_the_same_ratio():
    chances = [
        probabilistic_sharpe(
            2.5 / np.sqrt(250), 1250, -3, 10, expected_best_sharpe(0.5 / 250, trials)
        )
        for trials in (100, 46, 1)
    ]
    assert chances[1] == pytest.approx(0.9505, abs=5e-4)
    assert chances == sorted(chances)


def test_best_of_many_without_skill_is_as_large_as_expected():
    best = np.random.default_rng(0).normal(0, 0.3, (4000, 50)).max(axis=1).mean()
    assert expected_best_sharpe(0.09, 50) == pytest.approx(best, rel=0.02)
    assert expected_best_sharpe(0.09, 1) == 0


def test_normal_returns_without_choice_give_the_usual_test():
    returns = np.random.default_rng(1).normal(0.02, 1, 4000)
    usual = 1 - stats.ttest_1samp(returns, 0, alternative="greater").pvalue
    assert deflated_sharpe(returns, [sharpe_ratio(returns)]) == pytest.approx(usual, abs=0.01)


def test_the_more_was_tried_the_less_is_left():
    returns = np.random.default_rng(2).normal(0.1, 1, 300)
    own = sharpe_ratio(returns)
    few, many = (
        deflated_sharpe(returns, np.append(np.linspace(-0.1, 0.1, n), own)) for n in (3, 60)
    )
    assert 0 < many < few < 1


def test_returns_that_do_not_vary_say_nothing_and_too_few_are_refused():
    assert np.isnan(sharpe_ratio(np.ones(5)))
    assert np.isnan(deflated_sharpe(np.zeros(5), [0.1, np.nan]))
    with pytest.raises(DataError, match="2 returns and 1 trials"):
        deflated_sharpe([0.1, 0.2], [0.1])
