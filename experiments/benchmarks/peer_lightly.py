"""lightly's side of `experiments.benchmarks.peers`: SimCLR with lightly's loss, transform and head, in torch.

`PYTHON peer_lightly.py probe|run RECIPE.json`. PYTHON needs lightly, torch and torchvision, but not sslax, so the script can
run in another environment. `RECIPE.json` has the recipe, the files and the device. The last line on stdout is a JSON object:
for `probe`, the versions, whether torch finds a GPU, and the number of trained parameters; for `run`, the accuracies and the
seconds of training.

Networks and initialisation follow the recipe, as in sslax: `initial` is "torch", torch's defaults, or "release", a truncated
normal of variance 1/fan-in for convolutions and N(0, 0.01²) for the head.

Source: lightly's `benchmarks/cifar10/simclr.py` and `SimCLRTransform` for the pipeline.
"""

import json
import math
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

try:
    import torch
    import torchvision
    from lightly.loss import NTXentLoss
    from lightly.models.modules.heads import SimCLRProjectionHead
    from lightly.transforms import SimCLRTransform
    from torch import nn
    from torch.nn import functional
    from torch.utils.data import DataLoader
    from torchvision.datasets.folder import pil_loader
    from torchvision.models.resnet import BasicBlock
except ImportError as missing:
    print(f"{missing.name} is missing", file=sys.stderr)
    sys.exit(2)

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_AT_ONCE = 500


class Files(torch.utils.data.Dataset):
    """Image files and their labels, [(path, label), ...], decoded and transformed on demand."""

    def __init__(self, files: Sequence[tuple[str, int]], transform: Callable[[Any], Any]):
        self.files, self.transform = files, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        path, label = self.files[index]
        return self.transform(pil_loader(path)), label


def small_resnet(width: int, patch_size: int) -> "nn.Module":
    """A patch stem and two stages of one block, [n, 3, h, w] -> [n, 2 width]."""
    network = nn.Sequential()
    network.conv1 = nn.Conv2d(3, width, patch_size, stride=patch_size, bias=False)
    network.bn1, network.relu = nn.BatchNorm2d(width), nn.ReLU()
    network.layer1 = BasicBlock(width, width)
    shortcut = nn.Sequential(nn.Conv2d(width, 2 * width, 1, stride=2, bias=False), nn.BatchNorm2d(2 * width))
    network.layer2 = BasicBlock(width, 2 * width, 2, shortcut)
    network.pool, network.flat = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return network


def resnet18() -> "nn.Module":
    """ResNet-18 with the stem for small images, 3x3 with stride 1 and no pooling; [n, 3, h, w] -> [n, 512]."""
    network = torchvision.models.resnet18()
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.maxpool = network.fc = nn.Identity()
    return network


def build(recipe: dict[str, Any]) -> tuple["nn.Module", "nn.Module"]:
    """The initialised backbone and head of the recipe."""
    if recipe["network"] == "resnet18":
        backbone, width = resnet18(), 512
    else:
        backbone, width = small_resnet(recipe["width"], recipe["patch_size"]), 2 * recipe["width"]
    head = SimCLRProjectionHead(width, width, recipe["projector_dim"], num_layers=recipe["projector_layers"])
    if not recipe["stem_relu"]:
        backbone.relu = nn.Identity()
    head.layers[-1].bias.requires_grad_(recipe["projector_offset"])
    start = {"release": start_as_released, "torch": start_as_torch}[recipe["initial"]]
    for module in [*backbone.modules(), *head.modules()]:
        if isinstance(module, nn.Conv2d | nn.Linear):
            start(module)
        elif isinstance(module, BasicBlock) and recipe["zero_residual"]:
            nn.init.zeros_(module.bn2.weight)
    return backbone, head


def start_as_torch(layer: "nn.Conv2d | nn.Linear") -> None:
    """Torch's default, uniform within ±1/√fan-in."""
    layer.reset_parameters()


def start_as_released(layer: "nn.Conv2d | nn.Linear") -> None:
    """A truncated normal of variance 1/fan-in for a convolution, N(0, 0.01²) for a layer of the head."""
    if isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, std=0.01)
        return
    # Standard deviation of the normal that, truncated at two standard deviations, has the variance 1/fan-in.
    deviation = layer.weight[0].numel() ** -0.5 / 0.87962566103423978
    nn.init.trunc_normal_(layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation)


def trained(*modules: "nn.Module") -> list["nn.Parameter"]:
    """The parameters that the optimiser trains."""
    return [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]


def learning_rate(step: int, *, peak: float, warmup: int, steps: int) -> float:
    """Linear warmup from 0, then half a cosine period to 0."""
    if step < warmup:
        return peak * step / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def train(recipe: dict[str, Any], backbone: "nn.Module", head: "nn.Module") -> float:
    """Train backbone and head on the recipe's files; return the last loss."""
    transform = SimCLRTransform(input_size=recipe["size"], cj_strength=recipe["strength"], gaussian_blur=recipe["blur"])
    loader = DataLoader(
        Files(recipe["train"], transform),
        recipe["batch_size"],
        shuffle=True,
        drop_last=True,
        num_workers=recipe["cores"],
        persistent_workers=True,
        pin_memory=recipe["device"] == "cuda",
    )
    parameters = trained(backbone, head)
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe["weight_decay"]},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer, criterion = torch.optim.AdamW(groups, lr=recipe["lr"]), NTXentLoss(recipe["temperature"])
    warmup, steps = round(recipe["warmup_epochs"] * len(loader)), recipe["epochs"] * len(loader)
    step, last = 0, math.nan
    for epoch in range(recipe["epochs"]):
        for (view1, view2), _ in loader:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, peak=recipe["lr"], warmup=warmup, steps=steps)
            views = [on_device(view, recipe) for view in (view1, view2)]
            with arithmetic(recipe):
                if recipe["separate_views"]:
                    z1, z2 = (head(backbone(view)).float() for view in views)
                else:
                    # One forward pass over both views, so BatchNorm statistics cover all 2n images.
                    z1, z2 = head(backbone(torch.cat(views))).float().chunk(2)
            loss = criterion(z1, z2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        last = loss.item()
        if (epoch + 1) % max(1, recipe["epochs"] // 5) == 0:
            print(f"lightly: epoch {epoch + 1}, loss {last:.4f}", file=sys.stderr, flush=True)
    return last


def on_device(images: "torch.Tensor", recipe: dict[str, Any]) -> "torch.Tensor":
    """Images on the recipe's device; on a GPU with channels last, the fastest layout for its convolutions."""
    layout = torch.channels_last if recipe["device"] == "cuda" else torch.contiguous_format
    return images.to(recipe["device"], non_blocking=True).contiguous(memory_format=layout)


def arithmetic(recipe: dict[str, Any]) -> Any:
    """The autocast context of the networks: bfloat16 if the recipe requests it."""
    return torch.autocast(recipe["device"], torch.bfloat16, enabled=recipe["precision"] == "bfloat16")


def decoded(recipe: dict[str, Any], split: str) -> tuple["torch.Tensor", "torch.Tensor"]:
    """A split in memory: uint8 images [n, 3, h, w] and their labels [n]."""
    files = Files(recipe[split], torchvision.transforms.PILToTensor())
    batches = list(DataLoader(files, _AT_ONCE, num_workers=recipe["cores"]))
    return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches])


def features(recipe: dict[str, Any], backbone: "nn.Module", images: "torch.Tensor") -> "torch.Tensor":
    """Features [n, d] of uint8 images, float32 on the recipe's device."""
    normalize, found = torchvision.transforms.Normalize(_MEAN, _STD), []
    backbone.eval()
    with torch.no_grad(), arithmetic(recipe):
        for batch in images.split(_AT_ONCE):
            found.append(backbone(on_device(normalize(batch.float() / 255), recipe)).float())
    backbone.train()
    return torch.cat(found)


def knn(
    train: "torch.Tensor", labels: "torch.Tensor", test: "torch.Tensor", truth: "torch.Tensor", recipe: dict[str, Any]
) -> float:
    """Accuracy in [0, 1] of the k nearest features by cosine, each vote weighted by exp(cosine / temperature)."""
    train, test = functional.normalize(train), functional.normalize(test)
    labels, truth = labels.to(train.device), truth.to(train.device)
    right = 0
    for queries, classes in zip(test.split(_AT_ONCE), truth.split(_AT_ONCE), strict=True):
        nearest, index = (queries @ train.T).topk(recipe["k"])
        votes = torch.zeros(len(queries), recipe["classes"], device=train.device)
        votes.scatter_add_(1, labels[index], (nearest / recipe["knn_temperature"]).exp())
        right += int((votes.argmax(1) == classes).sum())
    return right / len(truth)


def run(recipe: dict[str, Any]) -> dict[str, Any]:
    """Train and evaluate the recipe."""
    torch.manual_seed(recipe["seed"])
    torch.set_num_threads(recipe["cores"])
    torch.backends.cudnn.benchmark = True
    device = recipe["device"]
    backbone, head = (module.to(device) for module in build(recipe))
    if device == "cuda":
        backbone = backbone.to(memory_format=torch.channels_last)
    (images, labels), (test, truth) = decoded(recipe, "train"), decoded(recipe, "test")

    def accuracy(of: Callable[["torch.Tensor"], "torch.Tensor"]) -> float:
        return knn(of(images), labels, of(test), truth, recipe)

    result = {"raw_pixels": accuracy(lambda pixels: (pixels.float() / 255).flatten(1).to(device))}
    result["untrained"] = accuracy(lambda pixels: features(recipe, backbone, pixels))
    start = time.perf_counter()
    result["loss"] = train(recipe, backbone, head)
    result["training_seconds"] = time.perf_counter() - start
    result["trained"] = accuracy(lambda pixels: features(recipe, backbone, pixels))
    return result


def probe(recipe: dict[str, Any]) -> dict[str, Any]:
    """The versions, whether there is a GPU, and the number of parameters that the recipe trains."""
    return {
        "versions": {name: metadata.version(name) for name in ("lightly", "torch", "torchvision")},
        "gpu": torch.cuda.is_available(),
        "parameters": sum(parameter.numel() for parameter in trained(*build(recipe))),
    }


if __name__ == "__main__":
    asked, path = sys.argv[1:]
    print(json.dumps({"probe": probe, "run": run}[asked](json.loads(pathlib.Path(path).read_text(encoding="utf-8")))))
