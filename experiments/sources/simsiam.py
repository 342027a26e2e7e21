"""The numbers of SimSiam's sources: lightly's benchmarks and the paper's release."""

from experiments.sources import lightly, releases
from experiments.sources.reading import COVERED
from experiments.sources.rows import Row, Source, replaced, rows

_FLAT = Row("peak learning rate", 0.06, "configure_optimizers: lr=6e-2, no lr-scaling")
_VIEWS = (
    *replaced(
        lightly.SIMCLR_VIEWS,
        Row("crop's area", (0.2, 1.0), "lightly/transforms/simsiam_transform.py: min_scale"),
        Row(
            "brightness, contrast, saturation, hue",
            (0.4, 0.4, 0.4, 0.1),
            "lightly/transforms/simsiam_transform.py: cj_strength 1.0",
        ),
    ),
    Row("ops on one view alone", (), "MultiViewTransform"),
)
CIFAR10 = (
    *lightly.TRAINING,
    *lightly.NETWORK,
    *rows(
        "SimSiamModel.__init__",
        {"projector's widths": (512, 2048, 2048), "predictor's widths": (2048, 512, 2048)},
    ),
    Row(
        "norm after the heads' last layers",
        ("affine", "none"),
        "nn.BatchNorm1d(2048)",
        ("plain", "none"),
        "the release's and the paper's, which finds both alike (section 4.4)",
    ),
    lightly.HEADS_START,
    *rows(
        "0.5 * (NegativeCosineSimilarity + NegativeCosineSimilarity)",
        {"factor of the paper's loss": 1.0},
    ),
    Row("stop-gradient", True, "forward: z.detach()"),
    *replaced(lightly.OPTIMISER, _FLAT),
    Row("predictor's learning rate", "as the others'", "configure_optimizers: self.parameters()"),
    *_VIEWS,
    *lightly.EVALUATION,
)
IMAGENETTE = (
    *replaced(
        CIFAR10,
        *lightly.IMAGENETTE_TRAINED,
        _FLAT,
        Row("projector's widths", (512, 2048, 2048, 2048), "SimSiamProjectionHead(512, 2048, 2048)"),
        Row("norm after the heads' last layers", ("plain", "none"), "lightly/models/modules/heads.py: affine=False"),
        *rows("SimSiamTransform(input_size=128)", {"size, pixels": 128, "blur": 0.5}),
    ),
    *lightly.BLUR,
    lightly.CANVAS,
)

RELEASE = (
    "facebookresearch/simsiam at a7bc177: README.md has the command, main_simsiam.py and simsiam/builder.py the rest"
)
IMAGENET = (
    *rows("main_simsiam.py: the defaults", {"images": "imagenet", "epochs": 100, "batch size": 512}),
    Row("steps", 100 * (1_281_167 // 512), "drop_last"),
    *releases.RESNET50,
    *rows(
        "simsiam/builder.py",
        {
            "projector's widths": (2048, 2048, 2048, 2048),
            "predictor's widths": (2048, 512, 2048),
            "norm after the heads' last layers": ("plain", "none"),
            "stop-gradient": True,
        },
    ),
    Row("factor of the paper's loss", 1.0, "train: the mean over both directions"),
    *rows(
        "main_worker and adjust_learning_rate",
        {
            "optimiser": "sgd",
            "momentum": 0.9,
            "peak learning rate": 0.05 * 512 / 256,
            "last learning rate": 0,
            "warmup, epochs": 0,
            "learning rate changes every": "epoch",
            "weight decay": 1e-4,
            "weight decay covers": COVERED[True],
        },
    ),
    Row("predictor's learning rate", "the peak throughout", "the command: --fix-pred-lr"),
    *rows(
        "main_worker: augmentation",
        {
            "views": 2,
            "size, pixels": 224,
            "crop's area": (0.2, 1.0),
            "interpolation": "bilinear",
            "flip": 0.5,
            "jitter": 0.8,
            "brightness, contrast, saturation, hue": (0.4, 0.4, 0.4, 0.1),
            "grayscale": 0.2,
            "blur": 0.5,
            "solarisation": 0.0,
            "ops on one view alone": (),
            **releases.NORMALIZE,
        },
    ),
    *releases.TORCHVISION,
    *releases.PIL_BLUR,
    releases.PIL_KERNEL,
    releases.EVALUATION,
    releases.CANVAS,
)

SOURCES = {
    "simsiam-digits": releases.OWN,
    "simsiam-cifar10": Source(lightly.CIFAR10, f"{lightly.KNN}: 76.4 %; 90.4 % at 800 epochs", CIFAR10),
    "simsiam-imagenette": Source(lightly.IMAGENETTE, f"{lightly.KNN}: 87.2 %; 75.2 % at 200 epochs", IMAGENETTE),
    "simsiam-imagenet": Source(RELEASE, "68.1 % linear", IMAGENET),
    "simsiam-cifar100": Source("", like="simsiam-cifar10", changes=lightly.OTHER_IMAGES),
    "simsiam-stl10": Source(
        "",
        like="simsiam-imagenette",
        changes={
            **{name: change for name, change in lightly.STL10.items() if name != "peak learning rate"},
            "size, pixels": (96, "the images' own size"),
            "blur's kernel, pixels": (9, "a tenth of the size, made odd, as SimCLR has it"),
        },
    ),
}
