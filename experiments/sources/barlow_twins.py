"""The numbers of Barlow Twins' sources: lightly's benchmarks and the paper's release."""

from experiments.sources import lightly, releases
from experiments.sources.reading import COVERED
from experiments.sources.rows import Row, Source, replaced, rows

CIFAR10 = (
    *lightly.TRAINING,
    *lightly.NETWORK,
    *rows(
        "BarlowTwinsModel.__init__",
        {"projector's widths": (512, 2048, 2048), "norm after the heads' last layers": "none"},
    ),
    lightly.HEADS_START,
    *rows("BarlowTwinsLoss()", {"λ, weight off the diagonal": 0.005, "factor of the paper's loss": 1.0}),
    Row(
        "features standardised by",
        "the unbiased variance, no ε",
        "BarlowTwinsLoss.forward",
        "the biased variance, ε 1e-5",
        "the release's; a factor of 511/512 in the correlations",
    ),
    *lightly.OPTIMISER,
    *lightly.SIMCLR_VIEWS,
    *lightly.EVALUATION,
)
IMAGENETTE = (
    *replaced(
        CIFAR10,
        *lightly.IMAGENETTE_TRAINED,
        Row("projector's widths", (512, 2048, 2048, 2048), "BarlowTwinsProjectionHead(512, 2048, 2048)"),
        *rows("SimCLRTransform(input_size=128, cj_strength=0.5)", {"size, pixels": 128, "blur": 0.5}),
    ),
    *lightly.BLUR,
    lightly.CANVAS,
)

RELEASE = "facebookresearch/barlowtwins at 8e8d284: README.md has the command, main.py the rest"
IMAGENET = (
    *rows("main.py: the defaults", {"images": "imagenet", "epochs": 1000, "batch size": 2048}),
    Row("steps", 1000 * 626, "len(loader), whose sampler repeats some images", 1000 * 625, releases.REPEATED),
    *releases.RESNET50,
    *rows(
        "BarlowTwins",
        {
            "projector's widths": (2048, 8192, 8192, 8192),
            "norm after the heads' last layers": "none",
            "λ, weight off the diagonal": 0.0051,
            "features standardised by": "the biased variance, ε 1e-5",
            "factor of the paper's loss": 1.0,
        },
    ),
    *rows(
        "LARS, main_worker",
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
            "peak learning rate": (0.2 * 2048 / 256, 0.0048 * 2048 / 256),
            "last learning rate": 0.2 * 2048 / 256 * 0.001,
            "warmup, epochs": 10,
            "warmup": "from 0 by equal steps",
            "learning rate changes every": "step",
        },
    ),
    *releases.BYOL_VIEWS,
    *rows("Transform", {"crop's area": (0.08, 1.0), "interpolation": "bicubic"}),
    releases.EVALUATION,
    releases.CANVAS,
)

SOURCES = {
    "barlow-twins-digits": releases.OWN,
    "barlow-twins-cifar10": Source(lightly.CIFAR10, f"{lightly.KNN}: 81.9 %; 85.9 % at 800 epochs", CIFAR10),
    "barlow-twins-imagenette": Source(lightly.IMAGENETTE, f"{lightly.KNN}: 85.2 %; 65.1 % at 200 epochs", IMAGENETTE),
    "barlow-twins-imagenet": Source(RELEASE, "73.5 % linear", IMAGENET),
    "barlow-twins-cifar100": Source("", like="barlow-twins-cifar10", changes=lightly.OTHER_IMAGES),
    "barlow-twins-stl10": Source(
        "",
        like="barlow-twins-imagenette",
        changes={
            **lightly.STL10,
            "size, pixels": (96, "the images' own size"),
            "blur's kernel, pixels": (9, "a tenth of the size, made odd, as SimCLR has it"),
        },
    ),
}
