"""iBOT's configurations. Each header is a lab note: command, cost, what was seen."""

import dataclasses

from sslax.config import Config, NetworkConfig, OptimizerConfig
from sslax.methods import IBOT
from sslax.recipes.dino import DINO_DIGITS

# sslax pretrain ibot-digits
#
# iBOT for a first look, with the views, network and optimiser of dino-digits, one layer in the head, and Sinkhorn-Knopp in the
# place of centring, as in DINOv2: with centring, so short a run does not leave uniform targets of [CLS].
# Cost: 96 s for the whole command on two CPU cores.
# Result: linear 77.2 against 71.9 untrained and 95.0 raw, kNN k=20 57.7 against 46.5 and 97.2. One run; hardly tuned.
IBOT_DIGITS = dataclasses.replace(
    DINO_DIGITS,
    method=IBOT(
        views=DINO_DIGITS.method.views,
        prototypes=64,
        head_layers=1,
        head_bottleneck=64,
        norm_last_layer=True,
        sinkhorn=3,
        teacher_temperature=0.03,
        patch_temperature=0.03,
        teacher_temperature_epochs=0,
        decay=0.99,
    ),
    optim=dataclasses.replace(DINO_DIGITS.optim, warmup_epochs=3.0),
    epochs=20,
)

# sslax pretrain ibot-imagenet --data folder:PATH
#
# The release's command for ViT-S/16: 16 GPUs of 64 images, AdamW 0.0005·B/256 with 10 epochs of warmup, weight decay .04 to
# .4, 2 x 224 and 10 x 96 pixels, one head for [CLS] and patches to K=8192, half of the global crops masked by .3 ± .2, 800
# epochs: 75.2 kNN, 77.9 linear.
# Source: bytedance/ibot, README.md (the command) and main_ibot.py's defaults, revision da316d8. Not yet run.
IBOT_IMAGENET = Config(
    method=IBOT(),
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
    epochs=800,
    batch_size=1024,
)

# sslax pretrain ibot-cifar10 --data folder:PATH
#
# ibot-imagenet's recipe on CIFAR-10, as its release has none there: a ViT-Ti with patches of 4 pixels, crops of 32 and 16
# pixels without blur, B=512, 200 epochs. Not yet run.
IBOT_CIFAR10 = dataclasses.replace(
    IBOT_IMAGENET,
    method=IBOT(views=dataclasses.replace(IBOT().views, size=32, local_size=16, blur=(0.0, 0.0, 0.0))),
    data="folder:data/cifar10",
    canvas=None,
    network=NetworkConfig(name="vit-tiny", patch_size=4),
    epochs=200,
    batch_size=512,
)

# sslax pretrain ibot-imagenette --data folder:PATH
#
# ibot-imagenet's recipe on Imagenette at 128 pixels, as its release has none there: ViT-S/16, crops of 128 and 64 pixels,
# B=256, 800 epochs. Not yet run.
IBOT_IMAGENETTE = dataclasses.replace(
    IBOT_IMAGENET,
    method=IBOT(views=dataclasses.replace(IBOT().views, size=128, local_size=64)),
    data="folder:data/imagenette",
    canvas=160,
    batch_size=256,
)

CONFIGS: dict[str, Config] = {
    "ibot-digits": IBOT_DIGITS,
    "ibot-cifar10": IBOT_CIFAR10,
    "ibot-imagenette": IBOT_IMAGENETTE,
    "ibot-imagenet": IBOT_IMAGENET,
}
