"""MAE: the encoder sees a quarter of an image's patches, and a decoder predicts the pixels of the others.

Source: He et al. 2022, arXiv:2111.06377, section 3; facebookresearch/mae `models_mae.py` and `main_pretrain.py`.
"""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from sslax import optim
from sslax.augment import MAEViews
from sslax.errors import InputError
from sslax.losses import mae as mae_loss
from sslax.methods.base import Batch, Method, Output, Setup, on_backbone, scale_gradient
from sslax.methods.checks import check_options
from sslax.networks import VITS, MAEDecoder, forward, init, patch_side, to_patches

if TYPE_CHECKING:
    from sslax.config import Config


@dataclasses.dataclass(frozen=True)
class MAE:
    """MAE's options; the defaults are the paper's.

    The network is a ViT; `network.initial` mae gives it the release's fixed sine-cosine positions, which are not trained.
    """

    NAME: ClassVar[str] = "mae"

    views: MAEViews = MAEViews()
    mask_ratio: float = 0.75
    """Share of the patches that the encoder does not see."""
    decoder_width: int = 512
    """Width of the decoder's tokens."""
    decoder_depth: int = 8
    """Number of blocks of the decoder."""
    decoder_heads: int = 16
    """Number of attention heads of the decoder."""
    normalize_pixels: bool = True
    """Standardise the pixels of each patch before they are compared, as in the paper's best setting."""
    loss_scale: float = 1.0
    """Factor of the loss that is optimised, 1 being the paper's. The loss that is logged is the paper's."""

    def check(self, config: "Config") -> None:
        """Raise InputError on options that cannot work."""
        least = {"decoder_width": 4, "decoder_depth": 0, "decoder_heads": 1}
        check_options(self, config, least=least, shares=("mask_ratio",))
        network = config.network
        if network.name not in VITS:
            raise InputError(f"network.name is {network.name}, which has no patches to mask; MAE needs a ViT.")
        if network.positions == "rope":
            raise InputError("network.positions is rope; MAE encodes some patches alone, so it must be another value.")
        for name, value in (("decoder_heads", self.decoder_heads), ("4, for its positions", 4)):
            if self.decoder_width % value:
                of = f"method.{name}, {value}" if name == "decoder_heads" else name
                raise InputError(f"method.decoder_width is {self.decoder_width}; it must be a multiple of {of}.")
        side = patch_side(network.name, patch_size=network.patch_size)
        patches = (self.views.size // side) ** 2 if side else 0
        if not 1 <= kept_patches(self, patches) < patches:
            raise InputError(
                f"method.mask_ratio is {self.mask_ratio}, which keeps {kept_patches(self, patches)} of {patches} patches; at "
                "least one must be kept and one masked."
            )


def kept_patches(options: MAE, patches: int) -> int:
    """How many patches the encoder sees, rounded down as in the release."""
    return int(patches * (1 - options.mask_ratio))


class Masking(NamedTuple):
    """The masked patches of each image.

    Attributes:
      keep: the kept patches, in random order.
      restore: the place of each patch among the kept patches, followed by the masked ones.
      mask: True for masked patches.
    """

    keep: Int[Array, "n k"]
    restore: Int[Array, "n p"]
    mask: Bool[Array, "n p"]


def random_masking(noise: Float[Array, "n p"], kept: int) -> Masking:
    """Keep the patches with the smallest noise."""
    order = jnp.argsort(noise, axis=1)
    restore = jnp.argsort(order, axis=1)
    return Masking(order[:, :kept], restore, restore >= kept)


def reconstruct(
    encoder: Any,
    decoder: MAEDecoder,
    params: PyTree,
    x: Float[Array, "n h w c"],
    masking: Masking,
    *,
    key: Key[Array, ""] | None = None,
) -> tuple[Float[Array, "n p o"], Float[Array, "n d"]]:
    """The predicted pixels of every patch, and the [CLS] token of the kept patches. `key` is for stochastic depth."""
    tokens, _ = forward(encoder, params["encoder"], {}, x, train=True, key=key, tokens=True, keep=masking.keep)
    # The decoder gets [CLS] too, but not registers.
    seen = jnp.concatenate([tokens[:, :1], tokens[:, encoder.prefix :]], axis=1)
    prediction, _ = forward(decoder, params["decoder"], {}, seen, train=True, restore=masking.restore)
    return prediction, tokens[:, 0]


def mae(options: MAE, setup: Setup) -> Method:
    """MAE with these options on `setup.backbone`."""
    encoder = setup.backbone
    side = options.views.size // encoder.patch_size
    decoder = MAEDecoder(
        pixels=3 * encoder.patch_size**2,
        side=side,
        width=options.decoder_width,
        depth=options.decoder_depth,
        heads=options.decoder_heads,
        remat=encoder.remat,
        dtype=encoder.dtype,
    )

    def init_networks(key, image_shape):
        encoder_key, decoder_key = jax.random.split(key)
        params, statistics, _ = setup.start(encoder_key, image_shape)
        tokens = jnp.zeros((1, 1 + side * side, encoder.width))
        return {"encoder": params, "decoder": init(decoder, decoder_key, tokens)[0]}, {"encoder": statistics}

    def loss(params, aux, batch: Batch, key, step):
        (x,) = batch.views
        noise_key, depth_key = jax.random.split(key)
        noise = jax.random.uniform(noise_key, (len(x), side * side), jnp.float32)
        masking = random_masking(noise, kept_patches(options, side * side))
        prediction, features = reconstruct(encoder, decoder, params, x, masking, key=depth_key)
        patches = to_patches(x, encoder.patch_size)
        value = mae_loss(prediction, patches, masking.mask, normalize=options.normalize_pixels).mean()
        output = Output(aux, {}, jax.lax.stop_gradient(features))
        return scale_gradient(value, options.loss_scale), output

    def optimizer(tx):
        return optim.freeze(tx, optim.named("pos_embed")) if encoder.fixed_positions else tx

    def evaluated(params, aux):
        return params["encoder"], aux["encoder"]

    return on_backbone(encoder, options.views, evaluated, init=init_networks, loss=loss, optimizer=optimizer)
