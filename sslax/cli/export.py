"""Export a finished run's backbone as PyTorch weights: `sslax export RUN --to torch --out FILE.safetensors`.

The names are torchvision's for ResNets, and timm's and DINO's for ViTs (see `sslax.export`). The file's metadata gives the
image size, the normalisation and the accuracies. `sslax pretrain --init-from FILE.safetensors` loads such a file. With
`--weights FILE` in place of RUN, the command writes the backbone of a weights file under these names.
"""

import dataclasses
import importlib.metadata
import json
from typing import Annotated, Literal

import tyro

from sslax.cli import terminal
from sslax.cli.runs import check_out, open_network
from sslax.export import save_safetensors, to_torch
from sslax.files import expanded, printable
from sslax.networks import ViT
from sslax.training import Loaded, WeightsOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Export the backbone of a finished run as PyTorch weights."""

    run: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[RUN]")] = None
    """Folder of the finished run; or give --weights."""
    out: str
    """File to write: FILE.safetensors."""
    to: Literal["torch"] = "torch"
    """Naming of the weights: torch uses torchvision's names for ResNets, and timm's and DINO's for ViTs."""
    weights: str | None = None
    """Weights file in place of RUN: safetensors, a PyTorch pickle (.pth, .pt, .bin), or hf:OWNER/NAME[@REVISION][/FILE]."""
    told: Annotated[WeightsOptions, tyro.conf.arg(name="")] = dataclasses.field(default_factory=WeightsOptions)


def metadata(network: Loaded, accuracies: dict[str, float]) -> dict[str, str]:
    """The file's metadata, as texts; lists and numbers are written as JSON.

    Args:
      network: the loaded run.
      accuracies: accuracies of its features in [0, 1], by name of the evaluation.
    """
    config, backbone = network.config, network.built.backbone
    fields = ("patch_size", "width", "depth", "heads") if isinstance(backbone, ViT) else ("stem", "width", "patch_size")
    views = config.method.views
    values = {
        "method": config.method.NAME,
        "network": config.network.name,
        "network_options": dataclasses.asdict(config.network),
        **{f"network.{name}": getattr(backbone, name) for name in fields},
        "image_size": views.size,
        # For RGB in [0, 1]. A method that does not normalise gets 0 and 1, which change nothing.
        "mean": list(views.mean or (0.0, 0.0, 0.0)),
        "std": list(views.std or (1.0, 1.0, 1.0)),
        "data": network.data["name"],
        # A weights file tells neither.
        **({"images": network.data["images"], "epochs": config.epochs} if network.built.steps else {}),
        **accuracies,
        "sslax": importlib.metadata.version("sslax"),
    }
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    # Folder names may have bytes that are not valid UTF-8, which the format cannot store.
    return {name: printable(text) for name, text in texts.items()}


def run(options: Options) -> None:
    """Load the run, convert its weights, and write the file."""
    out = check_out("out", options.out, (".safetensors",))
    network = open_network(options.run, options.weights, options.told)
    backbone = network.built.backbone
    tensors = to_torch(backbone, *network.backbone())
    result = {}
    if options.run is not None:
        result = json.loads((expanded(options.run) / "result.json").read_text(encoding="utf-8"))
    said = metadata(network, result.get("pretrained", {}))
    save_safetensors(out, tensors, said)
    terminal.say(f"{out}: {len(tensors)} tensors, {sum(t.size for t in tensors.values()):,} numbers.")
    for name, text in said.items():
        terminal.say(f"  {name}: {text}")
    terminal.say(
        f"To start a run from this file: sslax pretrain CONFIG --init-from {out}. Its network comes from the file."
    )


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="sslax export")
    terminal.run_script(lambda: run(options))


if __name__ == "__main__":
    main()
