"""DINOv2's configurations. Each header is a lab note: command, cost, what was seen."""

import dataclasses
from typing import Any

from sslax.augment import DINOViews
from sslax.config import Config, NetworkConfig, OptimizerConfig
from sslax.methods import DINOv2
from sslax.recipes.dino import DINO_DIGITS

# sslax pretrain dinov2-digits
#
# DINOv2 for a first look, with the views, network and optimiser of dino-digits, and one layer in each head.
# Cost: 223 s for the whole command on two CPU cores.
# Result: linear 74.9 against 71.9 untrained and 95.0 raw, kNN k=20 73.3 against 46.5 and 97.2. One run; hardly tuned.
DINOV2_DIGITS = dataclasses.replace(
    DINO_DIGITS,
    method=DINOv2(
        views=DINO_DIGITS.method.views,
        prototypes=64,
        patch_prototypes=64,
        head_layers=1,
        head_bottleneck=64,
        teacher_temperature=0.03,
        teacher_temperature_epochs=0,
        koleo_weight=0.05,
        decay=0.99,
        layer_decay=1.0,
        patch_embedding_rate=1.0,
    ),
    epochs=60,
)

# sslax pretrain dinov2-imagenet --data folder:PATH
#
# The release's configuration for ImageNet-1k, with a ViT-S/16 in the place of its ViT-L/16: 32 GPUs of 64 images, AdamW
# 0.004·√(B/1024) with layer decay .9, weight decay .04 to .4, 2 x 224 and 8 x 96 pixels, one head for [CLS] and patches to
# K=65536, centring. The release's epoch has 1250 steps of 2048 images, which are two passes; its 100 epochs are 200 here, and
# the other numbers of epochs are doubled too. A ViT-B: `--network.name vit-base`. The paper's own, for its images and a ViT-g:
# `--method.no-shared-head --method.sinkhorn 3`, the defaults of the method.
# Source: facebookresearch/dinov2, dinov2/configs/train/vitl16_short.yaml, dinov2/configs/ssl_default_config.yaml and
# README.md, revision b8931f7. Its blur applies with the complement of the probability that it is given, as here.
# Differences: the network; stochastic depth rises to its rate from block to block; [CLS] starts from a deviation of .02, not
# 1e-6. Not yet run.
DINOV2_IMAGENET = Config(
    method=DINOv2(
        views=DINOViews(global_area=(0.32, 1.0), local_area=(0.05, 0.32), blur=(0.0, 0.9, 0.5)),
        shared_head=True,
        sinkhorn=0,
        teacher_temperature_epochs=60,
        frozen_epochs=2.0,
    ),
    data="folder:data/imagenet",
    canvas=256,
    network=NetworkConfig(name="vit-small", drop_path=0.3, layer_scale=1e-5),
    optim=OptimizerConfig(
        name="adamw",
        lr=0.000125,
        lr_scaling="sqrt",
        end_lr=1e-6,
        warmup="dino",
        warmup_epochs=20.0,
        weight_decay=0.04,
        end_weight_decay=0.4,
    ),
    epochs=200,
    batch_size=2048,
)

# sslax pretrain dinov2-imagenet-large --data folder:PATH
#
# dinov2-imagenet's recipe with the release's own ViT-L/16: 81.6 kNN, 82.9 linear, after a day on 32 GPUs. Not yet run.
DINOV2_IMAGENET_LARGE = dataclasses.replace(
    DINOV2_IMAGENET, network=dataclasses.replace(DINOV2_IMAGENET.network, name="vit-large")
)


def _smaller(size: int, **views: Any) -> DINOv2:
    """The method of dinov2-imagenet for images of this size, with fewer prototypes."""
    own = dataclasses.replace(DINOV2_IMAGENET.method.views, size=size, local_size=size // 2, **views)
    return dataclasses.replace(DINOV2_IMAGENET.method, views=own, prototypes=8192)


# sslax pretrain dinov2-cifar10 --data folder:PATH
#
# dinov2-imagenet's recipe on CIFAR-10, as its release has none there: a ViT-Ti with patches of 4 pixels, crops of 32 and 16
# pixels without blur, K=8192, B=512. Not yet run.
DINOV2_CIFAR10 = dataclasses.replace(
    DINOV2_IMAGENET,
    method=_smaller(32, blur=(0.0, 0.0, 0.0)),
    data="folder:data/cifar10",
    canvas=None,
    network=NetworkConfig(name="vit-tiny", patch_size=4, layer_scale=1e-5),
    batch_size=512,
)

# sslax pretrain dinov2-imagenette --data folder:PATH
#
# dinov2-imagenet's recipe on Imagenette at 128 pixels, as its release has none there: ViT-S/16, crops of 128 and 64 pixels,
# K=8192, B=256, 800 epochs. Not yet run.
DINOV2_IMAGENETTE = dataclasses.replace(
    DINOV2_IMAGENET,
    method=_smaller(128),
    data="folder:data/imagenette",
    canvas=160,
    network=NetworkConfig(name="vit-small", layer_scale=1e-5),
    epochs=800,
    batch_size=256,
)

CONFIGS: dict[str, Config] = {
    "dinov2-digits": DINOV2_DIGITS,
    "dinov2-cifar10": DINOV2_CIFAR10,
    "dinov2-imagenette": DINOV2_IMAGENETTE,
    "dinov2-imagenet": DINOV2_IMAGENET,
    "dinov2-imagenet-large": DINOV2_IMAGENET_LARGE,
}
