"""DINO's configurations. Each header is a lab note: command, cost, what was seen."""

import dataclasses

from sslax.augment import DINOViews
from sslax.config import Config, NetworkConfig, OptimizerConfig
from sslax.methods import DINO
from sslax.recipes import lightly
from sslax.recipes.stl10 import on_stl10

# sslax pretrain dino-digits
#
# DINO for a first look, on a ViT of 16 patches. Small batches, as it takes some thousand steps to find its way out of uniform
# targets; BatchNorm in the head (the release's option for ResNets) makes that way shorter.
# Cost and result: 139 s on two CPU cores; linear 93.0 against 71.9 untrained and 95.0 raw, kNN k=20 90.8 against 46.5 and 97.2.
# Three seeds of split and run: linear 94.6 against 73.4 and 96.3 (results/dino-digits-seeds.json).
DINO_DIGITS = Config(
    method=DINO(
        views=DINOViews(
            size=8,
            global_area=(0.6, 1.0),
            local_size=6,
            local_area=(0.3, 0.7),
            local_crops=2,
            flip=0.0,
            saturation=0.0,
            hue=0.0,
            grayscale=0.0,
            blur=(0.0, 0.0, 0.0),
            solarize=(0.0, 0.0),
            mean=(0.3, 0.3, 0.3),
            std=(0.38, 0.38, 0.38),
        ),
        prototypes=256,
        head_hidden=256,
        head_bottleneck=64,
        head_batch_norm=True,
        teacher_temperature=0.04,
        teacher_temperature_epochs=0,
        decay=0.99,
    ),
    data="digits",
    network=NetworkConfig(name="vit-micro", patch_size=2, drop_path=0.0),
    optim=OptimizerConfig(name="adamw", lr=2e-3, warmup_epochs=5.0, end_lr=1e-6, warmup="dino", weight_decay=0.04),
    epochs=80,
    batch_size=64,
    eval_every=20,
    checkpoint_every=20,
)

# sslax pretrain dino-cifar10 --data folder:PATH
#
# lightly's benchmark: ResNet-18, B=512, 200 epochs, SGD 0.06·B/128, head of two layers with BatchNorm to K=2048, constant decay
# .99, two crops of (.4, 1) and no local ones, neither clipping nor a frozen last layer; it reports kNN .813 (k=200, of the
# student, the best of all epochs), and .848 at 800 epochs.
# Source: lightly-ai/lightly, docs/source/getting_started/benchmarks/cifar10_benchmark.py, revision 42a6a92.
# Differences: the teacher's head starts as the student's, and not from weights of its own. Not yet run as it stands.
DINO_CIFAR10 = Config(
    method=DINO(
        views=DINOViews(size=32, local_size=16, local_crops=0, blur=(0.0, 0.0, 0.0)),
        prototypes=2048,
        head_layers=2,
        head_batch_norm=True,
        teacher_temperature=0.04,
        teacher_temperature_epochs=0,
        decay=0.99,
        decay_schedule="constant",
        clip=0.0,
        frozen_epochs=0.0,
        separate_views=True,
        evaluate="student",
    ),
    data="folder:data/cifar10",
    network=lightly.RESNET18_32,
    optim=lightly.sgd(0.12),
    epochs=200,
    batch_size=512,
)

# sslax pretrain dino-imagenette --data folder:PATH
#
# lightly's benchmark on Imagenette: torchvision's ResNet-18, crops of 128 and 64 pixels, B=256, 800 epochs, SGD 0.06·B/256,
# head of three layers with BatchNorm to K=2048, constant decay .99; it reports kNN .888 (k=200, of the student, the best of all
# epochs), and .873 at 200 epochs.
# Source: lightly-ai/lightly, docs/source/getting_started/benchmarks/imagenette_benchmark.py, revision 3ea0736.
# Differences: the teacher's head starts as the student's; the head's two BatchNorms are two, where that revision had one for
# both; features are of the central view. Not yet run.
DINO_IMAGENETTE = dataclasses.replace(
    DINO_CIFAR10,
    method=dataclasses.replace(
        DINO_CIFAR10.method, views=DINOViews(size=128, local_size=64, local_crops=6), head_layers=3
    ),
    data="folder:data/imagenette",
    canvas=160,
    network=lightly.RESNET18_128,
    optim=lightly.sgd(0.06),
    epochs=800,
    batch_size=256,
)

# sslax pretrain dino-imagenet --data folder:PATH
#
# The release's full command: ViT-S/16, 16 GPUs of 64 images, AdamW 0.0005·B/256 with 10 epochs of warmup, weight decay .04 to
# .4, 2 x 224 and 8 x 96 pixels, the last layer's gain learned, 300 epochs: 73.3 kNN, 76.0 linear.
# Source: facebookresearch/dino, README.md ("Boosting DINO performance") and main_dino.py's defaults, revision 7c446df. Not yet
# run.
DINO_IMAGENET = Config(
    method=DINO(norm_last_layer=False),
    data="folder:data/imagenet",
    canvas=256,
    network=NetworkConfig(name="vit-small"),
    optim=OptimizerConfig(
        name="adamw",
        lr=0.0005,
        lr_scaling="linear",
        end_lr=1e-6,
        warmup="dino",
        weight_decay=0.04,
        end_weight_decay=0.4,
    ),
    epochs=300,
    batch_size=1024,
)

# sslax pretrain dino-cifar100
#
# dino-cifar10's recipe on CIFAR-100. Prepared by TensorFlow Datasets; `--data folder:PATH` takes class folders. Not yet run.
DINO_CIFAR100 = dataclasses.replace(DINO_CIFAR10, data="tfds:cifar100")

# sslax pretrain dino-stl10
#
# dino-imagenette's recipe on the 100,000 unlabelled images of STL-10: crops of 96 and 48 pixels, the channels' statistics
# STL-10's. `sslax evaluate RUN --data tfds:stl10` then learns from the 5,000 labelled ones. Not yet run.
DINO_STL10 = on_stl10(DINO_IMAGENETTE, batch_size=256)

CONFIGS: dict[str, Config] = {
    "dino-digits": DINO_DIGITS,
    "dino-cifar10": DINO_CIFAR10,
    "dino-imagenette": DINO_IMAGENETTE,
    "dino-imagenet": DINO_IMAGENET,
    "dino-cifar100": DINO_CIFAR100,
    "dino-stl10": DINO_STL10,
}
