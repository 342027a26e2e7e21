"""The small networks that methods put on a backbone and throw away after pretraining."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sslax.networks.norm import BatchNorm
from sslax.networks.resnet import Initial, torch_uniform


def make_dense(initial: Initial, fan_in: int, own: nn.initializers.Initializer, dtype: Any) -> Callable[..., nn.Dense]:
    """What makes a head's layers: kernels from `own` and biases of zero, or, where `initial` is not "release", torch's default,
    which is uniform within ±1/√fan-in for both."""
    if initial == "release":
        return functools.partial(nn.Dense, kernel_init=own, dtype=dtype)
    bound = fan_in**-0.5

    def bias(key: Key[Array, ""], shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return functools.partial(nn.Dense, kernel_init=torch_uniform, bias_init=bias, dtype=dtype)


class SimCLRProjector(nn.Module):
    """SimCLR's projection head g(h): Dense without bias and BatchNorm, ReLU after all but the last.

    Source: Chen et al. 2020, arXiv:2002.05709, appendix B.6, and the released `tf2/model.py`: the hidden width is the
    backbone's, the last BatchNorm has a scale and no offset, weights start from N(0, 0.01²).

    Attributes:
      layers: 0 is no head (the identity), 1 the paper's linear head, 2 its default, 3 the released code's.
      features: width of the output.
      last_offset: give the last BatchNorm an offset too, as lightly's head has it.
      initial: "release", or torch's default, as `make_dense` says.
      views: of each image that lie side by side in a batch; in training each is normalised by its own statistics.
      dtype: of the computation; the output is float32.
    """

    layers: int = 2
    features: int = 128
    last_offset: bool = False
    initial: Initial = "release"
    views: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: Float[Array, "n d"], train: bool = False) -> Float[Array, "n z"]:
        width = h.shape[-1]
        for index in range(self.layers):
            last = index == self.layers - 1
            dense = make_dense(self.initial, width, nn.initializers.normal(0.01), self.dtype)
            h = dense(self.features if last else width, use_bias=False)(h)
            offset = self.last_offset or not last
            h = BatchNorm(use_bias=offset, views=self.views, dtype=self.dtype)(h, train, relu=not last)
        return h.astype(jnp.promote_types(h.dtype, jnp.float32))


class BYOLMLP(nn.Module):
    """BYOL's projector and predictor: Dense with bias, BatchNorm, ReLU, Dense without bias and no norm after it.

    Source: Grill et al. 2020, arXiv:2006.07733, section 3.3, and `MLP` of the released `byol/utils/networks.py`, whose
    weights start from haiku's default, flax's too: a truncated normal of variance 1/fan-in. Other depths are as in its
    appendix F.1: whatever the depth, the last layer has neither norm nor ReLU after it.

    Attributes:
      hidden: width of the hidden layers; 0 is no MLP (the identity), for experiments without a predictor.
      features: width of the output.
      layers: Dense layers: 1 is a linear map, 2 the paper's, each more a hidden layer more.
      norm: of the hidden layers: "batch", "layer" (of each row by itself, with scale and offset) or "none".
      output_bias: give the last layer a bias, as lightly's heads have it.
      initial: "release", or torch's default, as `make_dense` says.
      views: of each image that lie side by side in a batch; in training each is normalised by its own statistics.
      dtype: of the computation; the output is float32.
    """

    hidden: int = 4096
    features: int = 256
    layers: int = 2
    norm: Literal["batch", "layer", "none"] = "batch"
    output_bias: bool = False
    initial: Initial = "release"
    views: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n d"], train: bool = False) -> Float[Array, "n z"]:
        if self.hidden:
            for _ in range(self.layers - 1):
                x = self.dense(x)(self.hidden)(x)
                if self.norm == "batch":
                    x = BatchNorm(views=self.views, dtype=self.dtype)(x, train)
                elif self.norm == "layer":
                    # Torch's ε, as BatchNorm's here.
                    x = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype)(x)
                x = nn.relu(x)
            x = self.dense(x)(self.features, use_bias=self.output_bias)(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))

    def dense(self, x: Float[Array, "n d"]) -> Callable[..., nn.Dense]:
        """What makes the next layer, for the inputs `x`."""
        return make_dense(self.initial, x.shape[-1], nn.initializers.lecun_normal(), self.dtype)


class MLPHead(nn.Module):
    """An MLP of Dense, BatchNorm and ReLU, as most releases in torch build their projectors and predictors.

    Attributes:
      hidden: width of the hidden layers.
      features: width of the output.
      layers: Dense layers; 0 is no head (the identity), 1 a linear map.
      hidden_bias: give the hidden layers a bias, which BatchNorm removes again.
      last_bias: give the last layer a bias.
      last_norm: BatchNorm after the last layer: "none", "plain" (neither scale nor offset) or "affine".
      initial: "torch", torch's default for each layer, or "release", which is lecun_normal with biases of 0.
      views: of each image that lie side by side in a batch; in training each is normalised by its own statistics.
      dtype: of the computation; the output is float32.
    """

    hidden: int = 2048
    features: int = 256
    layers: int = 2
    hidden_bias: bool = False
    last_bias: bool = False
    last_norm: Literal["none", "plain", "affine"] = "none"
    initial: Initial = "torch"
    views: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n d"], train: bool = False) -> Float[Array, "n z"]:
        norm = functools.partial(BatchNorm, views=self.views, dtype=self.dtype)
        for index in range(self.layers):
            last = index == self.layers - 1
            dense = make_dense(self.initial, x.shape[-1], nn.initializers.lecun_normal(), self.dtype)
            bias = self.last_bias if last else self.hidden_bias
            x = dense(self.features if last else self.hidden, use_bias=bias)(x)
            if not last:
                x = norm()(x, train, relu=True)
            elif self.last_norm != "none":
                affine = self.last_norm == "affine"
                x = norm(use_bias=affine, use_scale=affine)(x, train)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class DINOHead(nn.Module):
    """DINO's projection head: an MLP with GELU to a bottleneck, ℓ2-normalised, and a weight-normed last layer to K logits.

    Each row of the last layer is `g · v / |v|`; with `g` fixed at 1 the logits are cosines. Weights start from N(0, 0.02²),
    `v` as torch's default for a Dense.

    Source: Caron et al. 2021, arXiv:2104.14294, section 3.2 and appendix C; `DINOHead` of the released
    `vision_transformer.py`. Of the predictor the paper says that the student's head has one, as BYOL's, and its table that
    there is no BatchNorm; where it stands is our reading: it predicts the teacher's bottleneck, and both go on alike.

    Attributes:
      features: K, the number of logits.
      layers: of the MLP; the last one makes the bottleneck.
      hidden: width of the MLP.
      bottleneck: width before the last layer; 0 is figure 9's head without it: no normalisation either, and the MLP's own
        last layer goes to K, with a bias.
      batch_norm: BatchNorm before each GELU, as the release's option `use_bn_in_head`.
      norm_last_layer: keep g at 1; False learns it, for ViT-S too unstable, as the release says, for ResNets better. Without
        a bottleneck there is no g.
      predictor: a `DINOPredictor` on the bottleneck, before its normalisation, for a student.
      initial: of the MLP: "release", or torch's default, as `make_dense` says.
      views: of each image that lie side by side in a batch; in training each is normalised by its own statistics.
      dtype: of the computation; the normalisation, the last layer and the logits are float32.
    """

    features: int = 65536
    layers: int = 3
    hidden: int = 2048
    bottleneck: int = 256
    batch_norm: bool = False
    norm_last_layer: bool = True
    predictor: bool = False
    initial: Initial = "release"
    views: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n d"], train: bool = False) -> Float[Array, "n k"]:
        for index in range(1, self.layers):
            x = self.dense(x)(self.hidden, name=f"mlp{index}")(x)
            if self.batch_norm:
                x = BatchNorm(views=self.views, dtype=self.dtype, name=f"norm{index}")(x, train)
            x = nn.gelu(x, approximate=False)
        if not self.bottleneck:
            wide = jnp.promote_types(self.dtype, jnp.float32)
            product = functools.partial(jax.lax.dot_general, preferred_element_type=wide)
            return self.dense(x)(self.features, dot_general=product, name="last_layer")(x)
        x = self.dense(x)(self.bottleneck, name=f"mlp{self.layers}")(x)
        if self.predictor:
            predictor = functools.partial(DINOPredictor, self.hidden, batch_norm=self.batch_norm, views=self.views)
            x = predictor(dtype=self.dtype, name="predictor")(x, train)
        # Torch's `normalize`: rows shorter than 1e-12 are divided by that, not by nothing.
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        x = x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), 1e-24))
        return WeightNormDense(
            self.features, learn_scale=not self.norm_last_layer, dtype=self.dtype, name="last_layer"
        )(x)

    def dense(self, x: Float[Array, "n d"]) -> Callable[..., nn.Dense]:
        """What makes the next layer of the MLP, for the inputs `x`."""
        return make_dense(self.initial, x.shape[-1], nn.initializers.normal(0.02), self.dtype)


class DINOPredictor(nn.Module):
    """A predictor as BYOL's in the style of DINO's head: Dense, GELU, Dense back to the width that came in.

    Attributes:
      hidden: width of the hidden layer.
      batch_norm: BatchNorm before the GELU.
      views: of each image that lie side by side in a batch; in training each is normalised by its own statistics.
      dtype: of the computation.
    """

    hidden: int = 2048
    batch_norm: bool = False
    views: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n d"], train: bool = False) -> Float[Array, "n d"]:
        dense = functools.partial(nn.Dense, kernel_init=nn.initializers.normal(0.02), dtype=self.dtype)
        width = x.shape[-1]
        x = dense(self.hidden, name="fc1")(x)
        if self.batch_norm:
            x = BatchNorm(views=self.views, dtype=self.dtype, name="norm")(x, train)
        return dense(width, name="fc2")(nn.gelu(x, approximate=False))


class WeightNormDense(nn.Module):
    """A Dense without bias whose columns are `g · v / |v|` (Salimans & Kingma 2016, arXiv:1602.07868).

    `nn.WeightNorm` learns its scale always; here `g` is 1 unless `learn_scale`. The output is float32.
    """

    features: int
    learn_scale: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n k"]:
        bound = x.shape[-1] ** -0.5
        shape = (x.shape[-1], self.features)
        v = self.param("v", lambda key: jax.random.uniform(key, shape, jnp.float32, -bound, bound))
        kernel = v * jax.lax.rsqrt(jnp.sum(v * v, axis=0, keepdims=True))
        if self.learn_scale:
            # Two-dimensional as torch's, so that it is decayed as there.
            kernel = kernel * self.param("g", nn.initializers.ones, (1, self.features))
        wide = jnp.promote_types(self.dtype, jnp.float32)
        return jnp.matmul(x.astype(self.dtype), kernel.astype(self.dtype), preferred_element_type=wide)


class ClassifierHead(nn.Module):
    """Logits of features, each row normalised by its own mean and deviation first: one layer, or a hidden one before it.

    Attributes:
      classes: width of the output.
      hidden: whether there is a hidden layer, of the features' width.
    """

    classes: int
    hidden: bool = False

    @nn.compact
    def __call__(self, h: Float[Array, "n d"], train: bool = False) -> Float[Array, "n c"]:
        # Whatever the scale of the features, one learning rate does.
        h = nn.LayerNorm(use_bias=False, use_scale=False)(h)
        if self.hidden:
            h = nn.relu(nn.Dense(h.shape[-1])(h))
        return nn.Dense(self.classes, kernel_init=nn.initializers.zeros)(h)
