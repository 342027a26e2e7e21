"""SimSiam's configurations. Each header is a lab note: command, cost, what was seen."""

import dataclasses

from sslax.methods import SimSiam
from sslax.recipes.simclr import SIMCLR_DIGITS

# sslax pretrain simsiam-digits
#
# SimSiam for a first look, with SimCLR's views, network and optimiser for the digits.
SIMSIAM_DIGITS = dataclasses.replace(
    SIMCLR_DIGITS,
    method=SimSiam(
        views=SIMCLR_DIGITS.method.views,
        projector_hidden=256,
        projector_dim=256,
        predictor_hidden=64,
    ),
)
