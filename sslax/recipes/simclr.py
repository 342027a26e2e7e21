"""SimCLR's configurations. Each header is a lab note: command, cost, what was seen."""

import dataclasses

from sslax.augment import SimCLRViews
from sslax.config import Config, NetworkConfig, OptimizerConfig
from sslax.methods import SimCLR
from sslax.recipes import lightly
from sslax.recipes.stl10 import on_stl10

# sslax pretrain
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

# sslax pretrain simclr-cifar10 --data folder:PATH
#
# lightly's benchmark: ResNet-18, B=512, 200 epochs, SGD 0.06·B/128, τ=0.5; it reports kNN .848 (k=200, the best of all epochs),
# and .879 at 800 epochs. PATH holds train/CLASS/* and test/CLASS/*.
# Source: lightly-ai/lightly, docs/source/getting_started/benchmarks/cifar10_benchmark.py, revision 42a6a92.
# Differences: none in a number; docs/recipes.md has the table. Seen on one H200, with the images as JPEG of quality 75: 77.6 at
# epoch 185, 42,800 images/s; docs/results.md has the rest. On CPU take a small network, as README.md shows.
SIMCLR_CIFAR10 = Config(
    method=SimCLR(views=lightly.VIEWS_32, temperature=0.5, projector_offset=True, separate_views=True),
    data="folder:data/cifar10",
    network=lightly.RESNET18_32,
    optim=lightly.sgd(0.12),
    epochs=200,
    batch_size=512,
)

# sslax pretrain simclr-cifar10-long --data folder:PATH
#
# CIFAR-10 by the released command: ResNet-18, B=512, 1000 epochs, LARS 1.0·B/256 = 2.0, weight decay 1e-4, τ=0.5; about 91 %
# linear in the literature. The release's loss is the sum of both directions, twice the paper's, which BatchNorm's parameters
# feel.
# Source: google-research/simclr, README.md (the command) and tf2/ (the rest), revision 383d414.
# Differences: crops are resized with antialiasing; no 1x1 convolution in the first block's shortcut; whole batches in each
# epoch. docs/recipes.md has the table. Not yet run.
SIMCLR_CIFAR10_LONG = Config(
    method=SimCLR(
        views=dataclasses.replace(SimCLRViews.small(32), crop_min_covered=0.1),
        temperature=0.5,
        projector_layers=3,
        loss_scale=2.0,
    ),
    data="folder:data/cifar10",
    network=NetworkConfig(name="resnet18"),
    optim=OptimizerConfig(name="lars", lr=1.0, lr_scaling="linear", warmup_epochs=10.0, weight_decay=1e-4),
    epochs=1000,
    batch_size=512,
)

# sslax pretrain simclr-imagenette --data folder:PATH
#
# lightly's benchmark on Imagenette at 128 pixels: torchvision's ResNet-18, B=256, 800 epochs, SGD 0.06·B/256, τ=0.5; it reports
# kNN .889 (k=200, the best of all epochs), and .835 at 200 epochs.
# Source: lightly-ai/lightly, docs/source/getting_started/benchmarks/imagenette_benchmark.py, revision 3ea0736.
# Differences: features are of SimCLR's central view, not of a whole image's square. Not yet run.
SIMCLR_IMAGENETTE = Config(
    method=SimCLR(
        views=dataclasses.replace(lightly.VIEWS_32, size=128, blur=0.5),
        temperature=0.5,
        projector_offset=True,
        separate_views=True,
    ),
    data="folder:data/imagenette",
    canvas=160,
    network=lightly.RESNET18_128,
    optim=lightly.sgd(0.06),
    epochs=800,
    batch_size=256,
)

# sslax pretrain simclr-imagenet --data folder:PATH
#
# The released command for ImageNet: ResNet-50, B=4096, 100 epochs, LARS 0.075·√B = 4.8, weight decay 1e-4, τ=0.1; about 64.5 %
# linear. (The paper has weight decay 1e-6 and a head of two layers.) Images at 256 pixels are 250 GB in memory, else they are
# streamed.
# Source: google-research/simclr, README.md (the command) and tf2/ (the rest), revision 383d414.
# Differences: crops are resized with antialiasing; the max-pool's padding is symmetric; whole batches in each epoch. Not yet
# run.
SIMCLR_IMAGENET = Config(
    method=SimCLR(
        views=SimCLRViews(size=224, crop_min_covered=0.1, blur_padding="zeros"),
        temperature=0.1,
        projector_layers=3,
        loss_scale=2.0,
    ),
    data="folder:data/imagenet",
    canvas=256,
    network=NetworkConfig(name="resnet50"),
    optim=OptimizerConfig(name="lars", lr=0.075, lr_scaling="sqrt", warmup_epochs=10.0, weight_decay=1e-4),
    epochs=100,
    batch_size=4096,
)

# sslax pretrain simclr-cifar100
#
# simclr-cifar10's recipe on CIFAR-100. Prepared by TensorFlow Datasets; `--data folder:PATH` takes class folders. Not yet run.
SIMCLR_CIFAR100 = dataclasses.replace(SIMCLR_CIFAR10, data="tfds:cifar100")

# sslax pretrain simclr-stl10
#
# simclr-imagenette's recipe on the 100,000 unlabelled images of STL-10 at 96 pixels, the channels' statistics STL-10's; B=512.
# `sslax evaluate RUN --data tfds:stl10` then learns from the 5,000 labelled ones. Not yet run.
SIMCLR_STL10 = on_stl10(SIMCLR_IMAGENETTE)

CONFIGS: dict[str, Config] = {
    "simclr-digits": SIMCLR_DIGITS,
    "simclr-cifar10": SIMCLR_CIFAR10,
    "simclr-cifar10-long": SIMCLR_CIFAR10_LONG,
    "simclr-imagenette": SIMCLR_IMAGENETTE,
    "simclr-imagenet": SIMCLR_IMAGENET,
    "simclr-cifar100": SIMCLR_CIFAR100,
    "simclr-stl10": SIMCLR_STL10,
}
