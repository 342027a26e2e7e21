"""The numbers of lightly's benchmarks, each at the revision at which its table was measured."""

from experiments.sources.reading import CONVOLUTIONS, COVERED, TORCH_UNIFORM
from experiments.sources.rows import Row, Source, replaced, rows

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

SIMCLR_CIFAR10 = (
    *TRAINING,
    *NETWORK,
    *rows(
        "SimCLRProjectionHead(512, 512, 128)",
        {"head's widths": (512, 512, 128), "head's layers": 2, "offset of the head's last norm": True},
    ),
    HEADS_START,
    *rows(
        "NTXentLoss()",
        {"loss": "nt-xent", "temperature": 0.5, "factor of the paper's loss": 1.0},
    ),
    *OPTIMISER,
    *SIMCLR_VIEWS,
    Row("ops on one view alone", (), "MultiViewTransform"),
    *EVALUATION,
)

BYOL_CIFAR10 = (
    *TRAINING,
    *NETWORK,
    *rows(
        "BYOLProjectionHead(512, 1024, 256), BYOLPredictionHead(256, 1024, 256)",
        {
            "projector's widths": (512, 1024, 256),
            "predictor's widths": (256, 1024, 256),
            "norms of projector and predictor": ("batch", "batch"),
            "bias of the heads' last layer": True,
        },
    ),
    HEADS_START,
    *rows("BYOLModel.__init__: copy.deepcopy", {"target": "average", "target starts from": "a copy"}),
    *rows("update_momentum(..., m=0.99)", {"decay of the moving average": 0.99, "the decay goes": "nowhere"}),
    *rows(
        "0.5 * (NegativeCosineSimilarity + NegativeCosineSimilarity)",
        {"factor of the paper's loss": 0.25, "negatives": 0.0},
    ),
    *OPTIMISER,
    # At that revision BYOL uses SimCLR's transform.
    *SIMCLR_VIEWS,
    *EVALUATION,
)

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
    HEADS_START,
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
            **NORMALIZE,
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
DINO_CIFAR10 = (*TRAINING, *NETWORK, *DINO_HEAD, *DINO_LOSS, *OPTIMISER, *DINO_VIEWS, *EVALUATION)

# Imagenette: only the values that differ from the CIFAR-10 file.
_TRAINED = (
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
_CANVAS = Row(
    "canvas in memory, pixels",
    None,
    "the files are read anew for every view",
    160,
    "images are kept squashed to squares; crops are drawn in their true geometry",
)
_PIL_BLUR = "lightly/transforms/gaussian_blur.py: PIL's filter, which is made of boxes"
_EDGE = ("reflect", "PIL repeats the edge's pixels; the difference is in two or three pixels at the border")
SIMCLR_IMAGENETTE = (
    *replaced(
        SIMCLR_CIFAR10,
        *_TRAINED,
        *rows("SimCLRTransform(input_size=128, cj_strength=0.5)", {"size, pixels": 128, "blur": 0.5}),
    ),
    Row("blur's sigma, pixels", (0.1, 2.0), _PIL_BLUR),
    Row("blur's kernel, pixels", None, _PIL_BLUR, 13, "a true Gaussian, cut at three of the largest sigma"),
    Row("blur beyond the edge", "repeated", _PIL_BLUR, *_EDGE),
    _CANVAS,
)
_TWO, _SIX = ((0.4, 1.0),) * 2, ((0.05, 0.4),) * 6
DINO_IMAGENETTE = (
    *replaced(
        DINO_CIFAR10,
        *_TRAINED,
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
    Row("blur's sigma, pixels", (0.1, 2.0), _PIL_BLUR),
    Row("blur's kernel, pixels", None, _PIL_BLUR, 13, "a true Gaussian, cut at three of the largest sigma"),
    Row("blur beyond the edge", "repeated", _PIL_BLUR, *_EDGE),
    _CANVAS,
)

_OTHER_IMAGES = {"images": ("cifar100", "the recipe on another set")}
_STL10 = {
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

SOURCES = {
    "simclr-cifar10": Source(CIFAR10, f"{KNN}: 84.8 %; 87.9 % at 800 epochs", SIMCLR_CIFAR10),
    "simclr-imagenette": Source(IMAGENETTE, f"{KNN}: 88.9 %; 83.5 % at 200 epochs", SIMCLR_IMAGENETTE),
    "byol-cifar10": Source(CIFAR10, f"{KNN}: 86.8 %; 91.0 % at 800 epochs", BYOL_CIFAR10),
    "dino-cifar10": Source(CIFAR10, f"{KNN}: 81.3 %; 84.8 % at 800 epochs", DINO_CIFAR10),
    "dino-imagenette": Source(IMAGENETTE, f"{KNN}: 88.8 %; 87.3 % at 200 epochs", DINO_IMAGENETTE),
    "simclr-cifar100": Source("", like="simclr-cifar10", changes=_OTHER_IMAGES),
    "byol-cifar100": Source("", like="byol-cifar10", changes=_OTHER_IMAGES),
    "dino-cifar100": Source("", like="dino-cifar10", changes=_OTHER_IMAGES),
    "simclr-stl10": Source(
        "",
        like="simclr-imagenette",
        changes={
            **_STL10,
            "size, pixels": (96, "the images' own size"),
            "blur's kernel, pixels": (9, "a tenth of the size, made odd, as SimCLR has it"),
        },
    ),
    "dino-stl10": Source(
        "",
        like="dino-imagenette",
        changes={
            **{
                name: change
                for name, change in _STL10.items()
                if name not in ("batch size", "steps", "peak learning rate")
            },
            "steps": (200 * (100_000 // 256), "by epochs and batch"),
            "size, pixels": ((96,) * 2 + (48,) * 6, "the images' own size, and half of it"),
        },
    ),
}
