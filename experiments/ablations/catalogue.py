"""All tables, in the order of the list and of the page."""

from experiments.ablations import (
    batch_norm,
    byol_augmentations,
    byol_batch,
    byol_decay,
    byol_depth,
    byol_parts,
    dino_center,
    dino_collapse,
    dino_crops,
    dino_head,
    dino_parts,
    dino_prototypes,
    dino_temperature,
    regularisation,
    simclr_augmentations,
    simclr_batch_epochs,
    simclr_head,
    simclr_losses,
    simclr_strength,
    simclr_temperature,
)
from experiments.ablations.table import Table

_MODULES = (
    simclr_augmentations,
    simclr_strength,
    simclr_temperature,
    simclr_losses,
    simclr_head,
    simclr_batch_epochs,
    byol_batch,
    byol_augmentations,
    byol_decay,
    byol_parts,
    byol_depth,
    batch_norm,
    dino_parts,
    dino_collapse,
    dino_center,
    dino_temperature,
    dino_crops,
    dino_prototypes,
    dino_head,
    regularisation,
)
TABLES: dict[str, Table] = {module.TABLE.name: module.TABLE for module in _MODULES}
