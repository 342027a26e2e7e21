"""The numbers of MoCo v3's sources: solo-learn's recipes and the paper's release."""

from experiments.sources import releases, solo
from experiments.sources.heads import VIT_STARTS
from experiments.sources.reading import COVERED
from experiments.sources.rows import Row, Source, replaced, rows

_TARGET = {
    "target starts from": "a copy",
    "decay of the moving average": 0.99,
    "the decay goes": "to 1 along a cosine",
    "queue": 0,
}
CIFAR10 = (
    *solo.TRAINING,
    *solo.NETWORK,
    *rows(
        "solo/methods/mocov3.py; the recipe",
        {
            "projector's widths": (512, 4096, 256),
            "predictor's widths": (256, 4096, 256),
            "norm after the heads' last layers": ("plain", "none"),
            **_TARGET,
        },
    ),
    *rows("solo/losses/mocov3.py; the recipe", {"temperature": 0.2, "factor of the paper's loss": 1.0}),
    *solo.OPTIMISER,
    Row("weight decay", 1e-6, "the recipe"),
    *solo.OPS,
    *rows("augmentations/asymmetric.yaml", {"crop's area": (0.08, 1.0), "solarisation": (0.0, 0.2)}),
    solo.EVALUATION,
)
# The recipe for ImageNet-100 has a batch of 128 on each of two devices.
_SMALLER = "the recipe on another set, at the size of lightly's benchmark"
_VIEWS = "augmentations/asymmetric.yaml"
IMAGENETTE = (
    *replaced(
        CIFAR10,
        Row("images", "imagenet100", "the recipe", "imagenette", "solo-learn has no recipe for Imagenette"),
        Row("epochs", 400, "the recipe", 800, "those of lightly's benchmarks, as the set is small"),
        Row("steps", 400 * (126_689 // 256), "drop_last", 800 * 36, "by epochs, batch and images"),
        Row("stem", "7x7 of stride 2, then max-pool of stride 2", "torchvision.models.resnet18()"),
        Row("size, pixels", 224, _VIEWS, 128, _SMALLER),
        Row("blur", (1.0, 0.1), _VIEWS),
        *rows("solo/data/pretrain_dataloader.py", releases.NORMALIZE),
        releases.EVALUATION,
    ),
    *releases.PIL_BLUR,
    Row(
        "blur's kernel, pixels",
        None,
        "PIL's filter, which is made of boxes",
        13,
        "a true Gaussian, a tenth of the size wide",
    ),
    Row("canvas in memory, pixels", None, releases.CANVAS.where, 160, releases.CANVAS.why),
)

RELEASE = (
    "facebookresearch/moco-v3 at c349e6e: CONFIG.md has the command for 100 epochs, main_moco.py and moco/ the rest"
)
RELEASE_VIT = "facebookresearch/moco-v3 at c349e6e: CONFIG.md has the command, main_moco.py, vits.py and moco/ the rest"
IMAGENET = (
    *rows("main_moco.py: the defaults", {"images": "imagenet", "epochs": 100, "batch size": 4096}),
    Row("steps", 100 * (1_281_167 // 4096), "drop_last"),
    *releases.RESNET50,
    *rows(
        "moco/builder.py; the command",
        {
            "projector's widths": (2048, 4096, 256),
            "predictor's widths": (256, 4096, 256),
            "norm after the heads' last layers": ("plain", "none"),
            "temperature": 1.0,
            "factor of the paper's loss": 1.0,
            **_TARGET,
        },
    ),
    *rows(
        "moco/optimizer.py; main_moco.py: the defaults",
        {
            "optimiser": "lars",
            "momentum": 0.9,
            "peak learning rate": 0.6 * 4096 / 256,
            "learning rate multiplies": "the momentum",
            "weight decay": 1e-6,
            "weight decay covers": COVERED[False],
        },
    ),
    *rows(
        "adjust_learning_rate",
        {
            "warmup, epochs": 10,
            "warmup": "from 0 by equal steps",
            "learning rate changes every": "step",
            "last learning rate": 0,
        },
    ),
    *releases.BYOL_VIEWS,
    Row("crop's area", (0.2, 1.0), "the command: --crop-min=.2"),
    Row("interpolation", "bilinear", "torchvision's RandomResizedCrop"),
    releases.EVALUATION,
    releases.CANVAS,
)

IMAGENET_VIT = (
    *rows("CONFIG.md: the command for ViT-Small", {"images": "imagenet", "epochs": 300, "batch size": 4096}),
    Row("steps", 300 * (1_281_167 // 4096), "drop_last"),
    *rows(
        "vits.py",
        {
            "network": "vit-small",
            "stem": "patches of 16",
            "width of the features": 384,
            "depth": 12,
            "attention heads": 12,
            "stochastic depth": 0.0,
            "registers": 0,
            "layer scale starts at": None,
            "MLP": "gelu, 4 x width",
            "bias of queries, keys and values": True,
            "LayerNorm's ε": 1e-6,
            "ViT starts from": VIT_STARTS["moco-v3"],
            "patch embedding": "fixed",
        },
    ),
    Row("positions", None, "views of one size: they are not resized", "dino", "not used in training"),
    *rows(
        "moco/builder.py; the command",
        {
            "projector's widths": (384, 4096, 4096, 256),
            "predictor's widths": (256, 4096, 256),
            "norm after the heads' last layers": ("plain", "plain"),
            "temperature": 0.2,
            "factor of the paper's loss": 1.0,
            **_TARGET,
        },
    ),
    *rows(
        "main_moco.py; the command",
        {
            "optimiser": "adamw",
            "momentum": 0.9,
            "second moment's decay": 0.999,
            "peak learning rate": 1.5e-4 * 4096 / 256,
            "weight decay": 0.1,
            "weight decay covers": COVERED[True],
        },
    ),
    *rows(
        "adjust_learning_rate; the command",
        {
            "warmup, epochs": 40,
            "warmup": "from 0 by equal steps",
            "learning rate changes every": "step",
            "last learning rate": 0,
        },
    ),
    *releases.BYOL_VIEWS,
    Row("crop's area", (0.08, 1.0), "main_moco.py: the default of --crop-min"),
    Row("interpolation", "bilinear", "torchvision's RandomResizedCrop"),
    releases.EVALUATION,
    releases.CANVAS,
)

SOURCES = {
    "moco-v3-digits": releases.OWN,
    "moco-v3-cifar10": Source(f"{solo.SCRIPTS}/cifar/mocov3.yaml", f"93.10 % by {solo.ONLINE}", CIFAR10),
    "moco-v3-imagenette": Source(
        f"{solo.SCRIPTS}/imagenet-100/mocov3.yaml", "none on these images; 80.36 % on ImageNet-100", IMAGENETTE
    ),
    "moco-v3-imagenet": Source(RELEASE, "68.9 % linear", IMAGENET),
    "moco-v3-imagenet-vit": Source(RELEASE_VIT, "73.2 % linear", IMAGENET_VIT),
    "moco-v3-cifar100": Source("", like="moco-v3-cifar10", changes=solo.CIFAR100),
    "moco-v3-stl10": Source(
        "",
        like="moco-v3-imagenette",
        changes={
            "images": ("stl10", "the recipe on another set"),
            "epochs": (200, "ten times as many images"),
            "steps": (200 * (100_000 // 512), "by epochs and batch"),
            "batch size": (512, "as many images at a time as on CIFAR-10 by lightly's benchmark"),
            "peak learning rate": (0.6, "by the rule for its batch"),
            "size, pixels": (96, "the images' own size"),
            "blur's kernel, pixels": (9, "a tenth of the size, made odd"),
            "mean": ((0.4467, 0.4398, 0.4066), "the set's own"),
            "deviation": ((0.2603, 0.2566, 0.2713), "the set's own"),
            "canvas in memory, pixels": (96, "the images' own size"),
            "evaluation view": ("the whole image", "views are as large as the images"),
        },
    ),
}
