"""NNCLR's configurations. Each header is a lab note: command, cost, what was seen."""

import dataclasses

from sslax.augment import BYOLViews
from sslax.config import Config, NetworkConfig, OptimizerConfig
from sslax.methods import NNCLR
from sslax.recipes import lightly
from sslax.recipes.byol import BYOL_DIGITS
from sslax.recipes.stl10 import on_stl10

# sslax pretrain nnclr-digits
#
# NNCLR for a first look, with the views, network and optimiser of byol-digits.
# Result: linear 93.9 against 64.6 untrained and 95.0 raw, kNN k=20 91.9 against 59.6 and 97.2.
# Three seeds of split and run: linear 96.0 against 67.0 and 96.3 (results/nnclr-digits-seeds.json).
NNCLR_DIGITS = dataclasses.replace(
    BYOL_DIGITS,
    epochs=50,
    method=NNCLR(
        views=BYOL_DIGITS.method.views, projector_hidden=256, projector_dim=64, predictor_hidden=256, queue=1024
    ),
)

# sslax pretrain nnclr-cifar10 --data folder:PATH
#
# lightly's benchmark: ResNet-18, B=512, 200 epochs, SGD 0.06·B/128, heads 512-2048-256 and 256-4096-256, NT-Xent at τ=.5, a
# queue of 8192, which its table has at this batch; it reports kNN .815 (k=200, the best of all epochs), and .892 at 800
# epochs.
# Source: lightly-ai/lightly, docs/source/getting_started/benchmarks/cifar10_benchmark.py, revision 42a6a92.
# Differences: none in a number; docs/recipes.md has the table. Not yet run.
NNCLR_CIFAR10 = Config(
    method=NNCLR(
        views=lightly.BYOL_VIEWS_32,
        projector_layers=2,
        temperature=0.5,
        queue=8192,
        loss="nt-xent",
    ),
    data="folder:data/cifar10",
    network=lightly.RESNET18_32,
    optim=lightly.sgd(0.12),
    epochs=200,
    batch_size=512,
)

# sslax pretrain nnclr-imagenette --data folder:PATH
#
# lightly's benchmark on Imagenette at 128 pixels: torchvision's ResNet-18, B=256, 800 epochs, SGD 0.06·B/256, heads
# 512-2048-2048-256 and 256-4096-256, NT-Xent at τ=.5, a queue of 4096; it reports kNN .884 (k=200, the best of all epochs),
# and .809 at 200 epochs.
# Source: lightly-ai/lightly, docs/source/getting_started/benchmarks/imagenette_benchmark.py, revision 3ea0736.
# Differences: features are of the central view, not of a whole image's square. Not yet run.
NNCLR_IMAGENETTE = dataclasses.replace(
    NNCLR_CIFAR10,
    method=dataclasses.replace(NNCLR_CIFAR10.method, views=lightly.BYOL_VIEWS_128, projector_layers=3, queue=4096),
    data="folder:data/imagenette",
    canvas=160,
    network=lightly.RESNET18_128,
    optim=lightly.sgd(0.06),
    epochs=800,
    batch_size=256,
)

# sslax pretrain nnclr-imagenet --data folder:PATH
#
# The paper's, which has no release: ResNet-50, B=4096, 1000 epochs, LARS 0.3·B/256 with 10 epochs of warmup, weight decay
# 1e-6, τ=.1, a queue of 98,304: 75.6 linear by its abstract.
# Source: Dwibedi et al. 2021, arXiv:2104.14548, section 4.1.
# Differences: what the paper leaves open is BYOL's release's: the colours' semantics, the order of LARS, the network's start.
# Not yet run.
NNCLR_IMAGENET = Config(
    method=NNCLR(views=BYOLViews(size=224, blur_padding="zeros")),
    data="folder:data/imagenet",
    canvas=256,
    network=NetworkConfig(name="resnet50"),
    optim=OptimizerConfig(name="lars", lr=0.3, lr_scaling="linear", weight_decay=1e-6, lr_after_momentum=True),
    epochs=1000,
    batch_size=4096,
)

# sslax pretrain nnclr-cifar100
#
# nnclr-cifar10's recipe on CIFAR-100. Prepared by TensorFlow Datasets; `--data folder:PATH` takes class folders. Not yet run.
NNCLR_CIFAR100 = dataclasses.replace(NNCLR_CIFAR10, data="tfds:cifar100")

# sslax pretrain nnclr-stl10
#
# nnclr-imagenette's recipe on the 100,000 unlabelled images of STL-10 at 96 pixels, the channels' statistics STL-10's; B=512.
# `sslax evaluate RUN --data tfds:stl10` then learns from the 5,000 labelled ones. Not yet run.
NNCLR_STL10 = on_stl10(NNCLR_IMAGENETTE)

CONFIGS: dict[str, Config] = {
    "nnclr-digits": NNCLR_DIGITS,
    "nnclr-cifar10": NNCLR_CIFAR10,
    "nnclr-imagenette": NNCLR_IMAGENETTE,
    "nnclr-imagenet": NNCLR_IMAGENET,
    "nnclr-cifar100": NNCLR_CIFAR100,
    "nnclr-stl10": NNCLR_STL10,
}
