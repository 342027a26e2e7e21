"""SimCLR's configurations. Each header is a lab note: command, cost, what was seen."""

import dataclasses

from sslax.augment import SimCLRViews
from sslax.config import Config, NetworkConfig, OptimizerConfig
from sslax.methods import SimCLR

# python -m experiments.pretrain
#
# SimCLR for a first look: digits of 8x8 pixels, gray and never mirrored, so the views are crops and brightness alone.
# Cost and result: see README.md, which quotes the run of `make demo`.
SIMCLR_DIGITS = Config(
    method=SimCLR(
        views=SimCLRViews(
            size=8,
            crop_area=(0.6, 1.0),
            crop_sampling="torchvision",
            flip=0.0,
            strength=0.5,
            grayscale=0.0,
            blur=0.0,
        ),
        temperature=0.5,
    ),
    data="digits",
    network=NetworkConfig(name="patch-resnet", width=32, patch_size=2),
    optim=OptimizerConfig(name="adamw", lr=3e-3, warmup_epochs=5.0),
    epochs=150,
    batch_size=256,
    eval_every=25,
    checkpoint_every=25,
)

# python -m experiments.pretrain simclr-cifar10 --data folder:PATH
#
# CIFAR-10 as the released ResNet-18 command has it (B=512, 1000 epochs, LR 1.0, weight decay 1e-4, τ=0.5, about 91 % linear),
# with the paper's views for 32 pixels (appendix B.9). PATH holds train/CLASS/*.jpg and test/CLASS/*.jpg.
# Cost and result of the full run: not yet run. On CPU take a small network, as README.md shows.
SIMCLR_CIFAR10 = Config(
    method=SimCLR(views=SimCLRViews.small(32), temperature=0.5, projector_layers=3),
    data="folder:data/cifar10",
    network=NetworkConfig(name="resnet18"),
    optim=OptimizerConfig(name="lars", lr=1.0, warmup_epochs=10.0, weight_decay=1e-4),
    epochs=1000,
    batch_size=512,
)

# python -m experiments.pretrain simclr-imagenette --data folder:PATH
#
# Ten classes of ImageNet at 128 pixels: the paper's ImageNet views, LARS with the learning rate of small batches (0.075 √B).
# Cost and result: not yet run.
SIMCLR_IMAGENETTE = Config(
    method=SimCLR(views=SimCLRViews(size=128), temperature=0.2),
    data="folder:data/imagenette",
    canvas=160,
    network=NetworkConfig(name="resnet18"),
    optim=OptimizerConfig(name="lars", lr=0.075, lr_scaling="sqrt", warmup_epochs=10.0, weight_decay=1e-6),
    epochs=800,
    batch_size=256,
)

# python -m experiments.pretrain simclr-imagenet --data folder:PATH
#
# The paper's ResNet-50 (section 2.3 and appendix B): B=4096, LARS 0.3·B/256, 10 epochs of warmup, weight decay 1e-6, τ=0.1.
# Its images at 256 pixels are 250 GB in memory, which needs the machines that the paper had. Not yet run.
SIMCLR_IMAGENET = Config(
    method=SimCLR(views=SimCLRViews(size=224), temperature=0.1),
    data="folder:data/imagenet",
    canvas=256,
    network=NetworkConfig(name="resnet50"),
    optim=OptimizerConfig(name="lars", lr=0.3, lr_scaling="linear", warmup_epochs=10.0, weight_decay=1e-6),
    epochs=100,
    batch_size=4096,
)

# python -m experiments.pretrain simclr-cifar100
#
# As simclr-cifar10, which the literature trains on CIFAR-100 unchanged. Prepared by TensorFlow Datasets; `--data folder:PATH`
# takes class folders. Not yet run.
SIMCLR_CIFAR100 = dataclasses.replace(SIMCLR_CIFAR10, data="tfds:cifar100")

# python -m experiments.pretrain simclr-stl10
#
# The 100,000 unlabelled images of STL-10 at 96 pixels, with the views of ImageNet scaled to them; B=512, LARS 0.3·B/256.
# `python -m experiments.evaluate RUN --data tfds:stl10` then learns from the 5,000 labelled ones. Not yet run.
SIMCLR_STL10 = Config(
    method=SimCLR(views=SimCLRViews(size=96), temperature=0.2),
    data="tfds:stl10:unlabelled",
    canvas=96,
    network=NetworkConfig(name="resnet18"),
    optim=OptimizerConfig(name="lars", lr=0.3, lr_scaling="linear", warmup_epochs=10.0, weight_decay=1e-6),
    epochs=200,
    batch_size=512,
)
