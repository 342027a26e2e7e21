"""What the methods' own releases have in common, and the reasons that recurring differences have."""

from experiments.sources.heads import CONVOLUTIONS, TORCH_UNIFORM
from experiments.sources.rows import Row, Source, rows

NORMALIZE = {"mean": (0.485, 0.456, 0.406), "deviation": (0.229, 0.224, 0.225)}

REPEATED = "the source repeats the images before it cuts batches; epochs here are whole batches"
SHRINKING = Row(
    "shrinking",
    "not antialiased",
    "tf.image.resize",
    "antialiased",
    "as PIL and torch shrink; the papers do not say",
)
SHORTCUT = "torchvision's network, whose names exported weights have; at equal widths it has no convolution there"
PADDING = "torchvision's network, whose names exported weights have"
CANVAS = Row(
    "canvas in memory, pixels",
    None,
    "the files are read anew for every view",
    256,
    "images are kept squashed to squares; crops are drawn in their true geometry",
)

# Of releases in torch that blur by PIL's filter.
PIL_BLUR = (
    Row("blur's sigma, pixels", (0.1, 2.0), "PIL's filter"),
    Row("blur beyond the edge", "repeated", "PIL's filter", "reflect", "the difference is in two or three pixels"),
)
PIL_KERNEL = Row(
    "blur's kernel, pixels",
    None,
    "PIL's filter, which is made of boxes",
    23,
    "a true Gaussian, a tenth of the size wide",
)
# torchvision's RandomResizedCrop and ColorJitter.
TORCHVISION = rows(
    "torchvision's RandomResizedCrop and ColorJitter",
    {
        "crop's aspect": (3 / 4, 4 / 3),
        "crops drawn as by": "torchvision",
        "least area covered": 0.0,
        "jitter's ops": "torchvision",
        "jitter's order drawn for each": "image",
    },
)
# The two transforms of Barlow Twins, VICReg and MoCo v3, which are BYOL's in torch.
BYOL_VIEWS = (
    *rows(
        "the two transforms",
        {
            "views": 2,
            "size, pixels": 224,
            "flip": 0.5,
            "jitter": 0.8,
            "brightness, contrast, saturation, hue": (0.4, 0.4, 0.2, 0.1),
            "grayscale": 0.2,
            "blur": (1.0, 0.1),
            "solarisation": (0.0, 0.2),
            **NORMALIZE,
        },
    ),
    *TORCHVISION,
    *PIL_BLUR,
    PIL_KERNEL,
)
# torchvision's `resnet50(zero_init_residual=True)`, which four releases train.
RESNET50 = rows(
    "torchvision's resnet50(zero_init_residual=True)",
    {
        "network": "resnet50",
        "stem": "7x7 of stride 2, then max-pool of stride 2",
        "width of the features": 2048,
        "norm": "batch",
        "ReLU after the stem's norm": True,
        "convolutions start from": CONVOLUTIONS["torchvision"],
        "last norm of a block starts at": 0,
        "heads start from": TORCH_UNIFORM,
        "BatchNorm statistics": "of each view",
    },
)
EVALUATION = Row("evaluation view", "the central 0.875 of the shorter side", "Resize(256), CenterCrop(224)")

# Of the configurations for digits.
OWN = Source(
    "No source: a first look on scikit-learn's digits, whose numbers were found here; README.md has its results."
)
