"""The numbers of SwAV's sources: lightly's benchmarks and the paper's release."""

from experiments.sources import lightly, releases
from experiments.sources.reading import COVERED
from experiments.sources.rows import Row, Source, replaced, rows

_TRANSFORM = "lightly/transforms/swav_transform.py"
_LOSS = {
    "temperature": 0.1,
    "ε of the assignments": 0.05,
    "Sinkhorn-Knopp iterations": 3,
    "factor of the paper's loss": 1.0,
}
CIFAR10 = (
    *lightly.TRAINING,
    *lightly.NETWORK,
    *rows(
        "SwaVProjectionHead(512, 512, 128), SwaVPrototypes(128, 512)",
        {"projector's widths": (512, 512, 128), "norm after the heads' last layers": "none", "prototypes": 512},
    ),
    Row(
        "bias of the prototypes",
        True,
        "lightly/models/modules/heads.py: nn.Linear",
        False,
        "the release's and the paper's; Sinkhorn-Knopp takes most of a bias away again",
    ),
    lightly.HEADS_START,
    *rows("SwaVLoss()", _LOSS),
    *rows("training_step", {"prototypes frozen, steps": 0, "queue": 0}),
    *rows(
        "configure_optimizers",
        {"peak learning rate": 1e-3 * 512 / 128, "momentum": 0.9, "second moment's decay": 0.999, "weight decay": 1e-6},
    ),
    Row("weight decay covers", COVERED[True], "configure_optimizers: self.parameters()"),
    Row("optimiser", "adam", "torch.optim.Adam", "adamw", "the one Adam of the library; 1e-6 is next to nothing"),
    Row("weight decay is added to", "the gradient", "torch.optim.Adam", "the step", "as AdamW has it"),
    *(row for row in lightly.OPTIMISER if row.where.startswith("CosineAnnealingLR")),
    *rows(
        "SwaVTransform(crop_sizes=[32], crop_counts=[2], crop_min_scales=[0.14], cj_strength=0.5, gaussian_blur=0)",
        {"views": 2, "size, pixels": 32, "crop's area": (0.14, 1.0), "blur": 0.0},
    ),
    *rows(
        _TRANSFORM,
        {
            "flip": 0.5,
            "jitter": 0.8,
            "brightness, contrast, saturation, hue": (0.5 * 0.8, 0.5 * 0.8, 0.5 * 0.8, 0.5 * 0.2),
            "grayscale": 0.2,
            "solarisation": 0.0,
            **lightly.NORMALIZE,
        },
    ),
    *releases.TORCHVISION,
    Row("interpolation", "bilinear", "torchvision's RandomResizedCrop"),
    *lightly.EVALUATION,
)
_CROPS = ((0.14, 1.0),) * 2 + ((0.05, 0.14),) * 6
IMAGENETTE = (
    *replaced(
        CIFAR10,
        *lightly.IMAGENETTE_TRAINED,
        Row("peak learning rate", 1e-3, "configure_optimizers: 1e-3 * batch_size / 256"),
        *rows(
            "SwaVProjectionHead(512, 2048, 128), SwaVPrototypes(128, 3000)",
            {"projector's widths": (512, 2048, 128), "prototypes": 3000},
        ),
        *rows(
            "SwaVTransform(crop_sizes=(128, 64), crop_counts=(2, 6), cj_strength=0.5)",
            {"views": 8, "size, pixels": (128,) * 2 + (64,) * 6, "crop's area": _CROPS, "blur": 0.5},
        ),
    ),
    *lightly.BLUR,
    lightly.CANVAS,
)

RELEASE = (
    "facebookresearch/swav at 06b1b7c: scripts/swav_100ep_pretrain.sh has the command, main_swav.py and src/ the rest"
)
IMAGENET = (
    *rows("the command", {"images": "imagenet", "epochs": 100, "batch size": 64 * 64}),
    Row("steps", 100 * (1_281_167 // 4096), "drop_last; a step sees as many images of every GPU's share"),
    *replaced(
        releases.RESNET50,
        Row("last norm of a block starts at", 1, "src/resnet50.py: zero_init_residual=False"),
        Row("BatchNorm statistics", "of all views of a resolution", "src/resnet50.py, forward"),
    ),
    *rows(
        "src/resnet50.py; the command",
        {
            "projector's widths": (2048, 2048, 128),
            "norm after the heads' last layers": "none",
            "prototypes": 3000,
            "bias of the prototypes": False,
        },
    ),
    *rows("the command; train", {**_LOSS, "queue": 0}),
    Row(
        "prototypes frozen, steps",
        313,
        "the command: freeze_prototypes_niters",
        312,
        "an epoch, by which the option counts",
    ),
    *rows(
        "LARC(SGD, trust_coefficient=0.001, clip=False)",
        {
            "optimiser": "lars",
            "momentum": 0.9,
            "learning rate multiplies": "the momentum",
            "weight decay": 1e-6,
            "weight decay covers": COVERED[True],
        },
    ),
    Row(
        "ratio of lengths",
        "|p| over |g| + wd·|p|",
        "apex, LARC",
        "|p| over |g + wd·p|",
        "LARS as the other releases have it; the decay is next to nothing",
    ),
    *rows(
        "main: warmup_lr_schedule, cosine_lr_schedule; the command",
        {
            "peak learning rate": 4.8,
            "last learning rate": 0.0048,
            "warmup, epochs": 10,
            "warmup": "from 0.3, with both ends",
            "learning rate changes every": "step",
        },
    ),
    *rows(
        "src/multicropdataset.py; the command",
        {
            "views": 8,
            "size, pixels": (224,) * 2 + (96,) * 6,
            "crop's area": _CROPS,
            "interpolation": "bilinear",
            "flip": 0.5,
            "jitter": 0.8,
            "brightness, contrast, saturation, hue": (0.8, 0.8, 0.8, 0.2),
            "grayscale": 0.2,
            "blur": 0.5,
            "solarisation": 0.0,
            "mean": (0.485, 0.456, 0.406),
            "deviation": (0.228, 0.224, 0.225),
        },
    ),
    *releases.TORCHVISION,
    *releases.PIL_BLUR,
    Row(
        "blur's kernel, pixels",
        None,
        "PIL's filter, which is made of boxes",
        13,
        "a true Gaussian, cut at three of the largest sigma",
    ),
    releases.EVALUATION,
    releases.CANVAS,
)

SOURCES = {
    "swav-digits": releases.OWN,
    "swav-cifar10": Source(lightly.CIFAR10, f"{lightly.KNN}: 84.2 %; 88.4 % at 800 epochs", CIFAR10),
    "swav-imagenette": Source(lightly.IMAGENETTE, f"{lightly.KNN}: 90.2 %; 86.1 % at 200 epochs", IMAGENETTE),
    "swav-imagenet": Source(RELEASE, "72.1 % linear", IMAGENET),
    "swav-cifar100": Source("", like="swav-cifar10", changes=lightly.OTHER_IMAGES),
    "swav-stl10": Source(
        "",
        like="swav-imagenette",
        changes={
            **{
                name: change
                for name, change in lightly.STL10.items()
                if name not in ("batch size", "steps", "peak learning rate")
            },
            "steps": (200 * (100_000 // 256), "by epochs and batch"),
            "size, pixels": ((96,) * 2 + (48,) * 6, "the images' own size, and half of it"),
        },
    ),
}
