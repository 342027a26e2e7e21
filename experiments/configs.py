"""The named configurations, METHOD-DATASET. Each header is a lab note: command, cost, what was seen."""

import dataclasses

from sslax.augment import BYOLViews, DINOViews, SimCLRViews
from sslax.config import Config, NetworkConfig, OptimizerConfig
from sslax.methods import BYOL, DINO, SimCLR

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

# python -m experiments.pretrain byol-digits
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

# python -m experiments.pretrain byol-cifar10 --data folder:PATH
#
# lightly's benchmark recipe: ResNet-18, B=512, SGD 0.06·B/128, weight decay 5e-4 on everything, no warmup, heads 512-1024-256
# and 256-1024-256, constant decay .99, one jitter for both views, no blur; it reports kNN .868 at 200 epochs, .910 at 800.
# Cost and result: not yet run.
BYOL_CIFAR10 = Config(
    method=BYOL(
        views=BYOLViews(
            size=32,
            saturation=0.4,
            semantics="torchvision",
            blur=(0.0, 0.0),
            solarize=(0.0, 0.0),
        ),
        decay=0.99,
        decay_schedule="constant",
        projector_hidden=1024,
        predictor_hidden=1024,
    ),
    data="folder:data/cifar10",
    network=NetworkConfig(name="resnet18"),
    optim=OptimizerConfig(
        name="sgd", lr=0.12, lr_scaling="linear", warmup_epochs=0.0, weight_decay=5e-4, decay_all=True
    ),
    epochs=200,
    batch_size=512,
)

# python -m experiments.pretrain byol-imagenette --data folder:PATH
#
# The released code's small run: 128 pixels, ResNet-18, B=256, LARS 2.0·B/256, weight decay 1e-6, 1000 epochs, about 92.3 online
# linear in 4 h on one V100. Cost and result: not yet run.
BYOL_IMAGENETTE = Config(
    method=BYOL(views=BYOLViews(size=128)),
    data="folder:data/imagenette",
    canvas=160,
    network=NetworkConfig(name="resnet18"),
    optim=OptimizerConfig(name="lars", lr=2.0, lr_scaling="linear", weight_decay=1e-6, lr_after_momentum=True),
    epochs=1000,
    batch_size=256,
)

# python -m experiments.pretrain byol-imagenet --data folder:PATH
#
# The paper's 300 epochs (appendix F): ResNet-50, B=4096, LARS 0.3·B/256, weight decay 1e-6, τ_base .99; 72.5 linear.
# Cost and result: not yet run.
BYOL_IMAGENET = Config(
    method=BYOL(views=BYOLViews(size=224), decay=0.99),
    data="folder:data/imagenet",
    canvas=256,
    network=NetworkConfig(name="resnet50"),
    optim=OptimizerConfig(name="lars", lr=0.3, lr_scaling="linear", weight_decay=1e-6, lr_after_momentum=True),
    epochs=300,
    batch_size=4096,
)

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
# .848 at 800. Cost and result: not yet run.
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

CONFIGS: dict[str, Config] = {
    "simclr-digits": SIMCLR_DIGITS,
    "simclr-cifar10": SIMCLR_CIFAR10,
    "simclr-imagenette": SIMCLR_IMAGENETTE,
    "simclr-imagenet": SIMCLR_IMAGENET,
    "byol-digits": BYOL_DIGITS,
    "byol-cifar10": BYOL_CIFAR10,
    "byol-imagenette": BYOL_IMAGENETTE,
    "byol-imagenet": BYOL_IMAGENET,
    "dino-digits": DINO_DIGITS,
    "dino-cifar10": DINO_CIFAR10,
    "dino-imagenette": DINO_IMAGENETTE,
    "dino-imagenet": DINO_IMAGENET,
}
