"""DINO's configurations. Each header is a lab note: command, cost, what was seen."""

import dataclasses

from sslax.augment import DINOViews
from sslax.config import Config, NetworkConfig, OptimizerConfig
from sslax.data.known import KNOWN
from sslax.methods import DINO

# python -m experiments.pretrain dino-digits
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

# python -m experiments.pretrain dino-cifar10 --data folder:PATH
#
# lightly's benchmark recipe: ResNet-18, B=512, SGD 0.06·B/128, weight decay 5e-4 on everything, no warmup, head of two layers
# with BatchNorm to K=2048, constant decay .99, two crops of (.4, 1) and no local ones; it reports kNN .813 at 200 epochs and
# .848 at 800. Cost and result of the full run: not yet run. A small network on 10,000 images for 15 epochs of two CPU cores
# with other work beside: 205 s, kNN k=20 39.4 against 26.9 untrained and 31.9 raw (results/dino-cifar10-small-cpu.json).
DINO_CIFAR10 = Config(
    method=DINO(
        views=DINOViews(
            size=32,
            global_area=(0.4, 1.0),
            local_size=16,
            local_crops=0,
            saturation=0.4,
            blur=(0.0, 0.0, 0.0),
            solarize=(0.0, 0.0),
        ),
        prototypes=2048,
        head_layers=2,
        head_batch_norm=True,
        teacher_temperature=0.04,
        teacher_temperature_epochs=0,
        decay=0.99,
        decay_schedule="constant",
    ),
    data="folder:data/cifar10",
    network=NetworkConfig(name="resnet18"),
    optim=OptimizerConfig(
        name="sgd", lr=0.12, lr_scaling="linear", warmup_epochs=0.0, weight_decay=5e-4, decay_all=True
    ),
    epochs=200,
    batch_size=512,
)

# python -m experiments.pretrain dino-imagenette --data folder:PATH
#
# The paper's ViT-S/16 and optimiser with its crops scaled to 128 and 64 pixels, K=4096 for ten classes. Not yet run.
DINO_IMAGENETTE = Config(
    method=DINO(views=DINOViews(size=128, local_size=64, local_crops=6), prototypes=4096),
    data="folder:data/imagenette",
    canvas=160,
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
    epochs=800,
    batch_size=256,
)

# python -m experiments.pretrain dino-imagenet --data folder:PATH
#
# The paper's ViT-S/16 (section 3.2 and appendix): B=1024, AdamW 0.0005·B/256 with 10 epochs of warmup, weight decay .04 to .4,
# 2 x 224 and 8 x 96 pixels, 300 epochs: 72.8 kNN, 76.1 linear. Not yet run.
DINO_IMAGENET = dataclasses.replace(
    DINO_IMAGENETTE,
    method=DINO(),
    data="folder:data/imagenet",
    canvas=256,
    epochs=300,
    batch_size=1024,
)

# python -m experiments.pretrain dino-cifar100
#
# As dino-cifar10. Prepared by TensorFlow Datasets; `--data folder:PATH` takes class folders. Not yet run.
DINO_CIFAR100 = dataclasses.replace(DINO_CIFAR10, data="tfds:cifar100")

# python -m experiments.pretrain dino-stl10
#
# dino-imagenette's recipe on the 100,000 unlabelled images of STL-10: crops of 96 and 48 pixels, the channels' statistics
# STL-10's. `python -m experiments.evaluate RUN --data tfds:stl10` then learns from the 5,000 labelled ones. Not yet run.
DINO_STL10 = dataclasses.replace(
    DINO_IMAGENETTE,
    method=DINO(
        views=DINOViews(size=96, local_size=48, local_crops=6, mean=KNOWN["stl10"].mean, std=KNOWN["stl10"].std),
        prototypes=4096,
    ),
    data="tfds:stl10:unlabelled",
    canvas=96,
    epochs=200,
)
