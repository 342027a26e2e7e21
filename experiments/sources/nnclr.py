"""The numbers of NNCLR's sources: lightly's benchmarks and the paper, which has no release."""

from experiments.sources import byol, lightly, releases
from experiments.sources.rows import Row, Source, replaced, rows

CIFAR10 = (
    *lightly.TRAINING,
    *lightly.NETWORK,
    *rows(
        "NNCLRModel.__init__",
        {
            "projector's widths": (512, 2048, 256),
            "predictor's widths": (256, 4096, 256),
            "norm after the heads' last layers": ("affine", "none"),
        },
    ),
    lightly.HEADS_START,
    Row("queue", 8192, "the table: NNCLR (**) at a batch of 512; NNMemoryBankModule(size=4096) at 128"),
    *rows("NTXentLoss()", {"loss": "nt-xent", "temperature": 0.5}),
    Row("factor of the paper's loss", 1.0, "training_step: 0.5 * (criterion + criterion)"),
    *lightly.OPTIMISER,
    *lightly.SIMCLR_VIEWS,
    *lightly.EVALUATION,
)
IMAGENETTE = (
    *replaced(
        CIFAR10,
        *lightly.IMAGENETTE_TRAINED,
        Row("projector's widths", (512, 2048, 2048, 256), "NNCLRProjectionHead(512, 2048, 256)"),
        Row("queue", 4096, "NNMemoryBankModule(size=4096)"),
        *rows("SimCLRTransform(input_size=128, cj_strength=0.5)", {"size, pixels": 128, "blur": 0.5}),
    ),
    *lightly.BLUR,
    lightly.CANVAS,
)

PAPER = "Dwibedi et al. 2021, arXiv:2104.14548, section 4.1; what it leaves open is BYOL's release's, as its augmentations are"
_SAID = "section 4.1"
# Of BYOL's release: network, optimiser's order and schedule, views.
_LIKE_BYOL = tuple(
    row
    for row in byol.BYOL_IMAGENET
    if row.what
    not in (
        "projector's widths",
        "predictor's widths",
        "norms of projector and predictor",
        "bias of the heads' last layer",
        "heads start from",
        "target",
        "target starts from",
        "negatives",
        "decay of the moving average",
        "the decay goes",
    )
)
IMAGENET = (
    *replaced(
        _LIKE_BYOL,
        *rows(
            _SAID,
            {
                "images": "imagenet",
                "epochs": 1000,
                "batch size": 4096,
                "network": "resnet50",
                "peak learning rate": 0.3 * 4096 / 256,
                "weight decay": 1e-6,
                "warmup, epochs": 10,
            },
        ),
        Row("steps", 1000 * 1_281_167 // 4096, "BYOL's release", 1000 * 312, releases.REPEATED),
    ),
    *rows(
        _SAID,
        {
            "projector's widths": (2048, 2048, 2048, 256),
            "predictor's widths": (256, 4096, 256),
            "norm after the heads' last layers": ("affine", "none"),
            "temperature": 0.1,
            "queue": 98_304,
        },
    ),
    Row("loss", "info-nce", "equation 2"),
    Row("factor of the paper's loss", 1.0, "equation 2"),
    Row(
        "heads start from",
        None,
        "the paper does not say",
        "uniform within ±1/√fan-in",
        "torch's default, as lightly's and solo-learn's NNCLR have it",
    ),
)

SOURCES = {
    "nnclr-digits": releases.OWN,
    "nnclr-cifar10": Source(lightly.CIFAR10, f"{lightly.KNN}: 81.5 %; 89.2 % at 800 epochs", CIFAR10),
    "nnclr-imagenette": Source(lightly.IMAGENETTE, f"{lightly.KNN}: 88.4 %; 80.9 % at 200 epochs", IMAGENETTE),
    "nnclr-imagenet": Source(PAPER, "75.6 % linear, by its abstract", IMAGENET),
    "nnclr-cifar100": Source("", like="nnclr-cifar10", changes=lightly.OTHER_IMAGES),
    "nnclr-stl10": Source(
        "",
        like="nnclr-imagenette",
        changes={
            **lightly.STL10,
            "size, pixels": (96, "the images' own size"),
            "blur's kernel, pixels": (9, "a tenth of the size, made odd, as SimCLR has it"),
        },
    ),
}
