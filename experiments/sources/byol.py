"""The numbers of BYOL's sources: lightly's benchmarks and DeepMind's release."""

from experiments.sources import lightly, releases
from experiments.sources.heads import LECUN
from experiments.sources.reading import COVERED
from experiments.sources.rows import Row, Source, replaced, rows

BYOL_CIFAR10 = (
    *lightly.TRAINING,
    *lightly.NETWORK,
    *rows(
        "BYOLProjectionHead(512, 1024, 256), BYOLPredictionHead(256, 1024, 256)",
        {
            "projector's widths": (512, 1024, 256),
            "predictor's widths": (256, 1024, 256),
            "norms of projector and predictor": ("batch", "batch"),
            "bias of the heads' last layer": True,
        },
    ),
    lightly.HEADS_START,
    *rows("BYOLModel.__init__: copy.deepcopy", {"target": "average", "target starts from": "a copy"}),
    *rows("update_momentum(..., m=0.99)", {"decay of the moving average": 0.99, "the decay goes": "nowhere"}),
    *rows(
        "0.5 * (NegativeCosineSimilarity + NegativeCosineSimilarity)",
        {"factor of the paper's loss": 0.25, "negatives": 0.0},
    ),
    *lightly.OPTIMISER,
    # At that revision BYOL uses SimCLR's transform.
    *lightly.SIMCLR_VIEWS,
    *lightly.EVALUATION,
)

DEEPMIND = "google-deepmind/deepmind-research, byol/ at 4822a45"
_BYOL_VIEWS = (
    *rows(
        "utils/augmentations.py, augment_config",
        {
            "views": 2,
            "flip": 0.5,
            "jitter": 0.8,
            "brightness, contrast, saturation, hue": (0.4, 0.4, 0.2, 0.1),
            "grayscale": 0.2,
            "blur": (1.0, 0.1),
            "blur's sigma, pixels": (0.1, 2.0),
            "solarisation": (0.0, 0.2),
        },
    ),
    *rows(
        "utils/augmentations.py, the ops",
        {
            "jitter's ops": "tensorflow",
            "jitter's order drawn for each": "image",
            "blur beyond the edge": "zeros",
        },
    ),
    Row("blur's kernel, pixels", 23, "utils/augmentations.py: blur_divider"),
    *rows(
        "utils/dataset.py",
        {
            "size, pixels": 224,
            "crop's area": (0.08, 1.0),
            "crop's aspect": (3 / 4, 4 / 3),
            "crops drawn as by": "torchvision",
            "least area covered": 0.0,
            "interpolation": "bicubic",
            **releases.NORMALIZE,
        },
    ),
    Row(
        "where no crop fits",
        "cut to the image",
        "utils/dataset.py, _decode_and_random_crop",
        "drawn again, ten times",
        "torchvision's sampling, which the paper describes",
    ),
    releases.SHRINKING,
    Row("evaluation view", "the central 0.875 of the shorter side", "utils/dataset.py, _decode_and_center_crop"),
    releases.CANVAS,
)
BYOL_IMAGENET = (
    *rows(
        "configs/byol.py at --pretrain_epochs=300, README.md: a batch of 4096",
        {
            "images": "imagenet",
            "epochs": 300,
            "batch size": 4096,
            "network": "resnet50",
            "peak learning rate": 0.3 * 4096 / 256,
            "weight decay": 1e-6,
            "momentum": 0.9,
            "warmup, epochs": 10,
            "decay of the moving average": 0.99,
            "projector's widths": (2048, 4096, 256),
            "predictor's widths": (256, 4096, 256),
        },
    ),
    Row("steps", 300 * 1_281_167 // 4096, "configs/byol.py: max_steps", 300 * 312, releases.REPEATED),
    *rows(
        "utils/networks.py and haiku's ResNet",
        {
            "stem": "7x7 of stride 2, then max-pool of stride 2",
            "width of the features": 2048,
            "norm": "batch",
            "ReLU after the stem's norm": True,
            "convolutions start from": LECUN,
            "last norm of a block starts at": 0,
            "norms of projector and predictor": ("batch", "batch"),
            "bias of the heads' last layer": False,
            "heads start from": LECUN,
        },
    ),
    Row("padding before a stride", "at the end", "utils/networks.py: padding='SAME'", "symmetric", releases.PADDING),
    *rows(
        "byol_experiment.py",
        {
            "BatchNorm statistics": "of each view",
            "target": "average",
            "target starts from": "weights of its own",
            "negatives": 0.0,
            "factor of the paper's loss": 1.0,
        },
    ),
    *rows(
        "utils/optimizers.py: lars, exclude_bias_and_norm",
        {
            "optimiser": "lars",
            "learning rate multiplies": "the momentum",
            "weight decay covers": COVERED[False],
        },
    ),
    *rows(
        "utils/schedules.py",
        {
            "warmup": "from 0 by equal steps",
            "learning rate changes every": "step",
            "last learning rate": 0,
            "the decay goes": "to 1 along a cosine",
        },
    ),
    *_BYOL_VIEWS,
)
_SMALL = "README.md at 2314aa7, Setup for fast iteration"
BYOL_IMAGENETTE = (
    *replaced(
        BYOL_IMAGENET,
        *rows(
            _SMALL,
            {
                "images": "imagenette",
                "epochs": 1000,
                "batch size": 256,
                "network": "resnet18",
                "weight decay": 1e-6,
                "peak learning rate": 2.0,
                "size, pixels": 128,
            },
        ),
        Row("steps", 1000 * 9_469 // 256, "configs/byol.py: max_steps", 36_000, releases.REPEATED),
        Row("width of the features", 512, "utils/networks.py, ResNet18"),
        Row("projector's widths", (512, 4096, 256), "configs/byol.py"),
        Row("decay of the moving average", 0.996, "configs/byol.py: _EMA_PRESETS[1000]"),
        Row("last norm of a block starts at", 1, "haiku's BlockV1: zeros in bottlenecks alone"),
        Row("blur's kernel, pixels", 13, "utils/augmentations.py: blur_divider"),
        Row("canvas in memory, pixels", releases.CANVAS.theirs, releases.CANVAS.where, 160, releases.CANVAS.why),
    ),
    Row(
        "first block's shortcut",
        "1x1 convolution and norm",
        "utils/networks.py: use_projection",
        "identity",
        releases.SHORTCUT,
    ),
)

SOURCES = {
    "byol-digits": releases.OWN,
    "byol-cifar10": Source(lightly.CIFAR10, f"{lightly.KNN}: 86.8 %; 91.0 % at 800 epochs", BYOL_CIFAR10),
    "byol-imagenette": Source(
        f"{DEEPMIND}; the changes for Imagenette in {_SMALL}", "92.3 % by its online linear head", BYOL_IMAGENETTE
    ),
    "byol-imagenet": Source(DEEPMIND, "the paper's table for 300 epochs: 72.5 % linear", BYOL_IMAGENET),
    "byol-cifar100": Source("", like="byol-cifar10", changes=lightly.OTHER_IMAGES),
    "byol-stl10": Source(
        "",
        like="byol-imagenette",
        changes={
            "images": ("stl10", "the recipe on another set"),
            "epochs": (200, "ten times as many images"),
            "batch size": (512, "as many images at a time as on CIFAR-10"),
            "steps": (200 * (100_000 // 512), "by epochs and batch"),
            "peak learning rate": (4.0, "by the rule for its batch"),
            "size, pixels": (96, "the images' own size"),
            "blur's kernel, pixels": (9, "a tenth of the size, made odd"),
            "mean": ((0.4467, 0.4398, 0.4066), "the set's own"),
            "deviation": ((0.2603, 0.2566, 0.2713), "the set's own"),
            "canvas in memory, pixels": (96, "the images' own size"),
            "evaluation view": ("the whole image", "views are as large as the images"),
        },
    ),
}
