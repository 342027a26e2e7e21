"""The numbers of VICReg's sources: solo-learn, lightly's benchmark on Imagenette and the paper's release."""

from experiments.sources import lightly, releases, solo
from experiments.sources.reading import COVERED
from experiments.sources.rows import Row, Source, replaced, rows

CIFAR10 = (
    *solo.TRAINING,
    *solo.NETWORK,
    *rows(
        "solo/methods/vicreg.py; the recipe",
        {
            "projector's widths": (512, 2048, 2048, 2048),
            "norm after the heads' last layers": "none",
            "weights of invariance, variance, covariance": (25.0, 25.0, 1.0),
        },
    ),
    *rows(
        "solo/losses/vicreg.py",
        {"variance terms of the two views": "their sum", "factor of the paper's loss": 1.0},
    ),
    *solo.OPTIMISER,
    Row("weight decay", 1e-4, "the recipe"),
    *solo.OPS,
    *rows("the recipe", {"crop's area": (0.2, 1.0), "solarisation": 0.1}),
    solo.EVALUATION,
)

_WARMUP = "lightly/utils/scheduler.py, CosineWarmupScheduler"
_LARS = "pl_bolts.optimizers.lars.LARS: no parameter is left out"
IMAGENETTE = (
    *lightly.TRAINING,
    *lightly.NETWORK,
    *rows(
        "BarlowTwinsProjectionHead(512, 2048, 2048)",
        {"projector's widths": (512, 2048, 2048, 2048), "norm after the heads' last layers": "none"},
    ),
    lightly.HEADS_START,
    *rows(
        "VICRegLoss()",
        {
            "weights of invariance, variance, covariance": (25.0, 25.0, 1.0),
            "variance terms of the two views": "half their sum",
            "factor of the paper's loss": 1.0,
        },
    ),
    *rows(
        "configure_optimizers",
        {"optimiser": "lars", "peak learning rate": 0.3, "momentum": 0.9, "weight decay": 1e-4},
    ),
    *rows(_LARS, {"learning rate multiplies": "the momentum", "weight decay covers": COVERED[True]}),
    *rows(_WARMUP, {"warmup, epochs": 40, "learning rate changes every": "epoch", "last learning rate": 0}),
    Row(
        "warmup",
        "by a fortieth each epoch, from a fortieth",
        _WARMUP,
        "from 0.0075 by equal steps",
        "from the same rate to the same peak, which is met an epoch later",
    ),
    *replaced(
        lightly.SIMCLR_VIEWS,
        *rows(
            "VICRegTransform(input_size=128, cj_strength=0.5)",
            {
                "size, pixels": 128,
                "brightness, contrast, saturation, hue": (0.5 * 0.8, 0.5 * 0.8, 0.5 * 0.4, 0.5 * 0.2),
                "blur": 0.5,
                "solarisation": 0.1,
            },
        ),
    ),
    Row(
        "solarisation stands",
        "before the blur",
        "lightly/transforms/vicreg_transform.py",
        "after the blur",
        "BYOL's and the release's order; both fall on one view in twenty",
    ),
    *lightly.EVALUATION,
)
_RATE = Row("peak learning rate", 0.3, "configure_optimizers: 0.3 * batch_size / 256")
IMAGENETTE = (
    *replaced(IMAGENETTE, *lightly.IMAGENETTE_TRAINED, _RATE),
    *lightly.BLUR,
    lightly.CANVAS,
)

RELEASE = "facebookresearch/vicreg at 4e12602: README.md has the command, main_vicreg.py the rest"
IMAGENET = (
    *rows("README.md, the command for 1000 epochs", {"images": "imagenet", "epochs": 1000, "batch size": 2048}),
    Row("steps", 1000 * 626, "len(loader), whose sampler repeats some images", 1000 * 625, releases.REPEATED),
    *releases.RESNET50,
    *rows(
        "VICReg and Projector",
        {
            "projector's widths": (2048, 8192, 8192, 8192),
            "norm after the heads' last layers": "none",
            "weights of invariance, variance, covariance": (25.0, 25.0, 1.0),
            "variance terms of the two views": "half their sum",
            "factor of the paper's loss": 1.0,
        },
    ),
    *rows(
        "LARS, exclude_bias_and_norm",
        {
            "optimiser": "lars",
            "momentum": 0.9,
            "learning rate multiplies": "the momentum",
            "weight decay": 1e-6,
            "weight decay covers": COVERED[False],
        },
    ),
    *rows(
        "adjust_learning_rate",
        {
            "peak learning rate": 0.2 * 2048 / 256,
            "last learning rate": 0.2 * 2048 / 256 * 0.001,
            "warmup, epochs": 10,
            "warmup": "from 0 by equal steps",
            "learning rate changes every": "step",
        },
    ),
    *releases.BYOL_VIEWS,
    *rows("augmentations.py", {"crop's area": (0.08, 1.0), "interpolation": "bicubic"}),
    Row("solarisation stands", "after the blur", "augmentations.py"),
    releases.EVALUATION,
    releases.CANVAS,
)

SOURCES = {
    "vicreg-digits": releases.OWN,
    "vicreg-cifar10": Source(f"{solo.SCRIPTS}/cifar/vicreg.yaml", f"92.07 % by {solo.ONLINE}", CIFAR10),
    "vicreg-imagenette": Source(lightly.IMAGENETTE, f"{lightly.KNN}: 84.5 %; 76.3 % at 200 epochs", IMAGENETTE),
    "vicreg-imagenet": Source(RELEASE, "73.2 % linear", IMAGENET),
    "vicreg-cifar100": Source("", like="vicreg-cifar10", changes=solo.CIFAR100),
    "vicreg-stl10": Source(
        "",
        like="vicreg-imagenette",
        changes={
            **lightly.STL10,
            "peak learning rate": (0.6, "by the rule for its batch"),
            "warmup, epochs": (10, "a quarter, as it has a quarter of the epochs"),
            "warmup": ("from 0.06 by equal steps", "a tenth of its peak"),
            "size, pixels": (96, "the images' own size"),
            "blur's kernel, pixels": (9, "a tenth of the size, made odd, as SimCLR has it"),
        },
    ),
}
