"""The numbers that solo-learn's recipes have in common."""

from experiments.sources.heads import CONVOLUTIONS, TORCH_UNIFORM
from experiments.sources.reading import COVERED
from experiments.sources.rows import Row, rows
from sslax.data.known import KNOWN

SCRIPTS = "vturrisi/solo-learn at 9187ea3: scripts/pretrain"
ONLINE = "an online linear classifier on the backbone's features at the end"
CIFAR10 = KNOWN["cifar10"]

TRAINING = (
    *rows("the recipe", {"images": "cifar10", "epochs": 1000, "batch size": 256}),
    Row("steps", 1000 * (50_000 // 256), "prepare_dataloader: drop_last"),
)
NETWORK = (
    Row(
        "stem",
        "3x3 of stride 1, padding 2",
        "solo/methods/base.py: nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=2)",
        "3x3 of stride 1",
        "the padding of every other network for CIFAR-10; theirs makes maps of 34 x 34",
    ),
    *rows(
        "torchvision.models.resnet18()",
        {
            "network": "resnet18",
            "width of the features": 512,
            "norm": "batch",
            "ReLU after the stem's norm": True,
            "convolutions start from": CONVOLUTIONS["torchvision"],
            "last norm of a block starts at": 1,
            "heads start from": TORCH_UNIFORM,
        },
    ),
    Row("BatchNorm statistics", "of each view", "base_training_step for each view"),
)
OPTIMISER = (
    *rows(
        "the recipe; solo/utils/lars.py",
        {
            "optimiser": "lars, trust coefficient 0.02, rates clipped",
            "momentum": 0.9,
            "peak learning rate": 0.3,
            "learning rate multiplies": "the momentum",
            "weight decay covers": COVERED[False],
        },
    ),
    Row(
        "ratio of lengths",
        "|p| over |g| + wd·|p|",
        "solo/utils/lars.py",
        "|p| over |g + wd·p|",
        "LARS as the papers' releases have it; the decay is a small part of the gradient",
    ),
    *rows(
        "solo/methods/base.py; solo/utils/lr_scheduler.py",
        {
            "warmup, epochs": 10,
            "warmup": "from 3e-05, with both ends",
            "learning rate changes every": "step",
            "last learning rate": 0,
        },
    ),
)
OPS = rows(
    "torchvision's RandomResizedCrop and ColorJitter; solo/data/pretrain_dataloader.py",
    {
        "views": 2,
        "size, pixels": 32,
        "crop's aspect": (3 / 4, 4 / 3),
        "crops drawn as by": "torchvision",
        "least area covered": 0.0,
        "interpolation": "bicubic",
        "flip": 0.5,
        "jitter": 0.8,
        "brightness, contrast, saturation, hue": (0.4, 0.4, 0.2, 0.1),
        "jitter's ops": "torchvision",
        "jitter's order drawn for each": "image",
        "grayscale": 0.2,
        "blur": 0.0,
        "mean": CIFAR10.mean,
        "deviation": CIFAR10.std,
    },
)
EVALUATION = Row("evaluation view", "the whole image", "solo/data/classification_dataloader.py")
_OWN = "the set's own, as the source has them"
CIFAR100 = {
    "images": ("cifar100", "the source's other set"),
    "mean": (KNOWN["cifar100"].mean, _OWN),
    "deviation": (KNOWN["cifar100"].std, _OWN),
}
