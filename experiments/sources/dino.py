"""The numbers of DINO's sources: lightly's benchmarks and Meta's release."""

from experiments.sources import lightly, releases
from experiments.sources.heads import HEADS, TORCH_UNIFORM, VIT_STARTS
from experiments.sources.reading import COVERED
from experiments.sources.rows import Row, Source, replaced, rows

DINO_LOSS = (
    *rows(
        "DINOLoss(output_dim=2048)",
        {
            "loss": "cross-entropy",
            "student's temperature": 0.1,
            "teacher's temperature": 0.04,
            "centring": True,
            "centre's momentum": 0.9,
            "Sinkhorn-Knopp": 0,
            "factor of the paper's loss": 1.0,
        },
    ),
    *rows("update_momentum(..., m=0.99)", {"decay of the moving average": 0.99, "the decay goes": "nowhere"}),
    Row(
        "teacher's head starts from",
        "weights of its own",
        "DINOModel.__init__",
        "a copy",
        "the paper's start; a decay of .99 forgets either within an epoch or two",
    ),
    *rows(
        "training_step, which calls neither",
        {"gradient clipped at, each tensor": 0.0, "last layer frozen, epochs": 0.0},
    ),
    Row("evaluated network", "student", "BenchmarkModule: self.backbone"),
)
DINO_HEAD = (
    *rows(
        "_build_projection_head",
        {
            "head's widths": (512, 2048, 256, 2048),
            "head's layers": 2,
            "norm in the head": "batch",
            "gain of the last layer": "1",
            "predictor": False,
        },
    ),
    lightly.HEADS_START,
)
DINO_VIEWS = (
    *rows(
        "DINOTransform(global_crop_size=32, n_local_views=0, cj_strength=0.5, gaussian_blur=(0, 0, 0))",
        {"views": 2, "size, pixels": 32, "blur": 0.0},
    ),
    *rows(
        "lightly/transforms/dino_transform.py",
        {
            "crop's area": (0.4, 1.0),
            "interpolation": "bicubic",
            "flip": 0.5,
            "jitter": 0.8,
            "brightness, contrast, saturation, hue": (0.5 * 0.8, 0.5 * 0.8, 0.5 * 0.4, 0.5 * 0.2),
            "grayscale": 0.2,
            "solarisation": (0.0, 0.2),
            **lightly.NORMALIZE,
        },
    ),
    *rows(
        "torchvision's RandomResizedCrop and ColorJitter",
        {
            "crop's aspect": (3 / 4, 4 / 3),
            "crops drawn as by": "torchvision",
            "least area covered": 0.0,
            "jitter's ops": "torchvision",
            "jitter's order drawn for each": "image",
        },
    ),
)
DINO_CIFAR10 = (
    *lightly.TRAINING,
    *lightly.NETWORK,
    *DINO_HEAD,
    *DINO_LOSS,
    *lightly.OPTIMISER,
    *DINO_VIEWS,
    *lightly.EVALUATION,
)

_TWO, _SIX = ((0.4, 1.0),) * 2, ((0.05, 0.4),) * 6
DINO_IMAGENETTE = (
    *replaced(
        DINO_CIFAR10,
        *lightly.IMAGENETTE_TRAINED,
        *rows(
            "DINOProjectionHead(512, 2048, 256, 2048, batch_norm=True)",
            {"head's widths": (512, 2048, 2048, 256, 2048), "head's layers": 3},
        ),
        Row(
            "heads start from",
            "normal, deviation 0.02",
            "DINOProjectionHead._init_weights",
            TORCH_UNIFORM,
            "one start for backbone and heads; BatchNorm follows two of the three layers, the third is normalised",
        ),
        *rows(
            "DINOTransform(global_crop_size=128, local_crop_size=64, cj_strength=0.5)",
            {
                "views": 8,
                "size, pixels": (128,) * 2 + (64,) * 6,
                "crop's area": _TWO + _SIX,
                "blur": (1.0, 0.1) + (0.5,) * 6,
                "solarisation": (0.0, 0.2) + (0.0,) * 6,
            },
        ),
    ),
    Row(
        "BatchNorms of the head",
        "one for both layers",
        "DINOProjectionHead.__init__ at that revision",
        "one for each layer",
        "a slip of that revision, mended since",
    ),
    *lightly.BLUR,
    lightly.CANVAS,
)

META = "facebookresearch/dino at 7c446df: README.md (Boosting DINO performance) has the command, main_dino.py the rest"
DINO_IMAGENET = (
    *rows(
        "the command",
        {
            "images": "imagenet",
            "epochs": 300,
            "network": "vit-small",
            "teacher's temperature": (0.04, 0.07, 30),
            "gain of the last layer": "learned",
        },
    ),
    Row("batch size", 16 * 64, "README.md: 16 GPUs; batch_size_per_gpu"),
    Row("steps", 300 * (1_281_167 // 1024), "drop_last; a step sees as many images of every GPU's share"),
    *rows(
        "get_args_parser",
        {
            "optimiser": "adamw",
            "peak learning rate": 0.0005 * 1024 / 256,
            "last learning rate": 1e-6,
            "warmup, epochs": 10,
            "weight decay": (0.04, 0.4),
            "gradient clipped at, each tensor": 3.0,
            "last layer frozen, epochs": 1,
            "decay of the moving average": 0.996,
            "stochastic depth": 0.1,
            "views": 10,
            "crop's area": ((0.4, 1.0),) * 2 + ((0.05, 0.4),) * 8,
        },
    ),
    Row("momentum", 0.9, "torch.optim.AdamW: the first beta"),
    Row("second moment's decay", 0.999, "torch.optim.AdamW: the second beta"),
    *rows(
        "utils.py, cosine_scheduler",
        {
            "warmup": "from 0, with both ends",
            "learning rate changes every": "step",
            "the decay goes": "to 1 along a cosine",
        },
    ),
    Row("weight decay covers", COVERED[False], "utils.py, get_params_groups"),
    *rows(
        "vision_transformer.py",
        {
            "stem": "patches of 16",
            "width of the features": 384,
            "depth": 12,
            "attention heads": 6,
            "ViT starts from": VIT_STARTS["release"],
            "registers": 0,
            "layer scale starts at": None,
            "MLP": "gelu, 4 x width",
            "bias of queries, keys and values": True,
            "LayerNorm's ε": 1e-6,
            "positions": "dino",
            "head's widths": (384, 2048, 2048, 256, 65536),
            "head's layers": 3,
            "norm in the head": "none",
            "heads start from": HEADS["dino"],
            "predictor": False,
        },
    ),
    Row("BatchNorm statistics", "of all views of a resolution", "utils.py, MultiCropWrapper; a ViT has none"),
    *rows(
        "DINOLoss",
        {
            "loss": "cross-entropy",
            "student's temperature": 0.1,
            "centring": True,
            "centre's momentum": 0.9,
            "Sinkhorn-Knopp": 0,
            "factor of the paper's loss": 1.0,
        },
    ),
    Row("teacher's head starts from", "a copy", "train_dino: load_state_dict"),
    Row("evaluated network", "teacher", "eval_knn.py: checkpoint_key"),
    *rows(
        "DataAugmentationDINO",
        {
            "size, pixels": (224,) * 2 + (96,) * 8,
            "interpolation": "bicubic",
            "flip": 0.5,
            "jitter": 0.8,
            "brightness, contrast, saturation, hue": (0.4, 0.4, 0.2, 0.1),
            "grayscale": 0.2,
            "blur": (1.0, 0.1) + (0.5,) * 8,
            "solarisation": (0.0, 0.2) + (0.0,) * 8,
            **releases.NORMALIZE,
        },
    ),
    *rows(
        "torchvision's RandomResizedCrop and ColorJitter",
        {
            "crop's aspect": (3 / 4, 4 / 3),
            "crops drawn as by": "torchvision",
            "least area covered": 0.0,
            "jitter's ops": "torchvision",
            "jitter's order drawn for each": "image",
        },
    ),
    Row("blur's sigma, pixels", (0.1, 2.0), "utils.py, GaussianBlur"),
    Row(
        "blur's kernel, pixels",
        None,
        "PIL's filter, which is made of boxes",
        13,
        "a true Gaussian, cut at three of the largest sigma",
    ),
    Row(
        "blur beyond the edge",
        "repeated",
        "PIL's filter",
        "reflect",
        "the difference is in two or three pixels at the border",
    ),
    Row("evaluation view", "the central 0.875 of the shorter side", "eval_knn.py: Resize(256), CenterCrop(224)"),
    releases.CANVAS,
)

SOURCES = {
    "dino-digits": releases.OWN,
    "dino-cifar10": Source(lightly.CIFAR10, f"{lightly.KNN}: 81.3 %; 84.8 % at 800 epochs", DINO_CIFAR10),
    "dino-imagenette": Source(lightly.IMAGENETTE, f"{lightly.KNN}: 88.8 %; 87.3 % at 200 epochs", DINO_IMAGENETTE),
    "dino-imagenet": Source(META, "73.3 % by kNN, 76.0 % linear", DINO_IMAGENET),
    "dino-cifar100": Source("", like="dino-cifar10", changes=lightly.OTHER_IMAGES),
    "dino-stl10": Source(
        "",
        like="dino-imagenette",
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
