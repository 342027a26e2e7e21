"""The numbers of SimCLR's sources: lightly's benchmarks and Google's release."""

from experiments.sources import lightly, releases
from experiments.sources.heads import CONVOLUTIONS, HEADS
from experiments.sources.reading import COVERED
from experiments.sources.rows import Row, Source, replaced, rows

SIMCLR_CIFAR10 = (
    *lightly.TRAINING,
    *lightly.NETWORK,
    *rows(
        "SimCLRProjectionHead(512, 512, 128)",
        {"head's widths": (512, 512, 128), "head's layers": 2, "offset of the head's last norm": True},
    ),
    lightly.HEADS_START,
    *rows(
        "NTXentLoss()",
        {"loss": "nt-xent", "temperature": 0.5, "factor of the paper's loss": 1.0},
    ),
    *lightly.OPTIMISER,
    *lightly.SIMCLR_VIEWS,
    Row("ops on one view alone", (), "MultiViewTransform"),
    *lightly.EVALUATION,
)

SIMCLR_IMAGENETTE = (
    *replaced(
        SIMCLR_CIFAR10,
        *lightly.IMAGENETTE_TRAINED,
        *rows("SimCLRTransform(input_size=128, cj_strength=0.5)", {"size, pixels": 128, "blur": 0.5}),
    ),
    *lightly.BLUR,
    lightly.CANVAS,
)
GOOGLE = "google-research/simclr at 383d414: README.md has the command, tf2/ the rest"
SIMCLR_CIFAR10_LONG = (
    *rows(
        "the command",
        {
            "images": "cifar10",
            "epochs": 1000,
            "batch size": 512,
            "network": "resnet18",
            "temperature": 0.5,
            "weight decay": 1e-4,
            "size, pixels": 32,
            "blur": 0.0,
        },
    ),
    Row("steps", 50_000 * 1000 // 512 + 1, "model.py, get_train_steps", 97_000, releases.REPEATED),
    Row("peak learning rate", 1.0 * 512 / 256, "the command: 1.0; run.py: learning_rate_scaling linear"),
    *rows(
        "resnet.py",
        {
            "stem": "3x3 of stride 1",
            "width of the features": 512,
            "norm": "batch",
            "ReLU after the stem's norm": True,
            "convolutions start from": CONVOLUTIONS["release"],
            "last norm of a block starts at": 0,
        },
    ),
    Row(
        "first block's shortcut",
        "1x1 convolution and norm",
        "resnet.py: use_projection=True",
        "identity",
        releases.SHORTCUT,
    ),
    Row("BatchNorm statistics", "of all views of a resolution", "model.py: one forward of both views"),
    *rows(
        "model.py, ProjectionHead and LinearLayer; run.py: num_proj_layers, proj_out_dim",
        {
            "head's widths": (512, 512, 512, 128),
            "head's layers": 3,
            "offset of the head's last norm": False,
            "heads start from": HEADS["simclr"],
        },
    ),
    *rows("objective.py, add_contrastive_loss: the sum of both directions", {"loss": "nt-xent"}),
    Row("factor of the paper's loss", 2.0, "objective.py: tf.reduce_mean(loss_a + loss_b)"),
    *rows("run.py", {"optimiser": "lars", "momentum": 0.9}),
    *rows(
        "lars_optimizer.py, model.py: exclude_from_weight_decay",
        {"learning rate multiplies": "the gradient", "weight decay covers": COVERED[False]},
    ),
    *rows(
        "model.py, WarmUpAndCosineDecay; run.py: warmup_epochs",
        {
            "warmup, epochs": 10,
            "warmup": "from 0 by equal steps",
            "learning rate changes every": "step",
            "last learning rate": 0,
        },
    ),
    Row("brightness, contrast, saturation, hue", (0.4, 0.4, 0.4, 0.1), "the command: color_jitter_strength 0.5"),
    *rows(
        "data_util.py",
        {
            "views": 2,
            "crop's area": (0.08, 1.0),
            "crop's aspect": (3 / 4, 4 / 3),
            "crops drawn as by": "tensorflow",
            "least area covered": 0.1,
            "interpolation": "bicubic",
            "flip": 0.5,
            "jitter": 0.8,
            "jitter's ops": "simclr",
            "jitter's order drawn for each": "image",
            "grayscale": 0.2,
            "solarisation": 0.0,
            "ops on one view alone": (),
            "mean": None,
            "deviation": None,
        },
    ),
    releases.SHRINKING,
    Row(
        "where no crop fits",
        "drawn again, 100 times",
        "data_util.py: max_attempts",
        "drawn again, ten times",
        "it hardly ever fails",
    ),
    Row("evaluation view", "the whole image", "data.py: test_crop is off up to 32 pixels"),
)
SIMCLR_IMAGENET = (
    *replaced(
        SIMCLR_CIFAR10_LONG,
        *rows(
            "the command",
            {
                "images": "imagenet",
                "epochs": 100,
                "batch size": 4096,
                "temperature": 0.1,
                "weight decay": 1e-4,
                "size, pixels": 224,
            },
        ),
        *rows("run.py's defaults", {"network": "resnet50", "blur": 0.5}),
        Row("steps", 1_281_167 * 100 // 4096 + 1, "model.py, get_train_steps", 31_200, releases.REPEATED),
        Row("peak learning rate", 0.075 * 4096**0.5, "the command: 0.075, learning_rate_scaling sqrt"),
        *rows(
            "resnet.py",
            {"stem": "7x7 of stride 2, then max-pool of stride 2", "width of the features": 2048},
        ),
        Row("first block's shortcut", "1x1 convolution and norm", "resnet.py: use_projection=True"),
        Row("head's widths", (2048, 2048, 2048, 128), "model.py, ProjectionHead"),
        Row("brightness, contrast, saturation, hue", (0.8, 0.8, 0.8, 0.2), "run.py: color_jitter_strength"),
        Row("evaluation view", "the central 0.875 of the shorter side", "data_util.py: CROP_PROPORTION"),
    ),
    *rows(
        "data_util.py, batch_random_blur and gaussian_blur",
        {"blur's sigma, pixels": (0.1, 2.0), "blur's kernel, pixels": 23, "blur beyond the edge": "zeros"},
    ),
    Row(
        "padding before a stride",
        "symmetric, the max-pool's at the end",
        "resnet.py: padding='SAME'",
        "symmetric",
        releases.PADDING,
    ),
    releases.CANVAS,
)

SOURCES = {
    "simclr-digits": releases.OWN,
    "simclr-cifar10": Source(lightly.CIFAR10, f"{lightly.KNN}: 84.8 %; 87.9 % at 800 epochs", SIMCLR_CIFAR10),
    "simclr-cifar10-long": Source(
        GOOGLE, "about 91 % linear in the literature; the README has no figure", SIMCLR_CIFAR10_LONG
    ),
    "simclr-imagenette": Source(lightly.IMAGENETTE, f"{lightly.KNN}: 88.9 %; 83.5 % at 200 epochs", SIMCLR_IMAGENETTE),
    "simclr-imagenet": Source(GOOGLE, "64.5 % linear, by the README's linear evaluation", SIMCLR_IMAGENET),
    "simclr-cifar100": Source("", like="simclr-cifar10", changes=lightly.OTHER_IMAGES),
    "simclr-stl10": Source(
        "",
        like="simclr-imagenette",
        changes={
            **lightly.STL10,
            "size, pixels": (96, "the images' own size"),
            "blur's kernel, pixels": (9, "a tenth of the size, made odd, as SimCLR has it"),
        },
    ),
}
