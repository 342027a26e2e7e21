"""The numbers of the methods' own releases: SimCLR's, BYOL's and DINO's."""

from experiments.sources.reading import CONVOLUTIONS, COVERED, HEADS, LECUN
from experiments.sources.rows import Row, Source, replaced, rows

GOOGLE = "google-research/simclr at 383d414: README.md has the command, tf2/ the rest"
NORMALIZE = {"mean": (0.485, 0.456, 0.406), "deviation": (0.229, 0.224, 0.225)}

_REPEATED = "the source repeats the images before it cuts batches; epochs here are whole batches"
_SHRINKING = Row(
    "shrinking",
    "not antialiased",
    "tf.image.resize",
    "antialiased",
    "as PIL and torch shrink; the papers do not say",
)
_SHORTCUT = "torchvision's network, whose names exported weights have; at equal widths it has no convolution there"
_PADDING = "torchvision's network, whose names exported weights have"
_CANVAS = Row(
    "canvas in memory, pixels",
    None,
    "the files are read anew for every view",
    256,
    "images are kept squashed to squares; crops are drawn in their true geometry",
)

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
    Row("steps", 50_000 * 1000 // 512 + 1, "model.py, get_train_steps", 97_000, _REPEATED),
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
    Row("first block's shortcut", "1x1 convolution and norm", "resnet.py: use_projection=True", "identity", _SHORTCUT),
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
    _SHRINKING,
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
        Row("steps", 1_281_167 * 100 // 4096 + 1, "model.py, get_train_steps", 31_200, _REPEATED),
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
        _PADDING,
    ),
    _CANVAS,
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
            **NORMALIZE,
        },
    ),
    Row(
        "where no crop fits",
        "cut to the image",
        "utils/dataset.py, _decode_and_random_crop",
        "drawn again, ten times",
        "torchvision's sampling, which the paper describes",
    ),
    _SHRINKING,
    Row("evaluation view", "the central 0.875 of the shorter side", "utils/dataset.py, _decode_and_center_crop"),
    _CANVAS,
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
    Row("steps", 300 * 1_281_167 // 4096, "configs/byol.py: max_steps", 300 * 312, _REPEATED),
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
    Row("padding before a stride", "at the end", "utils/networks.py: padding='SAME'", "symmetric", _PADDING),
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
        Row("steps", 1000 * 9_469 // 256, "configs/byol.py: max_steps", 36_000, _REPEATED),
        Row("width of the features", 512, "utils/networks.py, ResNet18"),
        Row("projector's widths", (512, 4096, 256), "configs/byol.py"),
        Row("decay of the moving average", 0.996, "configs/byol.py: _EMA_PRESETS[1000]"),
        Row("last norm of a block starts at", 1, "haiku's BlockV1: zeros in bottlenecks alone"),
        Row("blur's kernel, pixels", 13, "utils/augmentations.py: blur_divider"),
        Row("canvas in memory, pixels", _CANVAS.theirs, _CANVAS.where, 160, _CANVAS.why),
    ),
    Row(
        "first block's shortcut",
        "1x1 convolution and norm",
        "utils/networks.py: use_projection",
        "identity",
        _SHORTCUT,
    ),
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
    _CANVAS,
)

_OWN = "No source: a first look on scikit-learn's digits, whose numbers were found here; README.md has its results."
SOURCES = {
    "simclr-digits": Source(_OWN),
    "byol-digits": Source(_OWN),
    "dino-digits": Source(_OWN),
    "moco-v3-digits": Source(_OWN),
    "swav-digits": Source(_OWN),
    "nnclr-digits": Source(_OWN),
    "simclr-cifar10-long": Source(
        GOOGLE, "about 91 % linear in the literature; the README has no figure", SIMCLR_CIFAR10_LONG
    ),
    "simclr-imagenet": Source(GOOGLE, "64.5 % linear, by the README's linear evaluation", SIMCLR_IMAGENET),
    "byol-imagenette": Source(
        f"{DEEPMIND}; the changes for Imagenette in {_SMALL}", "92.3 % by its online linear head", BYOL_IMAGENETTE
    ),
    "byol-imagenet": Source(DEEPMIND, "the paper's table for 300 epochs: 72.5 % linear", BYOL_IMAGENET),
    "dino-imagenet": Source(META, "73.3 % by kNN, 76.0 % linear", DINO_IMAGENET),
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
