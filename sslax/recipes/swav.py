"""SwAV's configurations. Each header is a lab note: command, cost, what was seen."""

import dataclasses

from sslax.augment import DINOViews
from sslax.config import Config, NetworkConfig, OptimizerConfig
from sslax.methods import SwAV
from sslax.recipes import lightly
from sslax.recipes.byol import BYOL_DIGITS
from sslax.recipes.dino import DINO_DIGITS
from sslax.recipes.stl10 import on_stl10

# sslax pretrain swav-digits
#
# SwAV for a first look: the network and optimiser of byol-digits, the crops of dino-digits. The release's ε of .05 leaves the
# codes of so few epochs uniform: with it 75 epochs of batches of 256 reached kNN k=20 75.2.
# Result: linear 97.2 against 69.4 untrained and 95.0 raw, kNN k=20 96.4 against 65.2 and 97.2.
# Three seeds of split and run: linear 96.8 against 71.3 and 96.3 (results/swav-digits-seeds.json).
SWAV_DIGITS = dataclasses.replace(
    BYOL_DIGITS,
    epochs=40,
    batch_size=128,
    eval_every=20,
    checkpoint_every=20,
    method=SwAV(views=DINO_DIGITS.method.views, projector_hidden=256, projector_dim=64, prototypes=64, epsilon=0.02),
)

# `SwaVTransform` of lightly at half its strength, without blur: two crops of 32 pixels.
_VIEWS_32 = DINOViews(
    size=32,
    global_area=(0.14, 1.0),
    local_size=16,
    local_area=(0.05, 0.14),
    local_crops=0,
    interpolation="bilinear",
    saturation=0.4,
    blur=(0.0, 0.0, 0.0),
    solarize=(0.0, 0.0),
)

# sslax pretrain swav-cifar10 --data folder:PATH
#
# lightly's benchmark: ResNet-18, B=512, 200 epochs, Adam 1e-3·B/128, head 512-512-128 to 512 prototypes, two crops of (.14,
# 1), no prototypes frozen; it reports kNN .842 (k=200, the best of all epochs), and .884 at 800 epochs.
# Source: lightly-ai/lightly, docs/source/getting_started/benchmarks/cifar10_benchmark.py, revision 42a6a92.
# Differences: weight decay beside the gradient (AdamW), there in it; no bias in the prototypes. Not yet run.
SWAV_CIFAR10 = Config(
    method=SwAV(views=_VIEWS_32, projector_hidden=512, prototypes=512, frozen_epochs=0.0, separate_views=True),
    data="folder:data/cifar10",
    network=lightly.RESNET18_32,
    optim=OptimizerConfig(
        name="adamw",
        lr=2e-3,
        lr_scaling="linear",
        warmup_epochs=0.0,
        schedule="epoch",
        weight_decay=1e-6,
        decay_all=True,
    ),
    epochs=200,
    batch_size=512,
)

# sslax pretrain swav-imagenette --data folder:PATH
#
# lightly's benchmark on Imagenette: torchvision's ResNet-18, two crops of 128 and six of 64 pixels, B=256, 800 epochs, Adam
# 1e-3, head 512-2048-128 to 3000 prototypes; it reports kNN .902 (k=200, the best of all epochs), and .861 at 200 epochs.
# Source: lightly-ai/lightly, docs/source/getting_started/benchmarks/imagenette_benchmark.py, revision 3ea0736.
# Differences: as swav-cifar10's; features are of the central view, not of a whole image's square. Not yet run.
SWAV_IMAGENETTE = dataclasses.replace(
    SWAV_CIFAR10,
    method=SwAV(
        views=dataclasses.replace(_VIEWS_32, size=128, local_size=64, local_crops=6, blur=(0.5, 0.5, 0.5)),
        frozen_epochs=0.0,
        separate_views=True,
    ),
    data="folder:data/imagenette",
    canvas=160,
    network=lightly.RESNET18_128,
    optim=dataclasses.replace(SWAV_CIFAR10.optim, lr=1e-3),
    epochs=800,
    batch_size=256,
)

# sslax pretrain swav-imagenet --data folder:PATH
#
# The released script for 100 epochs: ResNet-50, 64 GPUs of 64 images, LARC 4.8 from 0.3 to 0.0048 on all parameters, weight
# decay 1e-6, 2 x 224 and 6 x 96 pixels, 3000 prototypes that are frozen for 313 steps: 72.1 linear. (200, 400 and 800 epochs:
# 73.9, 74.6 and 75.3.)
# Source: facebookresearch/swav, scripts/swav_100ep_pretrain.sh, main_swav.py and src/, revision 06b1b7c.
# Differences: LARC's ratio has |g| + wd·|p| where LARS has |g + wd·p|; prototypes are frozen for an epoch, which is 312
# steps; BatchNorm over the whole batch, there over groups of 8 GPUs. Not yet run.
SWAV_IMAGENET = Config(
    method=SwAV(),
    data="folder:data/imagenet",
    canvas=256,
    network=NetworkConfig(name="resnet50", initial="torchvision", zero_residual=False),
    optim=OptimizerConfig(
        name="lars",
        lr=0.3,
        lr_scaling="linear",
        start_lr=0.3,
        end_lr=0.0048,
        warmup="dino",
        weight_decay=1e-6,
        decay_all=True,
        lr_after_momentum=True,
    ),
    epochs=100,
    batch_size=4096,
)

# sslax pretrain swav-cifar100
#
# swav-cifar10's recipe on CIFAR-100. Prepared by TensorFlow Datasets; `--data folder:PATH` takes class folders. Not yet run.
SWAV_CIFAR100 = dataclasses.replace(SWAV_CIFAR10, data="tfds:cifar100")

# sslax pretrain swav-stl10
#
# swav-imagenette's recipe on the 100,000 unlabelled images of STL-10: crops of 96 and 48 pixels, the channels' statistics
# STL-10's. `sslax evaluate RUN --data tfds:stl10` then learns from the 5,000 labelled ones. Not yet run.
SWAV_STL10 = on_stl10(SWAV_IMAGENETTE, batch_size=256)

CONFIGS: dict[str, Config] = {
    "swav-digits": SWAV_DIGITS,
    "swav-cifar10": SWAV_CIFAR10,
    "swav-imagenette": SWAV_IMAGENETTE,
    "swav-imagenet": SWAV_IMAGENET,
    "swav-cifar100": SWAV_CIFAR100,
    "swav-stl10": SWAV_STL10,
}
