"""The typed configuration of a run."""

import dataclasses
from typing import Any, ClassVar, Literal, Protocol

from sslax.processes import DistributedConfig


class MethodOptions(Protocol):
    """What every method's options must provide: the method's name in `METHODS`, its views, and a check of the options."""

    NAME: ClassVar[str]
    views: Any

    def check(self, config: "Config") -> None: ...


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """The backbone."""

    name: Literal[
        "resnet18",
        "resnet34",
        "resnet50",
        "patch-resnet",
        "vit-tiny",
        "vit-small",
        "vit-base",
        "vit-large",
        "vit-huge",
        "vit-giant",
        "vit-micro",
    ] = "resnet18"
    """Backbone; patch-resnet and vit-micro are small networks for CPUs."""
    stem: Literal["auto", "imagenet", "small", "patch"] = "auto"
    """First layers of a ResNet; auto uses a 3x3 convolution of stride 1 (small) for views of up to 32 pixels, and
    torchvision's stem (imagenet) for larger views."""
    width: int | None = None
    """Channels of a ResNet's first stage, or of a ViT's tokens; None uses the width that belongs to the name."""
    depth: int | None = None
    """Number of blocks of a ViT; None uses the depth that belongs to the name."""
    heads: int | None = None
    """Number of attention heads of a ViT, which must divide its width; None uses the number that belongs to the name. MoCo v3's
    ViT-S has 12."""
    patch_size: int | None = None
    """Side of the patches of a ViT or of a patch stem, in pixels; None is 16 for the papers' ViTs and 4 for the small
    networks."""
    drop_path: float = 0.1
    """Stochastic depth: the probability of dropping a ViT's last block in training; earlier blocks have a lower one."""
    norm: Literal["batch", "group", "none"] = "batch"
    """Normalisation of a ResNet: batch (BatchNorm), group (GroupNorm with standardised weights, which does not mix
    images of a batch), or none. Only batch can be exported to torch."""
    initial: Literal["release", "torch", "torchvision", "mae", "moco-v3"] = "release"
    """Initialisation of a ResNet's convolutions and of the heads on it: release, as in the methods' released code; torch,
    torch's defaults; torchvision, He's normal over the fan-out for convolutions, and torch's defaults for the heads. Of a
    ViT: release, as in DINO's code; mae and moco-v3, as in theirs: Xavier's uniform and fixed sine-cosine positions."""
    zero_residual: bool = True
    """Initialise the scale of the last norm of each ResNet block to 0, so that each block starts as the identity;
    otherwise to 1."""
    stem_relu: bool = True
    """Apply a ReLU after the norm of a ResNet's stem; lightly's benchmark on CIFAR-10 does not."""
    registers: int = 0
    """Extra learned tokens of a ViT, as in DINOv2 and DINOv3; with registers, [CLS] has no position."""
    layer_scale: float | None = None
    """Initial value of a learned factor on each residual branch of a ViT, 1e-5 in DINOv2 and DINOv3; None for no factor."""
    mlp: Literal["gelu", "swiglu"] | None = None
    """MLP of a ViT's blocks; None uses the one that belongs to the name: swiglu for vit-giant, gelu for the others."""
    mlp_ratio: float | None = None
    """Hidden width of a ViT's MLPs in multiples of its width, for swiglu the width of the gate; None uses the ratio that
    belongs to the name."""
    qkv_bias: bool = True
    """Bias of queries, keys and values of a ViT; some DINOv3 models have none."""
    norm_epsilon: float = 1e-6
    """Epsilon of a ViT's LayerNorms; 1e-5 in DINOv3."""
    positions: Literal["dino", "size", "antialiased", "rope"] = "dino"
    """Positions of a ViT: learned and resized for other view sizes as in DINO's code (dino), to the exact grid (size), or as
    in timm and DINOv2 (antialiased); or rotary, as in DINOv3 (rope)."""


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The optimiser and its learning rate schedule: a linear warmup, then a cosine."""

    name: Literal["adamw", "sgd", "lars"] = "adamw"
    """Optimiser."""
    lr: float = 1e-3
    """Base learning rate, before scaling by the batch size."""
    bias_lr: float | None = None
    """Base learning rate of biases and of the parameters of norms, as in Barlow Twins; None uses lr."""
    lr_scaling: Literal["none", "linear", "sqrt"] = "none"
    """How the batch size scales the learning rate: none, linear (lr·batch/256) or sqrt (lr·√batch)."""
    warmup_epochs: float = 10.0
    """Epochs of linear warmup."""
    start_lr: float = 0.0
    """Learning rate that the warmup starts from; not scaled by the batch."""
    end_lr: float = 0.0
    """Learning rate at the end of the cosine; not scaled by the batch size."""
    warmup: Literal["step", "dino"] = "step"
    """Warmup convention: step increases from 0 in equal steps (SimCLR, BYOL); dino reaches the peak at the last warmup
    step and has it again at the first step of the cosine (DINO)."""
    schedule: Literal["step", "epoch"] = "step"
    """When the learning rate changes: at every step, or once per epoch, as torch's schedulers are usually stepped."""
    weight_decay: float = 1e-4
    """Weight decay."""
    end_weight_decay: float | None = None
    """Weight decay at the end of its cosine schedule (AdamW only); None keeps it constant."""
    decay_all: bool = False
    """Also apply weight decay (and LARS adaptation) to biases and to the parameters of norms; the papers exclude them."""
    momentum: float = 0.9
    """Momentum of SGD and LARS; b1 of AdamW."""
    b2: float = 0.999
    """AdamW only: decay of the second moment; MAE has 0.95."""
    lr_after_momentum: bool = False
    """LARS only: multiply by the learning rate after the momentum (BYOL) instead of before it (SimCLR)."""
    trust_coefficient: float = 1e-3
    """LARS only: η, the length of a step relative to the parameters, at a learning rate of 1."""
    clip_trust: bool = False
    """LARS only: use the lower of the learning rate and the tensor's own rate, as LARC does, instead of their product."""


@dataclasses.dataclass(frozen=True)
class Config:
    """A pretraining run. The fields that most people change come first, in `--help` too."""

    method: Any
    """The options of the method."""
    data: str = "digits"
    """Images: digits; folder:PATH (a folder per class, or unlabelled images; train/ and test/ or val/ if they exist); or
    tfds:NAME[/CONFIG][:SPLIT], a dataset that TensorFlow Datasets has prepared."""
    run_dir: str | None = None
    """Folder of the run; None is runs/CONFIG. Run the same command again to resume a stopped run."""
    epochs: int = 200
    """Passes over the training images."""
    batch_size: int = 256
    """Images per step, over all devices."""
    seed: int = 0
    """Seed of the initialisation, the order of the images and the views."""
    canvas: int | None = None
    """Side in pixels of the square that every image is resized to in memory, whatever its aspect ratio; None keeps the
    size of images that are square and all of one size."""
    limit: int | None = None
    """Use only the first N images of each split, with the same number from each class."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number type of the networks' arithmetic; auto is bfloat16 on GPU and TPU, and float32 on CPU."""
    init_from: str | None = None
    """Initial weights of the backbone (also --weights): a safetensors file, a PyTorch pickle (.pth, .pt, .bin) or
    hf:OWNER/NAME[@REVISION][/FILE], with torchvision's, timm's or a release's names. The network's options are then the file's,
    unless flags change them."""
    dry_run: bool = False
    """Show what the run would need (parameters, memory, FLOPs, images/s, hours, disk) and write nothing."""
    network: NetworkConfig = NetworkConfig()
    optim: OptimizerConfig = OptimizerConfig()
    allow_unreadable: bool = False
    """Continue even if more than 1 % of the image files cannot be read."""
    exif: bool = True
    """Rotate photographs upright by their EXIF orientation; --no-exif keeps the pixels as they are stored."""
    background: str = "255,255,255"
    """Background colour behind transparent pixels: R,G,B from 0 to 255."""
    split_seed: int = 0
    """Seed that chooses the held-out test images if the data has no test split."""
    feed: Literal["auto", "resident", "streamed"] = "auto"
    """Where the images are kept: in device memory (resident), or on disk and decoded when needed (streamed); auto is
    resident if they take up to 40 % of the free memory. Both give the same batches."""
    workers: int = 0
    """Number of processes that decode streamed images; 0 decodes in threads of the main process."""
    cache: str | None = None
    """Folder for decoded images. The first run writes them; later runs read them and decode nothing."""
    remat: bool = False
    """Rematerialisation: keep only the activations between the backbone's blocks, and recompute those inside the blocks
    for the gradient. It saves memory and costs a third more arithmetic."""
    accumulate: int = 1
    """Number of micro-batches per batch. They are computed one after the other and their gradients are averaged, which
    saves memory. The result is exact if no computation mixes images of a batch, as for DINO on a ViT; BatchNorm and
    negatives see the micro-batch only."""
    online_probe: bool = False
    """Train a linear classifier on the features during pretraining. It uses the labels, and it does not affect the
    network."""
    on_nan: Literal["stop", "skip"] = "stop"
    """What to do if the loss or the gradient is not finite: stop the run, or skip that update and count it."""
    on_collapse: Literal["warn", "stop", "ignore"] = "warn"
    """What to do if the features collapse: warn and continue, stop the run, or do not check (ignore)."""
    steps_per_call: int | None = None
    """Steps per call of the compiled loop, for resident images; None is 1 on CPU and 10 elsewhere. Streamed images always
    take one step per call."""
    log_every: int = 10
    """Steps between lines of metrics."""
    eval_every: int = 10
    """Epochs between kNN evaluations; 0 turns them off."""
    knn: tuple[Literal[1, 20, 200], ...] = (1, 20)
    """Numbers of neighbours in the kNN evaluations: 1 and 20 vote by DINO's protocol (temperature 0.07), 200 by lightly's
    (0.1)."""
    checkpoint_every: int = 10
    """Epochs between checkpoints."""
    keep_checkpoints: int = 2
    """Number of newest checkpoints to keep. The checkpoint with the best kNN accuracy is kept too, and is saved as soon as
    it is measured."""
    tensorboard: bool = False
    """Also write the metrics as TensorBoard scalars, to the folder tensorboard inside the run; needs tensorboardX."""
    compilation_cache: str | None = None
    """Folder for compiled programs, or off; None uses SSLAX_COMPILATION_CACHE if it is set, otherwise
    $XDG_CACHE_HOME/sslax."""
    deterministic: bool = False
    """Use GPU kernels that give bit-identical results in every run, so that a resumed run is exact; slower on GPU. On CPU
    every run is exact."""
    fsdp: bool = False
    """Shard the parameters, the optimiser state and the method's state over the devices instead of keeping a copy on each;
    for networks that do not fit otherwise."""
    distributed: DistributedConfig = DistributedConfig()
