"""MoCo v3's configurations. Each header is a lab note: command, cost, what was seen."""

import dataclasses

from sslax.methods import MoCoV3
from sslax.recipes.byol import BYOL_DIGITS

# sslax pretrain moco-v3-digits
#
# MoCo v3 for a first look, with the views, network and optimiser of byol-digits.
MOCO_V3_DIGITS = dataclasses.replace(
    BYOL_DIGITS,
    epochs=50,
    method=MoCoV3(
        views=BYOL_DIGITS.method.views, projector_hidden=256, projector_dim=64, predictor_hidden=256, temperature=0.2
    ),
)
