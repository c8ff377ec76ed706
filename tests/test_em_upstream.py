"""hmmlearn's own Gaussian tests, as its package ships them, with our class in its place."""

from __future__ import annotations

import logging

import numpy as np
import pytest

_errors = np.geterr()
from hmmlearn.tests import test_gaussian_hmm as upstream  # noqa: E402, it changes numpy's settings

from microstream_lab.models.em import FastGaussianHMM  # noqa: E402

np.seterr(**_errors)


@pytest.fixture(autouse=True)
def _our_class(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "hmmlearn")
    # Their models begin wherever numpy's own generator happens to stand, and end there too.
    np.random.seed(0)  # noqa: NPY002
    monkeypatch.setattr(upstream.hmm, "GaussianHMM", FastGaussianHMM)


TestSpherical = upstream.TestGaussianHMMWithSphericalCovars
TestDiagonal = upstream.TestGaussianHMMWithDiagonalCovars
TestTied = upstream.TestGaussianHMMWithTiedCovars
TestFull = upstream.TestGaussianHMMWithFullCovars


def test_it_is_our_class_that_is_tested() -> None:
    assert upstream.hmm.GaussianHMM is FastGaussianHMM
