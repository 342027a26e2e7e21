"""ViTs of the golden files, and their weights under the release's names."""

from sslax.networks import ViT


def vit_of(hyper, **options):
    """The ViT with a golden file's hyperparameters."""
    sizes = {"image_size": hyper["img_size"], "width": hyper["embed_dim"], "heads": hyper["num_heads"]}
    return ViT(**sizes, patch_size=hyper["patch_size"], depth=hyper["depth"], **options)


def state_of(g, prefix="state"):
    """The tensors of a golden file by name: its weights, or with "grad" their gradients."""
    return {k.removeprefix(f"{prefix}|"): v for k, v in g.items() if k.startswith(f"{prefix}|")}
