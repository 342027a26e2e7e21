"""The plain loop's methods that came later: MAE, which masks patches, and LeJEPA, which tests distributions."""

import jax
import jax.numpy as jnp

from sslax.losses import sigreg
from sslax.networks import MAEDecoder, MLPHead, forward
from tests.methods.reference import Plain, side_by_side, spread


class MAE(Plain):
    """The encoder sees the patches of the lowest noise, and the decoder's error is that of the others."""

    def __init__(self, config):
        super().__init__(config)
        o, patch = self.options, self.encoder.patch_size
        self.side = o.views.size // patch
        sizes = {"width": o.decoder_width, "depth": o.decoder_depth, "heads": o.decoder_heads}
        self.decoder = MAEDecoder(pixels=3 * patch**2, side=self.side, dtype=jnp.float64, **sizes)

    def loss(self, params, aux, views, key, epoch):
        (x,), patches, patch = views, self.side**2, self.encoder.patch_size
        kept = int(patches * (1 - self.options.mask_ratio))
        noise_key, depth_key = jax.random.split(key)
        noise = jax.random.uniform(noise_key, (len(x), patches), jnp.float32)
        masked = (noise[:, :, None] > noise[:, None, :]).sum(axis=2) >= kept
        # In the order of the grid, as attention does not feel an order.
        keep = jnp.argsort(masked, axis=1, stable=True)[:, :kept]
        place = jnp.where(masked, kept + jnp.cumsum(masked, axis=1) - 1, jnp.cumsum(~masked, axis=1) - 1)
        outputs, _ = forward(self.encoder, params["encoder"], {}, x, train=True, key=depth_key, outputs=True, keep=keep)
        predicted, _ = forward(self.decoder, params["decoder"], {}, outputs.tokens, train=True, restore=place)
        total = 0.0
        for row in range(self.side):
            for column in range(self.side):
                index = row * self.side + column
                pixels = x[:, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
                pixels = pixels.reshape(len(x), -1)
                mean, variance = pixels.mean(axis=1), pixels.var(axis=1, ddof=1)
                target = (pixels - mean[:, None]) / jnp.sqrt(variance + 1e-6)[:, None]
                error = ((predicted[:, index] - target) ** 2).mean(axis=1)
                total = total + (masked[:, index] * error).sum()
        return total / (len(x) * (patches - kept)), (aux, {}, outputs.features)

    def frozen(self, name, step, per_epoch):
        return "pos_embed" in name


class LeJEPA(Plain):
    """All crops go through one head; each is tested for a normal distribution, and is to be near the mean of the large ones."""

    def __init__(self, config):
        super().__init__(config)
        o = self.options
        sizes = {"hidden": o.projector_hidden, "features": o.projector_dim, "layers": o.projector_layers}
        self.projector = MLPHead(**sizes, hidden_bias=True, last_bias=True, dtype=jnp.float64)

    def loss(self, params, aux, views, key, epoch):
        o, encoder, features = self.options, aux["encoder"], []
        large = o.views.global_crops
        for crops in (views[:large], views[large:]):
            h, encoder = forward(self.encoder, params["encoder"], encoder, side_by_side(crops), train=True)
            features += [h[crop :: len(crops)] for crop in range(len(crops))]
        x = side_by_side(features)
        projected, projector = forward(self.projector, params["projector"], aux["projector"], x, train=True)
        z = [projected[crop :: len(views)] for crop in range(len(views))]
        normal = jax.random.normal(jax.random.split(key)[0], (o.projector_dim, o.directions), projected.dtype)
        directions = normal / jnp.sqrt((normal**2).sum(axis=0))[None]
        statistic = sum(sigreg(crop, directions, knots=o.knots, limit=o.limit) for crop in z) / len(z)
        center = sum(z[:large]) / large
        invariance = sum(((crop - center) ** 2).mean() for crop in z) / len(z)
        constant = sigreg(0 * z[0], directions, knots=o.knots, limit=o.limit)
        metrics = {"projection_std": spread(z[0]), "sigreg": statistic, "invariance": invariance}
        metrics["sigreg_share"] = statistic / constant
        value = o.sigreg * statistic + (1 - o.sigreg) * invariance
        return value, ({"encoder": encoder, "projector": projector}, metrics, features[0])


METHODS = {"mae": MAE, "lejepa": LeJEPA}
