"""SwAV's configurations. Each header is a lab note: command, cost, what was seen."""

import dataclasses

from sslax.methods import SwAV
from sslax.recipes.byol import BYOL_DIGITS
from sslax.recipes.dino import DINO_DIGITS

# sslax pretrain swav-digits
#
# SwAV for a first look: the network and optimiser of byol-digits, the crops of dino-digits. The release's ε of .05 leaves the
# codes of so few epochs uniform: with it 75 epochs of batches of 256 reached kNN k=20 75.2.
SWAV_DIGITS = dataclasses.replace(
    BYOL_DIGITS,
    epochs=40,
    batch_size=128,
    eval_every=20,
    checkpoint_every=20,
    method=SwAV(views=DINO_DIGITS.method.views, projector_hidden=256, projector_dim=64, prototypes=64, epsilon=0.02),
)
