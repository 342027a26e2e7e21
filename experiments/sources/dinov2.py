"""The numbers of DINOv2's release."""

from experiments.sources import releases
from experiments.sources.heads import HEADS
from experiments.sources.ibot import MEDIUM, OTHER, OWN_SIZE, SHARED, SMALL
from experiments.sources.rows import Row, Source, replaced, rows

META = (
    "facebookresearch/dinov2 at b8931f7: dinov2/configs/train/vitl16_short.yaml, which has the numbers of "
    "ssl_default_config.yaml, and README.md"
)
_DOUBLED = "the source's epoch has 1250 steps of 2048 images, which are two passes"
_SMALLER = "a network of the size of DINO's and iBOT's; dinov2-imagenet-large has the source's"

_KNOWN = replaced(
    tuple(row for row in SHARED if row.what not in ("weight decay covers", "blur's kernel, pixels")),
    Row("blur's sigma, pixels", (0.1, 2.0), "transforms.py, GaussianBlur"),
    Row("blur beyond the edge", "reflect", "torchvision's gaussian_blur"),
    Row("evaluation view", "the central 0.875 of the shorter side", "make_classification_eval_transform"),
    Row("teacher's head starts from", "a copy", "prepare_for_distributed_training: load_state_dict"),
)
DINOV2_IMAGENET = (
    Row("epochs", 100, "optim.epochs", 200, _DOUBLED),
    Row("steps", 100 * 1250, "optim.epochs · train.OFFICIAL_EPOCH_LENGTH"),
    Row("batch size", 32 * 64, "README.md: 32 GPUs; train.batch_size_per_gpu"),
    Row("network", "vit-large", "student.arch", "vit-small", _SMALLER),
    Row("peak learning rate", 0.004 * (2048 / 1024) ** 0.5, "optim.base_lr, scaling_rule"),
    Row("warmup, epochs", 10, "optim.warmup_epochs", 20, _DOUBLED),
    Row("last layer frozen, epochs", 1, "optim.freeze_last_layer_epochs", 2, _DOUBLED),
    Row("teacher's temperature", (0.04, 0.07, 30), "teacher", (0.04, 0.07, 60), _DOUBLED),
    *rows(
        "ssl_default_config.yaml",
        {
            "learning rate from block to block": 0.9,
            "learning rate of the patch embedding": 0.2,
            "decay of the moving average": 0.992,
            "weights of [CLS] and patches": (1.0, 1.0),
            "weight of KoLeo, each global crop": 0.1,
            "images whose crops share out the masks, and KoLeo's": 64,
            "masked patches of a crop": (0.1, 0.5),
            "crops with masked patches": 0.5,
            "head for patches": "that of [CLS]",
            "stochastic depth": 0.3,
            "layer scale starts at": 1e-5,
            "views": 10,
            "size, pixels": (224,) * 2 + (96,) * 8,
            "crop's area": ((0.32, 1.0),) * 2 + ((0.05, 0.32),) * 8,
        },
    ),
    Row("masks", "blocks", "data/masking.py"),
    Row("gradient clipped at, each network", 3.0, "optim.clip_grad; do_train"),
    Row("teacher's temperature rises every", "step", "train.py, build_schedulers"),
    Row(
        "stochastic depth of the blocks",
        "the same in all",
        "student.drop_path_uniform",
        "rises to it from 0",
        "the ViT's own rule, which is DINO's and iBOT's",
    ),
    Row(
        "[CLS] token starts from",
        "normal, deviation 1e-6",
        "vision_transformer.py, init_weights",
        "normal, deviation 0.02",
        "the ViT's own start, which is DINO's and iBOT's",
    ),
    Row(
        "centres over GPUs",
        "the mean of the GPUs' means",
        "ibot_patch_loss.py, apply_center_update",
        "the mean over all patches",
        "the result does not depend on the number of devices",
    ),
    Row("weight decay covers", "weights of two dimensions and more", "param_groups.py, get_params_groups_with_decay"),
    Row("width of the features", 1024, "vision_transformer.py, vit_large", 384, _SMALLER),
    Row(
        "head's widths",
        (1024, 2048, 2048, 256, 65536),
        "dino_head.py",
        (384, 2048, 2048, 256, 65536),
        _SMALLER,
    ),
    Row("heads start from", HEADS["dino"], "dino_head.py"),
    Row("blur", (0.0, 0.9) + (0.5,) * 8, "augmentations.py; GaussianBlur applies with the complement of its p"),
    Row("blur's kernel, pixels", 9, "GaussianBlur", 13, "cut at three of the largest sigma"),
    Row("solarisation", (0.0, 0.2) + (0.0,) * 8, "augmentations.py"),
    *(row for row in _KNOWN if row.what not in ("depth", "attention heads")),
    Row("depth", 24, "vision_transformer.py, vit_large", 12, _SMALLER),
    Row("attention heads", 16, "vision_transformer.py, vit_large", 6, _SMALLER),
)
DINOV2_IMAGENET_LARGE = replaced(
    DINOV2_IMAGENET,
    Row("network", "vit-large", "student.arch"),
    Row("width of the features", 1024, "vision_transformer.py, vit_large"),
    Row("head's widths", (1024, 2048, 2048, 256, 65536), "dino_head.py"),
    Row("depth", 24, "vision_transformer.py, vit_large"),
    Row("attention heads", 16, "vision_transformer.py, vit_large"),
)

_FEWER = "fewer images"
SOURCES = {
    "dinov2-digits": releases.OWN,
    "dinov2-cifar10": Source(
        "",
        like="dinov2-imagenet",
        changes={
            **{name: change for name, change in SMALL.items() if name != "epochs"},
            "blur's kernel, pixels": (None, "no blur"),
            "peak learning rate": (0.004 * (512 / 1024) ** 0.5, "by batch"),
            "stochastic depth": (0.1, "a smaller network"),
            "size, pixels": ((32,) * 2 + (16,) * 8, OWN_SIZE),
            "head's widths": ((192, 2048, 2048, 256, 8192), _FEWER),
        },
    ),
    "dinov2-imagenette": Source(
        "",
        like="dinov2-imagenet",
        changes={
            **MEDIUM,
            "peak learning rate": (0.004 * (256 / 1024) ** 0.5, "by batch"),
            "stochastic depth": (0.1, OTHER),
            "size, pixels": ((128,) * 2 + (64,) * 8, "smaller images"),
            "head's widths": ((384, 2048, 2048, 256, 8192), _FEWER),
        },
    ),
    "dinov2-imagenet": Source(META, "81.6 % by kNN, 82.9 % linear of the ViT-L/16", DINOV2_IMAGENET),
    "dinov2-imagenet-large": Source(META, "81.6 % by kNN, 82.9 % linear", DINOV2_IMAGENET_LARGE),
}
