"""Barlow Twins' own parts: the head as released, and the terms in the log."""

import numpy as np
import pytest

from sslax.config import check
from sslax.errors import InputError
from tests import tiny
from tests.methods import siamese


@pytest.fixture(scope="module")
def start():
    """Barlow Twins, its parameters and its statistics."""
    b = siamese.built("barlow-twins", off_diagonal=0.3)
    return b, *tiny.start(b.method)


def test_the_head_is_that_of_the_release():
    width, found = siamese.head_shapes("barlow-twins")
    # No biases, and after the last layer no norm.
    kernels = {"Dense_0/kernel": (width, 8192), "Dense_1/kernel": (8192, 8192), "Dense_2/kernel": (8192, 8192)}
    norms = {f"BatchNorm_{index}/{name}": (8192,) for index in range(2) for name in ("scale", "bias")}
    assert found == {"projector": kernels | norms}


def test_the_metrics_are_the_losss_terms(start):
    """As means over entries, so that they read alike for any width."""
    b, params, aux = start
    loss, output, _ = siamese.evaluated(b, params, aux)
    on, off = (float(output.metrics[name]) for name in ("on_diagonal", "off_diagonal"))
    np.testing.assert_allclose(loss, 8 * on + 0.3 * 8 * 7 * off, rtol=1e-4)
    assert 0 < off < 1


def test_full_redundancy_is_1(start):
    b, params, aux = start
    kernel = params["projector"]["Dense_1"]["kernel"]
    alike = {**params["projector"], "Dense_1": {"kernel": np.repeat(kernel[:, :1], 8, axis=1)}}
    views = (siamese.views()[0],) * 2
    _, output, _ = siamese.evaluated(b, {**params, "projector": alike}, aux, views)
    np.testing.assert_allclose(output.metrics["off_diagonal"], 1, atol=1e-2)
    np.testing.assert_allclose(output.metrics["on_diagonal"], 0, atol=1e-4)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_weights_that_cannot_work(value):
    with pytest.raises(InputError, match=r"method.off_diagonal is .*; it must be a finite number of at least 0\."):
        check(siamese.configured("barlow-twins", off_diagonal=value))
