"""VICReg's own parts: the head as released, the loss on projections of each view by itself, the variance term's two forms."""

import numpy as np
import pytest

from sslax.config import check
from sslax.errors import InputError
from sslax.losses import vicreg as vicreg_loss
from sslax.networks import MLPHead
from tests import tiny
from tests.methods import siamese

HEAD = MLPHead(hidden=16, features=8, layers=2, hidden_bias=True)
WEIGHTS = {"invariance": 5.0, "variance": 3.0, "covariance": 2.0}


@pytest.fixture(scope="module")
def start():
    """VICReg, its parameters and its statistics."""
    b = siamese.built("vicreg", **WEIGHTS)
    return b, *tiny.start(b.method)


def test_the_head_is_that_of_the_release():
    width, found = siamese.head_shapes("vicreg")
    # The hidden layers have biases, the last one has none and no norm after it.
    kernels = {"Dense_0/kernel": (width, 8192), "Dense_1/kernel": (8192, 8192), "Dense_2/kernel": (8192, 8192)}
    biases = {"Dense_0/bias": (8192,), "Dense_1/bias": (8192,)}
    norms = {f"BatchNorm_{index}/{name}": (8192,) for index in range(2) for name in ("scale", "bias")}
    assert found == {"projector": kernels | biases | norms}


@pytest.mark.parametrize("halved", [True, False])
def test_the_loss_is_that_of_each_view_by_itself(start, halved):
    _, params, aux = start
    b = siamese.built("vicreg", halved=halved, **WEIGHTS)
    first, second = (out["projector"] for out in siamese.by_view(b, {"projector": HEAD}, params, aux))
    loss, output, _ = siamese.evaluated(b, params, aux)
    np.testing.assert_allclose(loss, vicreg_loss(first, second, halved=halved, **WEIGHTS), rtol=1e-4)
    # The metrics are the terms without weights.
    terms = {name: float(output.metrics[name]) for name in WEIGHTS}
    twice = {"variance": 1 if halved else 2}
    np.testing.assert_allclose(loss, sum(WEIGHTS[n] * terms[n] * twice.get(n, 1) for n in WEIGHTS), rtol=1e-4)
    assert 0 < terms["variance"] < 1


def test_constant_projections_have_the_largest_variance_term(start):
    b, params, aux = start
    silent = {**params["projector"], "Dense_1": {"kernel": np.zeros((16, 8), np.float32)}}
    _, output, _ = siamese.evaluated(b, {**params, "projector": silent}, aux)
    terms = {name: float(output.metrics[name]) for name in WEIGHTS}
    # The hinge is at its largest: the deviation of a constant is sqrt(1e-4).
    assert terms == pytest.approx({"invariance": 0.0, "variance": 0.99, "covariance": 0.0}, abs=1e-6)


@pytest.mark.parametrize("field", ["invariance", "variance", "covariance"])
@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_weights_that_cannot_work(field, value):
    with pytest.raises(InputError, match=rf"method\.{field} is .*; it must be a finite number of at least 0\."):
        check(siamese.configured("vicreg", **{field: value}))
