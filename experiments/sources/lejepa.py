"""The numbers of LeJEPA's sources: its authors' minimal example on Imagenette, and lightly's benchmark on ImageNet."""

from experiments.sources import releases
from experiments.sources.heads import VIT_STARTS
from experiments.sources.reading import COVERED
from experiments.sources.rows import Row, Source, replaced, rows

MINIMAL = "rbalestr-lab/lejepa at eddffdd: MINIMAL.md"
_KNOTS = "SIGReg's directions, frequencies, largest"
_TIMM = "timm's vit_small_patch8_224"
IMAGENETTE = (
    *rows("the command", {"images": "imagenette", "epochs": 800, "batch size": 256}),
    Row("steps", 800 * 36, "drop_last"),
    *rows(
        _TIMM,
        {
            "network": "vit-small",
            "stem": "patches of 8",
            "width of the features": 384,
            "depth": 12,
            "attention heads": 6,
            "registers": 0,
            "layer scale starts at": None,
            "MLP": "gelu, 4 x width",
            "bias of queries, keys and values": True,
            "LayerNorm's ε": 1e-6,
            "ViT starts from": VIT_STARTS["release"],
        },
    ),
    Row("stochastic depth", 0.1, "ViTEncoder: drop_path_rate"),
    Row("positions", None, "views of one size: they are not resized", "dino", "not used in training"),
    Row(
        "projector's widths",
        (384, 512, 2048, 2048, 16),
        "ViTEncoder",
        (384, 2048, 2048, 16),
        "its first layer, to 512, is linear and has no norm after it; here [CLS] before it is evaluated",
    ),
    Row("BatchNorm statistics", "of all views of a resolution", "ViTEncoder: one forward"),
    *rows(
        "SIGReg and main; the command",
        {"λ, weight of SIGReg": 0.02, _KNOTS: (256, 17, 3.0), "factor of the paper's loss": 1.0},
    ),
    *rows(
        "main; the command",
        {
            "optimiser": "adamw",
            "momentum": 0.9,
            "second moment's decay": 0.999,
            "peak learning rate": 2e-3,
            "weight decay": 0.05,
            "weight decay covers": COVERED[True],
            "warmup, epochs": 1,
            "warmup": "from 2e-05 by equal steps",
            "learning rate changes every": "step",
            "last learning rate": 1e-3,
        },
    ),
    *rows(
        "HFDataset; the command",
        {
            "views": 4,
            "size, pixels": 128,
            "crop's area": (0.08, 1.0),
            "flip": 0.5,
            "jitter": 0.8,
            "brightness, contrast, saturation, hue": (0.8, 0.8, 0.8, 0.2),
            "grayscale": 0.2,
            "blur": 0.5,
            "blur's sigma, pixels": (0.1, 2.0),
            "blur's kernel, pixels": 7,
            "blur beyond the edge": "reflect",
            "solarisation": 0.2,
            **releases.NORMALIZE,
        },
    ),
    Row("interpolation", "bilinear", "torchvision's RandomResizedCrop"),
    *releases.TORCHVISION,
    Row(
        "evaluation view",
        "the central square",
        "HFDataset: Resize(128), CenterCrop(128)",
        "the central 0.875 of the shorter side",
        "the view that the library evaluates all photographs with, SimCLR's and DINO's",
    ),
    Row("canvas in memory, pixels", None, releases.CANVAS.where, 160, releases.CANVAS.why),
)

LIGHTLY = (
    "lightly-ai/lightly, benchmarks/imagenet/vitb16/lejepa.py at 8397751, with the crops of README.md in rbalestr-lab/lejepa "
    "at eddffdd"
)
_README = "README.md of rbalestr-lab/lejepa"
IMAGENET = replaced(
    IMAGENETTE,
    *rows("main.py", {"images": "imagenet", "epochs": 100, "batch size": 512}),
    Row("steps", 100 * (1_281_167 // 512), "drop_last"),
    Row("stem", "patches of 16", "timm's vit_small_patch16_224"),
    Row("positions", "antialiased", "timm: dynamic_img_size", "antialiased", ""),
    Row("projector's widths", (384, 2048, 2048, 64), "LeJEPAProjectionHead"),
    Row(
        "BatchNorm statistics",
        "of global and of local crops apart",
        "training_step",
        "of all views of a resolution",
        "the projector takes all crops together, as in the authors' example",
    ),
    Row("λ, weight of SIGReg", 0.05, "LeJEPALoss"),
    Row(_KNOTS, (1024, 17, 3.0), "LeJEPALoss"),
    Row("peak learning rate", 5e-4, "LeJEPA"),
    Row("warmup", "from 5e-06 by equal steps", "configure_optimizers: warmup_start_value"),
    Row("last learning rate", 5e-7, "configure_optimizers: end_value"),
    *rows(
        _README,
        {
            "views": 8,
            "crop's area": ((0.3, 1.0),) * 2 + ((0.05, 0.3),) * 6,
            "brightness, contrast, saturation, hue": (0.4, 0.4, 0.2, 0.1),
        },
    ),
    Row("size, pixels", (224,) * 2 + (96,) * 6, "transform"),
    Row("interpolation", "bicubic", "DINOTransform"),
    Row(
        "blur's kernel, pixels",
        None,
        "DINOTransform: PIL's filter, which is made of boxes",
        13,
        "a true Gaussian, cut at three of the largest sigma",
    ),
    Row("blur beyond the edge", "repeated", "PIL's filter", "reflect", "the difference is in two or three pixels"),
    releases.EVALUATION,
    releases.CANVAS,
)
_ANOTHER = "the recipe on another set"
_SMALL = "small images"

SOURCES = {
    "lejepa-digits": releases.OWN,
    "lejepa-cifar10": Source(
        "",
        like="lejepa-imagenette",
        changes={
            "images": ("cifar10", _ANOTHER),
            "epochs": (200, "those of lightly's benchmark on these images"),
            "steps": (200 * (50_000 // 256), "by epochs and batch"),
            "network": ("vit-tiny", _SMALL),
            "stem": ("patches of 4", _SMALL),
            "width of the features": (192, _SMALL),
            "attention heads": (3, _SMALL),
            "projector's widths": ((192, 2048, 2048, 16), _SMALL),
            "size, pixels": (32, "the images' own size"),
            "blur": (0.0, _SMALL),
            "blur's sigma, pixels": (None, "no blur"),
            "blur's kernel, pixels": (None, "no blur"),
            "blur beyond the edge": (None, "no blur"),
            "mean": ((0.4914, 0.4822, 0.4465), "the set's own"),
            "deviation": ((0.2470, 0.2435, 0.2616), "the set's own"),
            "canvas in memory, pixels": (None, ""),
            "evaluation view": ("the whole image", "views are as large as the images"),
        },
    ),
    "lejepa-imagenette": Source(MINIMAL, "90.7 % by an online linear classifier", IMAGENETTE),
    "lejepa-imagenet": Source(
        LIGHTLY, "none that holds: its table's 64.0 % linear is of a loss that was corrected later", IMAGENET
    ),
}
