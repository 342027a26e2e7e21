"""What the methods share: networks applied one after the other to several views, and moving averages of them.

A stack is an ordered mapping of networks: "encoder", which is the backbone, then heads such as "projector" and "predictor",
each applied to the output of the one before. Parameters and BatchNorm statistics have the same names.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from sslax import optim
from sslax.methods.base import Method, Setup, on_backbone, project_with
from sslax.networks import forward, init, with_views

Stack = Mapping[str, Any]


def init_stack(
    setup: Setup, heads: Stack, key: Key[Array, ""], image_shape: tuple[int, int, int]
) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
    """Parameters and statistics of the backbone and the heads on it, for views of image_shape [h, w, c]."""
    keys = jax.random.split(key, 1 + len(heads))
    params, statistics = {}, {}
    params["encoder"], statistics["encoder"], x = setup.start(keys[0], image_shape)
    for name, head_key in zip(heads, keys[1:], strict=True):
        params[name], statistics[name] = init(heads[name], head_key, x)
        x, _ = forward(heads[name], params[name], statistics[name], x, train=False)
    return params, statistics


def on_stack(networks: Stack, recipe: Any, **own: Any) -> Method:
    """A method whose params and aux are those of a stack, with an "encoder", which is evaluated, and a "projector".

    Args:
      networks: the stack.
      recipe: of the views.
      own: the other fields of `Method`.
    """

    def part(name):
        return lambda params, aux: (params[name], aux[name])

    encoder, projector = part("encoder"), part("projector")
    project = project_with(networks["encoder"], networks["projector"], recipe, encoder, projector)
    return on_backbone(networks["encoder"], recipe, encoder, project=project, **own)


def interleave(views: Sequence[Float[Array, "n ..."]]) -> Float[Array, "m ..."]:
    """One batch [v·n, ...] of v views in which the views of an image are adjacent, so that they stay on the device that made
    them. `x[k::v]` is view k again."""
    x = jnp.stack(views, axis=1)
    return x.reshape(-1, *x.shape[2:])


def apply_stack(
    networks: Stack,
    params: Mapping[str, PyTree],
    statistics: Mapping[str, PyTree],
    x: Float[Array, "m ..."],
    *,
    views: int = 1,
    key: Key[Array, ""] | None = None,
) -> tuple[dict[str, Array], dict[str, PyTree]]:
    """The outputs [m, ...] of each network of the stack in training, and the statistics afterwards.

    Args:
      networks: the stack, or a part of it, such as the predictor alone.
      params: of these networks; more are ignored.
      statistics: of these networks; more are passed on.
      x: interleaved views.
      views: how many of each image are interleaved; BatchNorm normalises each of them by its own statistics, as if it had a
        forward of its own. 1 normalises all rows together.
      key: for the encoder's stochastic depth.
    """
    outputs, new = {}, dict(statistics)
    for name, network in networks.items():
        draws = key if name == "encoder" else None
        x, new[name] = forward(with_views(network, views), params[name], statistics[name], x, train=True, key=draws)
        outputs[name] = x
    return outputs, new


def apply_to_crops(
    networks: Stack,
    params: Mapping[str, PyTree],
    statistics: Mapping[str, PyTree],
    resolutions: Sequence[Float[Array, "n _ _ _ 3"]],
    *,
    key: Key[Array, ""] | None = None,
    separate: bool = False,
) -> tuple[dict[str, Float[Array, "c n _"]], dict[str, PyTree]]:
    """The outputs of each network for multi-crop views, crops first, and the statistics afterwards.

    The encoder has one forward for each resolution, and the heads one for all crops, as the releases of SwAV and DINO do it.

    Args:
      networks: the stack, the encoder first.
      params: of these networks; more are ignored.
      statistics: of these networks; more are passed on.
      resolutions: the crops of each size.
      key: for the encoder's stochastic depth.
      separate: give each crop BatchNorm statistics of its own.
    """
    (name, encoder), *rest = networks.items()
    features, new = [], dict(statistics)
    for place, x in enumerate(resolutions):
        draws = None if key is None else jax.random.fold_in(key, place)
        network = with_views(encoder, x.shape[1]) if separate else encoder
        h, new[name] = forward(network, params[name], new[name], x.reshape(-1, *x.shape[2:]), train=True, key=draws)
        features.append(h.reshape(*x.shape[:2], -1))
    h = jnp.concatenate(features, axis=1)
    n, crops, _ = h.shape
    heads, new = apply_stack(dict(rest), params, new, h.reshape(n * crops, -1), views=crops if separate else 1)
    outputs = {name: h} | {head: y.reshape(n, crops, -1) for head, y in heads.items()}
    return {name: jnp.moveaxis(y, 1, 0) for name, y in outputs.items()}, new


def crops_by_size(views: Sequence[Float[Array, "n _ _ 3"]], *, large: int = 2) -> list[Float[Array, "n _ _ _ 3"]]:
    """Multi-crop views grouped by resolution: the first `large` of them, then the rest, if any."""
    groups = (views[:large], views[large:])
    return [jnp.stack(group, axis=1) for group in groups if group]


def target_of(
    networks: Stack, params: Mapping[str, PyTree], statistics: Mapping[str, PyTree]
) -> dict[str, dict[str, PyTree]]:
    """A target, {"params", "statistics"}, of these networks that starts as a copy of the online ones."""
    return {
        "params": {name: params[name] for name in networks},
        "statistics": {name: statistics[name] for name in networks},
    }


def moving_average(
    target: Mapping[str, PyTree], params: Mapping[str, PyTree], decay: optim.Number
) -> dict[str, PyTree]:
    """The `target`, {"params", "statistics"}, with its parameters moved towards those of the same names in `params`."""
    online = {name: params[name] for name in target["params"]}
    return {**target, "params": optim.ema_update(target["params"], online, decay)}
