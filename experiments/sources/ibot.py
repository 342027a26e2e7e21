"""The numbers of iBOT's release, and what other recipes of this family change."""

from experiments.sources import releases
from experiments.sources.dino import DINO_IMAGENET
from experiments.sources.heads import HEADS
from experiments.sources.rows import Row, Source, rows

BYTEDANCE = "bytedance/ibot at da316d8: README.md (ViT-S/16) has the command, main_ibot.py and loader.py the rest"
_VIEWS = (
    "interpolation",
    "flip",
    "jitter",
    "brightness, contrast, saturation, hue",
    "grayscale",
    "mean",
    "deviation",
)
# iBOT's and DINOv2's releases start from DINO's; these rows stand in all three, under the same names.
SHARED = tuple(
    row
    for row in DINO_IMAGENET
    if row.what
    in (
        *_VIEWS,
        "images",
        "optimiser",
        "last learning rate",
        "weight decay",
        "momentum",
        "second moment's decay",
        "warmup",
        "learning rate changes every",
        "weight decay covers",
        "stem",
        "depth",
        "attention heads",
        "ViT starts from",
        "registers",
        "MLP",
        "bias of queries, keys and values",
        "LayerNorm's ε",
        "positions",
        "head's layers",
        "gain of the last layer",
        "student's temperature",
        "centring",
        "centre's momentum",
        "Sinkhorn-Knopp",
        "factor of the paper's loss",
        "crop's aspect",
        "crops drawn as by",
        "least area covered",
        "jitter's ops",
        "jitter's order drawn for each",
        "blur's sigma, pixels",
        "blur's kernel, pixels",
        "blur beyond the edge",
        "evaluation view",
        "canvas in memory, pixels",
        "teacher's head starts from",
    )
)

IBOT_IMAGENET = (
    *rows("the command", {"epochs": 800, "network": "vit-small", "teacher's temperature": (0.04, 0.07, 30)}),
    Row("batch size", 16 * 64, "README.md: two nodes of 8 GPUs; batch_size_per_gpu"),
    Row("steps", 800 * (1_281_167 // 1024), "drop_last; a step sees as many images of every GPU's share"),
    *rows(
        "get_args_parser",
        {
            "teacher's temperature for patches": 0.07,
            "peak learning rate": 0.0005 * 1024 / 256,
            "warmup, epochs": 10,
            "gradient clipped at, each tensor": 3.0,
            "last layer frozen, epochs": 1,
            "decay of the moving average": 0.996,
            "stochastic depth": 0.1,
            "weights of [CLS] and patches": (1.0, 1.0),
        },
    ),
    *rows(
        "the command; loader.py, ImageFolderMask",
        {"masked patches of a crop": (0.3 - 0.2, 0.3 + 0.2), "crops with masked patches": 0.5, "masks": "blocks"},
    ),
    *rows(
        "models/head.py; the command",
        {
            "head for patches": "that of [CLS]",
            "head's widths": (384, 2048, 2048, 256, 8192),
            "norm in the head": "none",
            "heads start from": HEADS["dino"],
        },
    ),
    *rows(
        "models/vision_transformer.py",
        {"width of the features": 384, "layer scale starts at": None},
    ),
    *rows(
        "the command; DataAugmentationiBOT",
        {
            "views": 12,
            "size, pixels": (224,) * 2 + (96,) * 10,
            "crop's area": ((0.25, 1.0),) * 2 + ((0.05, 0.25),) * 10,
            "blur": (1.0, 0.1) + (0.5,) * 10,
            "solarisation": (0.0, 0.2) + (0.0,) * 10,
        },
    ),
    *SHARED,
)

OTHER = "on images for which the release has no recipe"
OWN_SIZE = "the images' own size"
# On CIFAR-10.
SMALL = {
    "images": ("cifar10", OTHER),
    "batch size": (512, OTHER),
    "epochs": (200, OTHER),
    "steps": (200 * (50_000 // 512), "by epochs and batch"),
    "network": ("vit-tiny", OTHER),
    "stem": ("patches of 4", "as many patches as in 128 pixels"),
    "width of the features": (192, OTHER),
    "attention heads": (3, OTHER),
    "canvas in memory, pixels": (None, ""),
    "evaluation view": ("the whole image", OWN_SIZE),
    "blur": (0.0, "small images"),
    **dict.fromkeys(("blur's sigma, pixels", "blur beyond the edge"), (None, "no blur")),
}
# On Imagenette.
MEDIUM = {
    "images": ("imagenette", OTHER),
    "batch size": (256, OTHER),
    "epochs": (800, OTHER),
    "steps": (800 * (9469 // 256), "by epochs and batch"),
    "canvas in memory, pixels": (160, OWN_SIZE),
}

SOURCES = {
    "ibot-digits": releases.OWN,
    "ibot-cifar10": Source(
        "",
        like="ibot-imagenet",
        changes={
            **SMALL,
            "blur's kernel, pixels": (None, ""),
            "peak learning rate": (0.0005 * 512 / 256, "by batch"),
            "size, pixels": ((32,) * 2 + (16,) * 10, OWN_SIZE),
            "head's widths": ((192, 2048, 2048, 256, 8192), OTHER),
        },
    ),
    "ibot-imagenette": Source(
        "",
        like="ibot-imagenet",
        changes={
            **{name: change for name, change in MEDIUM.items() if name != "epochs"},
            "peak learning rate": (0.0005, "by batch"),
            "size, pixels": ((128,) * 2 + (64,) * 10, "smaller images"),
        },
    ),
    "ibot-imagenet": Source(BYTEDANCE, "75.2 % by kNN, 77.9 % linear", IBOT_IMAGENET),
}
