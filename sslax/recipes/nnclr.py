"""NNCLR's configurations. Each header is a lab note: command, cost, what was seen."""

import dataclasses

from sslax.methods import NNCLR
from sslax.recipes.byol import BYOL_DIGITS

# sslax pretrain nnclr-digits
#
# NNCLR for a first look, with the views, network and optimiser of byol-digits.
NNCLR_DIGITS = dataclasses.replace(
    BYOL_DIGITS,
    epochs=50,
    method=NNCLR(
        views=BYOL_DIGITS.method.views, projector_hidden=256, projector_dim=64, predictor_hidden=256, queue=1024
    ),
)
