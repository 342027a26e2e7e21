"""Barlow Twins' configurations. Each header is a lab note: command, cost, what was seen."""

import dataclasses

from sslax.augment import BYOLViews
from sslax.config import Config, NetworkConfig, OptimizerConfig
from sslax.methods import BarlowTwins
from sslax.recipes import lightly
from sslax.recipes.byol import BYOL_DIGITS
from sslax.recipes.stl10 import on_stl10

# sslax pretrain barlow-twins-digits
#
# Barlow Twins for a first look, with BYOL's views, network and optimiser for the digits. λ grows as the projections get
# narrower: 0.02 for 256 dimensions. No other value was tried.
# Cost: 174 s of processor time for the whole command, on two CPU cores that other work shared.
# Result: linear 97.2 against 65.2 untrained and 95.0 raw, kNN k=20 97.2 against 59.1 and 97.2.
# Three seeds of split and run: linear 97.8 against 66.8 and 96.3 (results/barlow-twins-digits-seeds.json).
BARLOW_TWINS_DIGITS = dataclasses.replace(
    BYOL_DIGITS,
    method=BarlowTwins(
        views=BYOL_DIGITS.method.views,
        projector_hidden=256,
        projector_dim=256,
        off_diagonal=0.02,
    ),
)

# sslax pretrain barlow-twins-cifar10 --data folder:PATH
#
# lightly's benchmark: ResNet-18, B=512, 200 epochs, SGD 0.06·B/128, projector 512-2048-2048, λ=.005; it reports kNN .819
# (k=200, the best of all epochs), and .859 at 800 epochs.
# Source: lightly-ai/lightly, docs/source/getting_started/benchmarks/cifar10_benchmark.py, revision 42a6a92.
# Differences: features are standardised by the biased variance with ε 1e-5, as in the release; there by the unbiased one
# without ε. The last layer's bias, which the standardisation removes, is left out.
# Measured on one H100, bfloat16, CIFAR-10 as JPEG of quality 75, one seed: kNN .781 (k=200, the best of all epochs) and .798
# (k=20) in 422 s with a kNN evaluation after each epoch; 38,600 images/s.
BARLOW_TWINS_CIFAR10 = Config(
    method=BarlowTwins(
        views=lightly.BYOL_VIEWS_32,
        projector_hidden=2048,
        projector_dim=2048,
        projector_layers=2,
        off_diagonal=0.005,
    ),
    data="folder:data/cifar10",
    network=lightly.RESNET18_32,
    optim=lightly.sgd(0.12),
    epochs=200,
    batch_size=512,
)

# sslax pretrain barlow-twins-imagenette --data folder:PATH
#
# lightly's benchmark on Imagenette at 128 pixels: torchvision's ResNet-18, B=256, 800 epochs, SGD 0.06·B/256, projector
# 512-2048-2048-2048; it reports kNN .852 (k=200, the best of all epochs), and .651 at 200 epochs.
# Source: lightly-ai/lightly, docs/source/getting_started/benchmarks/imagenette_benchmark.py, revision 3ea0736.
# Differences: as barlow-twins-cifar10's; features are of the central view, not of a whole image's square. Not yet run.
BARLOW_TWINS_IMAGENETTE = dataclasses.replace(
    BARLOW_TWINS_CIFAR10,
    method=dataclasses.replace(BARLOW_TWINS_CIFAR10.method, views=lightly.BYOL_VIEWS_128, projector_layers=3),
    data="folder:data/imagenette",
    canvas=160,
    network=lightly.RESNET18_128,
    optim=lightly.sgd(0.06),
    epochs=800,
    batch_size=256,
)

# sslax pretrain barlow-twins-imagenet --data folder:PATH
#
# The released command: ResNet-50, B=2048, 1000 epochs, LARS 0.2·B/256 for weights and 0.0048·B/256 for biases and norms,
# weight decay 1e-6, projector 8192-8192-8192, λ=.0051: 73.5 linear, in 7 days on 16 V100.
# Source: facebookresearch/barlowtwins, README.md and main.py, revision 8e8d284.
# Differences: whole batches in each epoch. Not yet run.
BARLOW_TWINS_IMAGENET = Config(
    method=BarlowTwins(views=BYOLViews(size=224, semantics="torchvision")),
    data="folder:data/imagenet",
    canvas=256,
    network=NetworkConfig(name="resnet50", initial="torchvision"),
    optim=OptimizerConfig(
        name="lars",
        lr=0.2,
        bias_lr=0.0048,
        lr_scaling="linear",
        end_lr=0.2 * 2048 / 256 * 1e-3,
        weight_decay=1e-6,
        lr_after_momentum=True,
    ),
    epochs=1000,
    batch_size=2048,
)

# sslax pretrain barlow-twins-cifar100
#
# barlow-twins-cifar10's recipe on CIFAR-100. Prepared by TensorFlow Datasets; `--data folder:PATH` takes class folders. Not
# yet run.
BARLOW_TWINS_CIFAR100 = dataclasses.replace(BARLOW_TWINS_CIFAR10, data="tfds:cifar100")

# sslax pretrain barlow-twins-stl10
#
# barlow-twins-imagenette's recipe on the 100,000 unlabelled images of STL-10 at 96 pixels, the channels' statistics STL-10's;
# B=512. `sslax evaluate RUN --data tfds:stl10` then learns from the 5,000 labelled ones. Not yet run.
BARLOW_TWINS_STL10 = on_stl10(BARLOW_TWINS_IMAGENETTE)

CONFIGS: dict[str, Config] = {
    "barlow-twins-digits": BARLOW_TWINS_DIGITS,
    "barlow-twins-cifar10": BARLOW_TWINS_CIFAR10,
    "barlow-twins-imagenette": BARLOW_TWINS_IMAGENETTE,
    "barlow-twins-imagenet": BARLOW_TWINS_IMAGENET,
    "barlow-twins-cifar100": BARLOW_TWINS_CIFAR100,
    "barlow-twins-stl10": BARLOW_TWINS_STL10,
}
