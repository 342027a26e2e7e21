"""SimSiam's configurations. Each header is a lab note: command, cost, what was seen."""

import dataclasses

from sslax.augment import SimCLRViews
from sslax.config import Config, NetworkConfig, OptimizerConfig
from sslax.data.known import KNOWN
from sslax.methods import SimSiam
from sslax.recipes import lightly
from sslax.recipes.simclr import SIMCLR_DIGITS
from sslax.recipes.stl10 import on_stl10

# sslax pretrain simsiam-digits
#
# SimSiam for a first look, with SimCLR's views, network and optimiser for the digits.
# Cost: 165 s of processor time for the whole command, on two CPU cores that other work shared.
# Result: linear 96.7 against 65.2 untrained and 95.0 raw, kNN k=20 94.4 against 59.1 and 97.2.
# Three seeds of split and run: linear 97.5 against 66.8 and 96.3 (results/simsiam-digits-seeds.json).
SIMSIAM_DIGITS = dataclasses.replace(
    SIMCLR_DIGITS,
    method=SimSiam(
        views=SIMCLR_DIGITS.method.views,
        projector_hidden=256,
        projector_dim=256,
        predictor_hidden=64,
    ),
)

# `SimSiamTransform` of lightly, and the release's: SimCLR's at half its strength, crops of a fifth of the image and more.
_VIEWS_32 = dataclasses.replace(lightly.VIEWS_32, crop_area=(0.2, 1.0))

# sslax pretrain simsiam-cifar10 --data folder:PATH
#
# lightly's benchmark: ResNet-18, B=512, 200 epochs, SGD 0.06 whatever the batch, heads 512-2048-2048 and 2048-512-2048, the
# predictor's rate on the same cosine; it reports kNN .764 (k=200, the best of all epochs), and .904 at 800 epochs.
# Source: lightly-ai/lightly, docs/source/getting_started/benchmarks/cifar10_benchmark.py, revision 42a6a92.
# Differences: the last norm of the projector has neither scale nor offset, as in the release. Not yet run.
SIMSIAM_CIFAR10 = Config(
    method=SimSiam(views=_VIEWS_32, projector_layers=2, constant_predictor_rate=False),
    data="folder:data/cifar10",
    network=lightly.RESNET18_32,
    optim=dataclasses.replace(lightly.sgd(0.06), lr_scaling="none"),
    epochs=200,
    batch_size=512,
)

# sslax pretrain simsiam-imagenette --data folder:PATH
#
# lightly's benchmark on Imagenette at 128 pixels: torchvision's ResNet-18, B=256, 800 epochs, SGD 0.06, the paper's heads; it
# reports kNN .872 (k=200, the best of all epochs), and .752 at 200 epochs.
# Source: lightly-ai/lightly, docs/source/getting_started/benchmarks/imagenette_benchmark.py, revision 3ea0736.
# Differences: features are of the central view, not of a whole image's square. Not yet run.
SIMSIAM_IMAGENETTE = dataclasses.replace(
    SIMSIAM_CIFAR10,
    method=SimSiam(views=dataclasses.replace(_VIEWS_32, size=128, blur=0.5), constant_predictor_rate=False),
    data="folder:data/imagenette",
    canvas=160,
    network=lightly.RESNET18_128,
    epochs=800,
    batch_size=256,
)

# sslax pretrain simsiam-imagenet --data folder:PATH
#
# The released command: ResNet-50, B=512, 100 epochs, SGD 0.05·B/256, weight decay 1e-4 on everything, a cosine stepped once
# an epoch without warmup, the predictor's rate constant: 68.1 linear.
# Source: facebookresearch/simsiam, README.md (the command), main_simsiam.py and simsiam/builder.py, revision a7bc177.
# Differences: none in a number. Not yet run.
SIMSIAM_IMAGENET = Config(
    method=SimSiam(
        views=SimCLRViews(
            size=224,
            crop_area=(0.2, 1.0),
            strength=0.5,
            semantics="torchvision",
            crop_sampling="torchvision",
            interpolation="bilinear",
            mean=KNOWN["imagenet2012"].mean,
            std=KNOWN["imagenet2012"].std,
        )
    ),
    data="folder:data/imagenet",
    canvas=256,
    network=NetworkConfig(name="resnet50", initial="torchvision"),
    optim=OptimizerConfig(
        name="sgd",
        lr=0.05,
        lr_scaling="linear",
        warmup_epochs=0.0,
        schedule="epoch",
        weight_decay=1e-4,
        decay_all=True,
    ),
    epochs=100,
    batch_size=512,
)

# sslax pretrain simsiam-cifar100
#
# simsiam-cifar10's recipe on CIFAR-100. Prepared by TensorFlow Datasets; `--data folder:PATH` takes class folders. Not yet
# run.
SIMSIAM_CIFAR100 = dataclasses.replace(SIMSIAM_CIFAR10, data="tfds:cifar100")

# sslax pretrain simsiam-stl10
#
# simsiam-imagenette's recipe on the 100,000 unlabelled images of STL-10 at 96 pixels, the channels' statistics STL-10's;
# B=512. `sslax evaluate RUN --data tfds:stl10` then learns from the 5,000 labelled ones. Not yet run.
SIMSIAM_STL10 = on_stl10(SIMSIAM_IMAGENETTE)

CONFIGS: dict[str, Config] = {
    "simsiam-digits": SIMSIAM_DIGITS,
    "simsiam-cifar10": SIMSIAM_CIFAR10,
    "simsiam-imagenette": SIMSIAM_IMAGENETTE,
    "simsiam-imagenet": SIMSIAM_IMAGENET,
    "simsiam-cifar100": SIMSIAM_CIFAR100,
    "simsiam-stl10": SIMSIAM_STL10,
}
