"""The numbers of lightly's benchmarks, each at the revision at which its table was measured."""

from experiments.sources.heads import CONVOLUTIONS, TORCH_UNIFORM
from experiments.sources.reading import COVERED
from experiments.sources.rows import Row, rows

BENCHMARKS = "lightly-ai/lightly, docs/source/getting_started/benchmarks"
CIFAR10 = f"{BENCHMARKS}/cifar10_benchmark.py at 42a6a92; what it imports at the same revision"
IMAGENETTE = f"{BENCHMARKS}/imagenette_benchmark.py at 3ea0736; what it imports at the same revision"
KNN = "kNN with k=200 and τ=0.1 on the ℓ2-normalised backbone after every epoch, the best of them"
NORMALIZE = {"mean": (0.485, 0.456, 0.406), "deviation": (0.229, 0.224, 0.225)}

TRAINING = (
    *rows(
        "the table at the top",
        {"images": "cifar10", "epochs": 200, "batch size": 512},
    ),
    Row("steps", 19_400, "get_data_loaders: drop_last"),
)
NETWORK = (
    *rows(
        "lightly/models/resnet.py",
        {
            "network": "resnet18",
            "stem": "3x3 of stride 1",
            "width of the features": 512,
            "norm": "batch",
            "convolutions start from": CONVOLUTIONS["torch"],
            "last norm of a block starts at": 1,
        },
    ),
    Row("ReLU after the stem's norm", False, "nn.Sequential(*list(resnet.children())[:-1], ...): relu is no child"),
    Row("BatchNorm statistics", "of each view", "training_step: a forward for each view"),
)
OPTIMISER = (
    *rows(
        "configure_optimizers",
        {
            "optimiser": "sgd",
            "peak learning rate": 0.06 * 512 / 128,
            "momentum": 0.9,
            "weight decay": 5e-4,
            "weight decay covers": COVERED[True],
        },
    ),
    *rows(
        "CosineAnnealingLR(optim, max_epochs), which Lightning steps once an epoch",
        {"warmup, epochs": 0, "learning rate changes every": "epoch", "last learning rate": 0},
    ),
)
SIMCLR_VIEWS = (
    *rows(
        "SimCLRTransform(input_size=32, cj_strength=0.5, gaussian_blur=0.0)",
        {
            "views": 2,
            "size, pixels": 32,
            "brightness, contrast, saturation, hue": (0.5 * 0.8, 0.5 * 0.8, 0.5 * 0.8, 0.5 * 0.2),
            "blur": 0.0,
        },
    ),
    *rows(
        "lightly/transforms/simclr_transform.py",
        {
            "crop's area": (0.08, 1.0),
            "flip": 0.5,
            "jitter": 0.8,
            "grayscale": 0.2,
            "solarisation": 0.0,
            **NORMALIZE,
        },
    ),
    *rows(
        "torchvision's RandomResizedCrop and ColorJitter",
        {
            "crop's aspect": (3 / 4, 4 / 3),
            "crops drawn as by": "torchvision",
            "least area covered": 0.0,
            "interpolation": "bilinear",
            "jitter's ops": "torchvision",
            "jitter's order drawn for each": "image",
        },
    ),
)
EVALUATION = (Row("evaluation view", "the whole image", "test_transforms"),)
HEADS_START = Row("heads start from", TORCH_UNIFORM, "lightly/models/modules/heads.py: nn.Linear")

# Imagenette: only the values that differ from the CIFAR-10 file.
IMAGENETTE_TRAINED = (
    *rows("the table at the top", {"images": "imagenette", "epochs": 800, "batch size": 256}),
    Row("steps", 800 * 36, "get_data_loaders: drop_last"),
    *rows(
        "torchvision.models.resnet18()",
        {
            "network": "resnet18",
            "stem": "7x7 of stride 2, then max-pool of stride 2",
            "convolutions start from": CONVOLUTIONS["torchvision"],
            "ReLU after the stem's norm": True,
        },
    ),
    Row("peak learning rate", 0.06, "configure_optimizers: 6e-2 * batch_size / 256"),
    Row(
        "evaluation view",
        "the central square",
        "test_transforms: Resize(128), CenterCrop(128)",
        "the central 0.875 of the shorter side",
        "the view that the library evaluates all photographs with, SimCLR's and DINO's",
    ),
)
CANVAS = Row(
    "canvas in memory, pixels",
    None,
    "the files are read anew for every view",
    160,
    "images are kept squashed to squares; crops are drawn in their true geometry",
)
_PIL_BLUR = "lightly/transforms/gaussian_blur.py: PIL's filter, which is made of boxes"
_EDGE = ("reflect", "PIL repeats the edge's pixels; the difference is in two or three pixels at the border")
# Rows that recipes have whose views are blurred.
BLUR = (
    Row("blur's sigma, pixels", (0.1, 2.0), _PIL_BLUR),
    Row("blur's kernel, pixels", None, _PIL_BLUR, 13, "a true Gaussian, cut at three of the largest sigma"),
    Row("blur beyond the edge", "repeated", _PIL_BLUR, *_EDGE),
)

OTHER_IMAGES = {"images": ("cifar100", "the recipe on another set")}
STL10 = {
    "images": ("stl10", "the recipe on another set"),
    "epochs": (200, "ten times as many images"),
    "steps": (200 * (100_000 // 512), "by epochs and batch"),
    "batch size": (512, "as many images at a time as on CIFAR-10"),
    "peak learning rate": (0.12, "by the rule for its batch"),
    "mean": ((0.4467, 0.4398, 0.4066), "the set's own"),
    "deviation": ((0.2603, 0.2566, 0.2713), "the set's own"),
    "canvas in memory, pixels": (96, "the images' own size"),
    "evaluation view": ("the whole image", "views are as large as the images"),
}
