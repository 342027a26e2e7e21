"""MoCo v3's configurations. Each header is a lab note: command, cost, what was seen."""

import dataclasses

from sslax.augment import BYOLViews
from sslax.config import Config, NetworkConfig, OptimizerConfig
from sslax.methods import MoCoV3
from sslax.recipes import solo
from sslax.recipes.byol import BYOL_DIGITS
from sslax.recipes.stl10 import on_stl10

# sslax pretrain moco-v3-digits
#
# MoCo v3 for a first look, with the views, network and optimiser of byol-digits.
# Result: linear 93.3 against 64.6 untrained and 95.0 raw, kNN k=20 91.4 against 59.6 and 97.2.
# Three seeds of split and run: linear 95.9 against 67.0 and 96.3 (results/moco-v3-digits-seeds.json).
MOCO_V3_DIGITS = dataclasses.replace(
    BYOL_DIGITS,
    epochs=50,
    method=MoCoV3(
        views=BYOL_DIGITS.method.views, projector_hidden=256, projector_dim=64, predictor_hidden=256, temperature=0.2
    ),
)

# sslax pretrain moco-v3-cifar10 --data folder:PATH
#
# solo-learn's recipe, as lightly's benchmark has MoCo v2: ResNet-18, B=256, 1000 epochs, LARS 0.3 with trust coefficient .02
# and clipped rates, weight decay 1e-6, heads 512-4096-256 and 256-4096-256, τ=.2, decay .99 to 1; it reports 93.10 by an
# online linear classifier.
# Source: vturrisi/solo-learn, scripts/pretrain/cifar/mocov3.yaml, revision 9187ea3.
# Differences: the stem's convolution has a padding of 1, there of 2; docs/recipes.md has the table.
# Measured on one H100, bfloat16, CIFAR-10 as JPEG of quality 75, one seed, `--epochs 200`, stopped after 170 epochs (461 s):
# kNN .780 (k=20), 24,300 images/s. The 1000 epochs of the source have not been run.
MOCO_V3_CIFAR10 = Config(
    method=MoCoV3(views=solo.VIEWS_32, temperature=0.2),
    data="folder:data/cifar10",
    network=solo.RESNET18,
    optim=solo.lars(1e-6),
    epochs=1000,
    batch_size=256,
)

# sslax pretrain moco-v3-imagenette --data folder:PATH
#
# solo-learn's recipe for ImageNet-100 on Imagenette at 128 pixels, as neither lightly nor solo-learn has MoCo v3 there:
# ResNet-18, B=256, LARS and heads as moco-v3-cifar10's; 800 epochs, as lightly's benchmarks. Its source has no figure on
# these images.
# Source: vturrisi/solo-learn, scripts/pretrain/imagenet-100/mocov3.yaml, revision 9187ea3.
# Differences: images, size and epochs. Not yet run.
MOCO_V3_IMAGENETTE = dataclasses.replace(
    MOCO_V3_CIFAR10,
    method=MoCoV3(views=BYOLViews(size=128, semantics="torchvision"), temperature=0.2),
    data="folder:data/imagenette",
    canvas=160,
    epochs=800,
)

# sslax pretrain moco-v3-imagenet --data folder:PATH
#
# The release's command for ResNet-50 and 100 epochs: B=4096, LARS 0.6·B/256, weight decay 1e-6, τ=1, decay .99 to 1, crops of
# a fifth of the image and more: 68.9 linear.
# Source: facebookresearch/moco-v3, CONFIG.md (the command), main_moco.py, moco/builder.py and moco/optimizer.py, revision
# c349e6e.
# Differences: none in a number. Not yet run.
MOCO_V3_IMAGENET = Config(
    method=MoCoV3(views=BYOLViews(size=224, crop_area=(0.2, 1.0), semantics="torchvision", interpolation="bilinear")),
    data="folder:data/imagenet",
    canvas=256,
    network=NetworkConfig(name="resnet50", initial="torchvision"),
    optim=OptimizerConfig(name="lars", lr=0.6, lr_scaling="linear", weight_decay=1e-6, lr_after_momentum=True),
    epochs=100,
    batch_size=4096,
)

# sslax pretrain moco-v3-imagenet-vit --data folder:PATH
#
# The release's command for ViT-S, which has 12 heads: B=4096, AdamW 1.5e-4·B/256 with 40 epochs of warmup, weight decay .1 on
# everything, τ=.2, decay .99 to 1, a fixed patch embedding and fixed positions, 300 epochs: 73.2 linear.
# `--network.name vit-base` is its ViT-B: 76.7 linear.
# Source: facebookresearch/moco-v3, CONFIG.md (the command), main_moco.py, vits.py and moco/builder.py, revision c349e6e.
# Differences: none in a number. Not yet run.
MOCO_V3_IMAGENET_VIT = Config(
    method=MoCoV3(
        views=BYOLViews(size=224, semantics="torchvision", interpolation="bilinear"),
        projector_layers=3,
        predictor_norm="plain",
        temperature=0.2,
    ),
    data="folder:data/imagenet",
    canvas=256,
    network=NetworkConfig(name="vit-small", heads=12, drop_path=0.0, initial="moco-v3"),
    optim=OptimizerConfig(
        name="adamw", lr=1.5e-4, lr_scaling="linear", warmup_epochs=40.0, weight_decay=0.1, decay_all=True
    ),
    epochs=300,
    batch_size=4096,
)

# sslax pretrain moco-v3-cifar100
#
# moco-v3-cifar10's recipe with the channels' statistics of CIFAR-100, as solo-learn has it; it reports 68.83 by an online
# linear classifier. Prepared by TensorFlow Datasets; `--data folder:PATH` takes class folders. Not yet run.
MOCO_V3_CIFAR100 = dataclasses.replace(
    MOCO_V3_CIFAR10,
    method=dataclasses.replace(MOCO_V3_CIFAR10.method, views=solo.views_32(MOCO_V3_CIFAR10.method.views, "cifar100")),
    data="tfds:cifar100",
)

# sslax pretrain moco-v3-stl10
#
# moco-v3-imagenette's recipe on the 100,000 unlabelled images of STL-10 at 96 pixels, the channels' statistics STL-10's;
# B=512. `sslax evaluate RUN --data tfds:stl10` then learns from the 5,000 labelled ones. Not yet run.
MOCO_V3_STL10 = on_stl10(MOCO_V3_IMAGENETTE)

CONFIGS: dict[str, Config] = {
    "moco-v3-digits": MOCO_V3_DIGITS,
    "moco-v3-cifar10": MOCO_V3_CIFAR10,
    "moco-v3-imagenette": MOCO_V3_IMAGENETTE,
    "moco-v3-imagenet": MOCO_V3_IMAGENET,
    "moco-v3-imagenet-vit": MOCO_V3_IMAGENET_VIT,
    "moco-v3-cifar100": MOCO_V3_CIFAR100,
    "moco-v3-stl10": MOCO_V3_STL10,
}
