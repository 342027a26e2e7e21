"""BYOL's configurations. Each header is a lab note: command, cost, what was seen."""

import dataclasses

from sslax.augment import BYOLViews
from sslax.config import Config, NetworkConfig, OptimizerConfig
from sslax.methods import BYOL
from sslax.recipes import lightly
from sslax.recipes.stl10 import on_stl10

# sslax pretrain byol-digits
#
# BYOL for a first look, with SimCLR's views and network for the digits.
# Cost and result: 57 s on two CPU cores; linear 95.8 against 64.6 untrained and 95.0 raw, kNN k=20 95.8 against 59.6 and 97.2.
# Three seeds of split and run: linear 97.1 against 67.0 and 96.3 (results/byol-digits-seeds.json).
BYOL_DIGITS = Config(
    method=BYOL(
        views=BYOLViews(
            size=8,
            crop_area=(0.6, 1.0),
            flip=0.0,
            saturation=0.0,
            hue=0.0,
            grayscale=0.0,
            blur=(0.0, 0.0),
            solarize=(0.0, 0.0),
            mean=None,
            std=None,
        ),
        decay=0.99,
        projector_hidden=256,
        projector_dim=64,
        predictor_hidden=256,
    ),
    data="digits",
    network=NetworkConfig(name="patch-resnet", width=32, patch_size=2),
    optim=OptimizerConfig(name="adamw", lr=3e-3, warmup_epochs=5.0),
    epochs=150,
    batch_size=256,
    eval_every=25,
    checkpoint_every=25,
)

# sslax pretrain byol-cifar10 --data folder:PATH
#
# lightly's benchmark: ResNet-18, B=512, 200 epochs, SGD 0.06·B/128, heads 512-1024-256 and 256-1024-256, constant decay .99; it
# reports kNN .868 (k=200, the best of all epochs), and .910 at 800 epochs. Its table is of a time when BYOL had SimCLR's
# transform: one jitter for both views, neither blur nor solarisation. Its loss ½(-cos-cos) has a quarter of BYOL's gradient.
# Source: lightly-ai/lightly, docs/source/getting_started/benchmarks/cifar10_benchmark.py, revision 42a6a92.
# Differences: none in a number; docs/recipes.md has the table. Not yet run as it stands.
BYOL_CIFAR10 = Config(
    method=BYOL(
        views=lightly.BYOL_VIEWS_32,
        decay=0.99,
        decay_schedule="constant",
        target_start="online",
        projector_hidden=1024,
        predictor_hidden=1024,
        output_bias=True,
        loss_scale=0.25,
    ),
    data="folder:data/cifar10",
    network=lightly.RESNET18_32,
    optim=lightly.sgd(0.12),
    epochs=200,
    batch_size=512,
)

# sslax pretrain byol-imagenette --data folder:PATH
#
# The released code's small run: 128 pixels, ResNet-18, B=256, LARS 2.0·B/256, weight decay 1e-6, 1000 epochs, about 92.3 online
# linear in 4 h on one V100.
# Source: google-deepmind/deepmind-research, byol/README.md ("Setup for fast iteration", revision 2314aa7), and
# byol/configs/byol.py, byol_experiment.py and utils/ (revision 4822a45).
# Differences: crops are resized with antialiasing and drawn again where they do not fit; no 1x1 convolution in the first
# block's shortcut, padding symmetric. docs/recipes.md has the table. Not yet run.
BYOL_IMAGENETTE = Config(
    method=BYOL(views=BYOLViews(size=128, blur_padding="zeros")),
    data="folder:data/imagenette",
    canvas=160,
    network=NetworkConfig(name="resnet18", zero_residual=False),
    optim=OptimizerConfig(name="lars", lr=2.0, lr_scaling="linear", weight_decay=1e-6, lr_after_momentum=True),
    epochs=1000,
    batch_size=256,
)

# sslax pretrain byol-imagenet --data folder:PATH
#
# The release's preset for 300 epochs, which is the paper's (appendix F): ResNet-50, B=4096, LARS 0.3·B/256, weight decay 1e-6,
# τ_base .99; 72.5 linear.
# Source: google-deepmind/deepmind-research, byol/configs/byol.py, byol_experiment.py and utils/, revision 4822a45.
# Differences: crops as byol-imagenette's; padding symmetric, and the stride of a block in its 3x3 convolution. Not yet run.
BYOL_IMAGENET = Config(
    method=BYOL(views=BYOLViews(size=224, blur_padding="zeros"), decay=0.99),
    data="folder:data/imagenet",
    canvas=256,
    network=NetworkConfig(name="resnet50"),
    optim=OptimizerConfig(name="lars", lr=0.3, lr_scaling="linear", weight_decay=1e-6, lr_after_momentum=True),
    epochs=300,
    batch_size=4096,
)

# sslax pretrain byol-cifar100
#
# byol-cifar10's recipe on CIFAR-100. Prepared by TensorFlow Datasets; `--data folder:PATH` takes class folders. Not yet run.
BYOL_CIFAR100 = dataclasses.replace(BYOL_CIFAR10, data="tfds:cifar100")

# sslax pretrain byol-stl10
#
# byol-imagenette's recipe on the 100,000 unlabelled images of STL-10 at 96 pixels, the channels' statistics STL-10's.
# `sslax evaluate RUN --data tfds:stl10` then learns from the 5,000 labelled ones. Not yet run.
BYOL_STL10 = on_stl10(BYOL_IMAGENETTE)

CONFIGS: dict[str, Config] = {
    "byol-digits": BYOL_DIGITS,
    "byol-cifar10": BYOL_CIFAR10,
    "byol-imagenette": BYOL_IMAGENETTE,
    "byol-imagenet": BYOL_IMAGENET,
    "byol-cifar100": BYOL_CIFAR100,
    "byol-stl10": BYOL_STL10,
}
