"""The numbers of MAE's sources: the paper's release, and lightly's benchmark on Imagenette."""

from experiments.sources import lightly, releases
from experiments.sources.heads import VIT_STARTS
from experiments.sources.reading import COVERED
from experiments.sources.rows import Row, Source, replaced, rows

RELEASE = "facebookresearch/mae at efb2a80: PRETRAIN.md has the command, main_pretrain.py and models_mae.py the rest"
_MODEL = "models_mae.py, mae_vit_base_patch16"
IMAGENET = (
    *rows("the command", {"images": "imagenet", "epochs": 800, "batch size": 4096}),
    Row("steps", 800 * (1_281_167 // 4096), "drop_last"),
    *rows(
        _MODEL,
        {
            "network": "vit-base",
            "stem": "patches of 16",
            "width of the features": 768,
            "depth": 12,
            "attention heads": 12,
            "stochastic depth": 0.0,
            "registers": 0,
            "layer scale starts at": None,
            "MLP": "gelu, 4 x width",
            "bias of queries, keys and values": True,
            "LayerNorm's ε": 1e-6,
            "ViT starts from": VIT_STARTS["mae"],
            "decoder's width, blocks, heads": (512, 8, 16),
        },
    ),
    Row("positions", None, "views of one size: they are not resized", "dino", "not used in training"),
    *rows(
        "the command",
        {"masked patches": 0.75, "pixels of a patch": "standardised", "factor of the paper's loss": 1.0},
    ),
    *rows(
        "main_pretrain.py; the command",
        {
            "optimiser": "adamw",
            "momentum": 0.9,
            "second moment's decay": 0.95,
            "peak learning rate": 1.5e-4 * 4096 / 256,
            "weight decay": 0.05,
            "weight decay covers": COVERED[False],
        },
    ),
    *rows(
        "util/lr_sched.py; the command",
        {
            "warmup, epochs": 40,
            "warmup": "from 0 by equal steps",
            "learning rate changes every": "step",
            "last learning rate": 0,
        },
    ),
    *rows(
        "main_pretrain.py, transform_train",
        {
            "views": 1,
            "size, pixels": 224,
            "crop's area": (0.2, 1.0),
            "interpolation": "bicubic",
            "flip": 0.5,
            **releases.NORMALIZE,
        },
    ),
    *rows(
        "torchvision's RandomResizedCrop",
        {"crop's aspect": (3 / 4, 4 / 3), "crops drawn as by": "torchvision", "least area covered": 0.0},
    ),
    releases.EVALUATION,
    releases.CANVAS,
)

_BENCHMARK = "MAEModel"
_OWN = "the release's"
IMAGENETTE = replaced(
    IMAGENET,
    *rows("the table at the top", {"images": "imagenette", "epochs": 800, "batch size": 256}),
    Row("steps", 800 * 36, "get_data_loaders: drop_last"),
    Row("stem", "patches of 32", "torchvision.models.vit_b_32"),
    Row("ViT starts from", "torchvision's, with learned positions", "vit_b_32", VIT_STARTS["mae"], _OWN),
    Row("decoder's width, blocks, heads", (512, 1, 16), _BENCHMARK),
    Row("pixels of a patch", "as they are", _BENCHMARK),
    *rows(
        f"{_BENCHMARK}, configure_optimizers",
        {
            "peak learning rate": 1.5e-4,
            "second moment's decay": 0.95,
            "weight decay": 0.05,
            "weight decay covers": COVERED[True],
        },
    ),
    Row("learning rate changes every", "epoch", "CosineWarmupScheduler, which Lightning steps once an epoch"),
    Row("warmup", "from 1/40 of the peak", "CosineWarmupScheduler", "from 0 by equal steps", "a fortieth of the peak"),
    Row(
        "evaluation view",
        "the central square at 128 pixels",
        "test_transforms: Resize(128), CenterCrop(128)",
        "the central 0.875 of the shorter side",
        "at the size of training; the view that the library evaluates all photographs with",
    ),
)
_ANOTHER = "the recipe on another set"
_SMALL = "small images"

SOURCES = {
    "mae-digits": releases.OWN,
    "mae-cifar10": Source(
        "",
        like="mae-imagenet",
        changes={
            "images": ("cifar10", _ANOTHER),
            "steps": (800 * (50_000 // 512), "by epochs and batch"),
            "batch size": (512, "that of lightly's benchmark on these images"),
            "peak learning rate": (3e-4, "by the rule for its batch"),
            "network": ("vit-tiny", _SMALL),
            "stem": ("patches of 4", _SMALL),
            "width of the features": (192, _SMALL),
            "attention heads": (3, _SMALL),
            "decoder's width, blocks, heads": ((96, 2, 3), _SMALL),
            "size, pixels": (32, "the images' own size"),
            "mean": ((0.4914, 0.4822, 0.4465), "the set's own"),
            "deviation": ((0.2470, 0.2435, 0.2616), "the set's own"),
            "canvas in memory, pixels": (None, ""),
            "evaluation view": ("the whole image", "views are as large as the images"),
        },
    ),
    "mae-imagenette": Source(lightly.IMAGENETTE, f"61.0 % {lightly.KNN}", IMAGENETTE),
    "mae-imagenet": Source(RELEASE, "none after 800 epochs; 83.7 % by fine-tuning after 1600", IMAGENET),
}
