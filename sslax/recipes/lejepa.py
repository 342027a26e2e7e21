"""LeJEPA's configurations. Each header is a lab note: command, cost, what was seen."""

import dataclasses

from sslax.augment import LeJEPAViews
from sslax.config import Config, NetworkConfig, OptimizerConfig
from sslax.data.known import KNOWN
from sslax.methods import LeJEPA

# sslax pretrain lejepa-digits
#
# LeJEPA for a first look, with the crops of dino-digits, on byol-digits' network.
# Cost: 102 s for the whole command on two CPU cores; SIGReg takes most of it.
# Result: linear 95.0 against 65.2 untrained and 95.0 raw, kNN k=20 93.6 against 59.1 and 97.2.
LEJEPA_DIGITS = Config(
    method=LeJEPA(
        views=LeJEPAViews(
            size=8,
            global_area=(0.6, 1.0),
            local_size=6,
            local_area=(0.3, 0.7),
            local_crops=2,
            flip=0.0,
            saturation=0.0,
            hue=0.0,
            grayscale=0.0,
            blur=0.0,
            solarize=0.0,
            mean=None,
            std=None,
        ),
        projector_hidden=256,
        projector_dim=16,
        directions=256,
    ),
    data="digits",
    network=NetworkConfig(name="patch-resnet", width=32, patch_size=2),
    optim=OptimizerConfig(name="adamw", lr=3e-3, warmup_epochs=5.0, weight_decay=0.05),
    epochs=50,
    batch_size=256,
    eval_every=25,
    checkpoint_every=25,
)

# sslax pretrain lejepa-imagenette --data folder:PATH
#
# The authors' minimal example: ViT-S/8 at 128 pixels, four views of one size, B=256, 800 epochs, AdamW 2e-3 to 1e-3, weight
# decay .05 on everything, λ=.02, projections of 16 dimensions; it reports 90.7 by an online linear classifier, in 200 min.
# Source: rbalestr-lab/lejepa, MINIMAL.md, revision eddffdd.
# Differences: the projector lacks its first linear layer, to 512; features are of the central view. Not yet run.
LEJEPA_IMAGENETTE = Config(
    method=LeJEPA(
        views=LeJEPAViews(
            size=128,
            global_area=(0.08, 1.0),
            global_crops=4,
            local_crops=0,
            interpolation="bilinear",
            brightness=0.8,
            contrast=0.8,
            saturation=0.8,
            hue=0.2,
            blur_kernel=7,
        ),
        projector_dim=16,
        sigreg=0.02,
        directions=256,
    ),
    data="folder:data/imagenette",
    canvas=160,
    network=NetworkConfig(name="vit-small", patch_size=8),
    optim=OptimizerConfig(
        name="adamw",
        lr=2e-3,
        warmup_epochs=1.0,
        start_lr=2e-5,
        end_lr=1e-3,
        weight_decay=0.05,
        decay_all=True,
    ),
    epochs=800,
    batch_size=256,
)

# sslax pretrain lejepa-imagenet --data folder:PATH
#
# lightly's benchmark: ViT-S/16, B=512, 100 epochs, AdamW 5e-4, weight decay .05 on everything, λ=.05, 1024 directions, with the
# crops of the authors' README. The table's 64.0 linear is of a loss that was corrected later.
# Source: lightly-ai/lightly, benchmarks/imagenet/vitb16/lejepa.py, revision 8397751; rbalestr-lab/lejepa, README.md, revision
# eddffdd.
# Differences: the projector's BatchNorms see all crops together, as in the authors' example. Not yet run.
LEJEPA_IMAGENET = Config(
    method=LeJEPA(),
    data="folder:data/imagenet",
    canvas=256,
    network=NetworkConfig(name="vit-small", positions="antialiased"),
    optim=OptimizerConfig(
        name="adamw",
        lr=5e-4,
        warmup_epochs=1.0,
        start_lr=5e-6,
        end_lr=5e-7,
        weight_decay=0.05,
        decay_all=True,
    ),
    epochs=100,
    batch_size=512,
)

# sslax pretrain lejepa-cifar10 --data folder:PATH
#
# lejepa-imagenette's recipe on CIFAR-10, with a ViT of patches of 4 and without blur; 200 epochs. Not yet run.
LEJEPA_CIFAR10 = dataclasses.replace(
    LEJEPA_IMAGENETTE,
    method=dataclasses.replace(
        LEJEPA_IMAGENETTE.method,
        views=dataclasses.replace(
            LEJEPA_IMAGENETTE.method.views,
            size=32,
            local_size=16,
            blur=0.0,
            mean=KNOWN["cifar10"].mean,
            std=KNOWN["cifar10"].std,
        ),
    ),
    data="folder:data/cifar10",
    canvas=None,
    network=NetworkConfig(name="vit-tiny", patch_size=4),
    epochs=200,
)

CONFIGS: dict[str, Config] = {
    "lejepa-digits": LEJEPA_DIGITS,
    "lejepa-cifar10": LEJEPA_CIFAR10,
    "lejepa-imagenette": LEJEPA_IMAGENETTE,
    "lejepa-imagenet": LEJEPA_IMAGENET,
}
