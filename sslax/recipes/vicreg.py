"""VICReg's configurations. Each header is a lab note: command, cost, what was seen."""

import dataclasses

from sslax.augment import BYOLViews
from sslax.config import Config, NetworkConfig, OptimizerConfig
from sslax.methods import VICReg
from sslax.recipes import lightly, solo
from sslax.recipes.byol import BYOL_DIGITS
from sslax.recipes.stl10 import on_stl10

# sslax pretrain vicreg-digits
#
# VICReg for a first look, with BYOL's views, network and optimiser for the digits.
# Cost: 158 s of processor time for the whole command, on two CPU cores that other work shared.
# Result: linear 97.2 against 65.2 untrained and 95.0 raw, kNN k=20 97.5 against 59.1 and 97.2.
# Three seeds of split and run: linear 98.0 against 66.8 and 96.3 (results/vicreg-digits-seeds.json).
VICREG_DIGITS = dataclasses.replace(
    BYOL_DIGITS,
    method=VICReg(
        views=BYOL_DIGITS.method.views,
        projector_hidden=256,
        projector_dim=256,
    ),
)

# sslax pretrain vicreg-cifar10 --data folder:PATH
#
# solo-learn's recipe, as lightly's benchmark on CIFAR-10 has no VICReg: ResNet-18, B=256, 1000 epochs, LARS 0.3 with trust
# coefficient .02 and clipped rates, weight decay 1e-4, projector 512-2048-2048-2048, the variance terms summed and not
# halved; it reports 92.07 by an online linear classifier.
# Source: vturrisi/solo-learn, scripts/pretrain/cifar/vicreg.yaml, revision 9187ea3.
# Differences: the stem's convolution has a padding of 1, there of 2; docs/recipes.md has the table. Not yet run.
VICREG_CIFAR10 = Config(
    method=VICReg(
        views=dataclasses.replace(solo.VIEWS_32, crop_area=(0.2, 1.0), solarize=(0.1, 0.1)),
        projector_hidden=2048,
        projector_dim=2048,
        halved=False,
    ),
    data="folder:data/cifar10",
    network=solo.RESNET18,
    optim=solo.lars(1e-4),
    epochs=1000,
    batch_size=256,
)

# sslax pretrain vicreg-imagenette --data folder:PATH
#
# lightly's benchmark on Imagenette at 128 pixels: torchvision's ResNet-18, B=256, 800 epochs, LARS 0.3 on all parameters with
# 40 epochs of warmup, weight decay 1e-4, projector 512-2048-2048-2048; it reports kNN .845 (k=200, the best of all epochs),
# and .763 at 200 epochs.
# Source: lightly-ai/lightly, docs/source/getting_started/benchmarks/imagenette_benchmark.py, revision 3ea0736.
# Differences: the warmup rises by almost a fortieth each epoch, there by exactly that; solarisation follows the blur;
# features are of the central view, not of a whole image's square. Not yet run.
VICREG_IMAGENETTE = Config(
    method=VICReg(
        views=BYOLViews(
            size=128, semantics="torchvision", interpolation="bilinear", blur=(0.5, 0.5), solarize=(0.1, 0.1)
        ),
        projector_hidden=2048,
        projector_dim=2048,
    ),
    data="folder:data/imagenette",
    canvas=160,
    network=lightly.RESNET18_128,
    optim=OptimizerConfig(
        name="lars",
        lr=0.3,
        lr_scaling="linear",
        warmup_epochs=40.0,
        start_lr=0.3 / 40,
        schedule="epoch",
        weight_decay=1e-4,
        decay_all=True,
        lr_after_momentum=True,
    ),
    epochs=800,
    batch_size=256,
)

# sslax pretrain vicreg-imagenet --data folder:PATH
#
# The release's command for 1000 epochs: ResNet-50, B=2048, LARS 0.2·B/256, weight decay 1e-6, projector 8192-8192-8192: 73.2
# linear.
# Source: facebookresearch/vicreg, README.md (the command) and main_vicreg.py, revision 4e12602.
# Differences: whole batches in each epoch. Not yet run.
VICREG_IMAGENET = Config(
    method=VICReg(views=BYOLViews(size=224, semantics="torchvision")),
    data="folder:data/imagenet",
    canvas=256,
    network=NetworkConfig(name="resnet50", initial="torchvision"),
    optim=OptimizerConfig(
        name="lars",
        lr=0.2,
        lr_scaling="linear",
        end_lr=0.2 * 2048 / 256 * 1e-3,
        weight_decay=1e-6,
        lr_after_momentum=True,
    ),
    epochs=1000,
    batch_size=2048,
)

# sslax pretrain vicreg-cifar100
#
# vicreg-cifar10's recipe with the channels' statistics of CIFAR-100, as solo-learn has it; it reports 68.54 by an online
# linear classifier. Prepared by TensorFlow Datasets; `--data folder:PATH` takes class folders. Not yet run.
VICREG_CIFAR100 = dataclasses.replace(
    VICREG_CIFAR10,
    method=dataclasses.replace(VICREG_CIFAR10.method, views=solo.views_32(VICREG_CIFAR10.method.views, "cifar100")),
    data="tfds:cifar100",
)

# sslax pretrain vicreg-stl10
#
# vicreg-imagenette's recipe on the 100,000 unlabelled images of STL-10 at 96 pixels, the channels' statistics STL-10's;
# B=512, with ten epochs of warmup. `sslax evaluate RUN --data tfds:stl10` then learns from the 5,000 labelled ones. Not yet
# run.
VICREG_STL10 = on_stl10(
    VICREG_IMAGENETTE, optim=dataclasses.replace(VICREG_IMAGENETTE.optim, warmup_epochs=10.0, start_lr=0.6 / 10)
)

CONFIGS: dict[str, Config] = {
    "vicreg-digits": VICREG_DIGITS,
    "vicreg-cifar10": VICREG_CIFAR10,
    "vicreg-imagenette": VICREG_IMAGENETTE,
    "vicreg-imagenet": VICREG_IMAGENET,
    "vicreg-cifar100": VICREG_CIFAR100,
    "vicreg-stl10": VICREG_STL10,
}
