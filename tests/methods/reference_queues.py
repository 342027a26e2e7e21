"""The plain loop's methods that keep a queue: MoCo v3 with a memory, SwAV and NNCLR."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from sslax import losses
from sslax.networks import MLPHead, forward
from tests.methods.reference import BYOL, Plain, cosine, side_by_side, spread


def unit(x):
    """Rows of length 1."""
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def pushed(queue, rows):
    """The ring after a batch that divides it, at the place of its oldest rows."""
    place, length = queue["next"].astype(int), queue["rows"].shape[-2]
    start = (0,) * (rows.ndim - 2) + (place, 0)
    return {
        "rows": jax.lax.dynamic_update_slice(queue["rows"], rows, start),
        "next": (queue["next"] + rows.shape[-2]) % length,
    }


class MoCoV3(BYOL):
    """As BYOL, each view by itself; each query is to find the target's other view, among that view's queue as well."""

    def __init__(self, config):
        Plain.__init__(self, config)
        o, wide = self.options, {"features": self.options.projector_dim, "dtype": jnp.float64}
        self.projector = MLPHead(
            hidden=o.projector_hidden, layers=o.projector_layers, last_norm=o.projector_norm, **wide
        )
        self.predictor = MLPHead(
            hidden=o.predictor_hidden, layers=o.predictor_layers, last_norm=o.predictor_norm, **wide
        )

    def loss(self, params, aux, views, key, epoch):
        o, online, target = self.options, aux["online"], aux["target"]
        features, queries, keys, there = [], [], [], target["statistics"]
        for view in views:
            h, z, online = self.project(params, online, view)
            q, predictor = forward(self.predictor, params["predictor"], online["predictor"], z, train=True)
            online = online | {"predictor": predictor}
            _, k, there = self.project(target["params"], there, view)
            features.append(h)
            queries.append(q)
            keys.append(unit(k))
        loss = 0.0
        for own, other in ((0, 1), (1, 0)):
            logits = (
                unit(queries[own]) @ jnp.concatenate([keys[other], unit(aux["queue"]["rows"][other])]).T / o.temperature
            )
            loss -= 2 * o.temperature * jnp.diagonal(jax.nn.log_softmax(logits, axis=1)).mean()
        new = {"online": online, "target": {"params": target["params"], "statistics": there}}
        chance = 4 * o.temperature * math.log(len(keys[0]) + o.queue)
        metrics = {"projection_std": spread(keys[0]), "chance_loss": chance}
        return loss, (new | {"queue": pushed(aux["queue"], jnp.stack(keys))}, metrics, features[0])

    def ema(self, step, total):
        # The next step's, whose keys the target makes.
        return cosine(self.options.decay, 1, (step + 1) / total)


class SwAV(Plain):
    """Each crop's distribution over the prototypes is to be the code of another, a large one, assigned with the queue's."""

    def __init__(self, config):
        super().__init__(config)
        o, biases = self.options, {"hidden_bias": True, "last_bias": True}
        self.projector = MLPHead(o.projector_hidden, o.projector_dim, layers=2, dtype=jnp.float64, **biases)

    def loss(self, params, aux, views, key, epoch):
        o, statistics, features = self.options, aux["statistics"], []
        for crops in (views[:2], views[2:]):
            h, seen = forward(self.encoder, params["encoder"], statistics["encoder"], side_by_side(crops), train=True)
            statistics = statistics | {"encoder": seen}
            features += [h[crop :: len(crops)] for crop in range(len(crops))]
        h = side_by_side(features)
        z, seen = forward(self.projector, params["projector"], statistics["projector"], h, train=True)
        z = [unit(z[crop :: len(views)]) for crop in range(len(views))]
        prototypes = params["prototypes"]["kernel"]

        loss, codes = 0.0, []
        for own in (0, 1):
            scores = jnp.concatenate([aux["queue"]["rows"][own], z[own]]) @ prototypes
            q = losses.sinkhorn_knopp(scores, temperature=o.epsilon, iterations=o.sinkhorn_iterations)
            codes.append(q[-len(z[own]) :])
            for other in range(len(views)):
                if other != own:
                    log_p = jax.nn.log_softmax(z[other] @ prototypes / o.temperature)
                    loss -= (codes[own] * log_p).sum(axis=1).mean() / (2 * (len(views) - 1))
        mean = jnp.concatenate(codes).mean(axis=0)
        metrics = {
            "projection_std": spread(z[0]),
            "chance_loss": math.log(o.prototypes),
            "target_largest": mean.max(),
            "prototype_usage": jnp.exp(-(mean * jnp.log(mean)).sum()) / o.prototypes,
        }
        new = {
            "statistics": statistics | {"projector": seen},
            "queue": pushed(aux["queue"], jnp.stack(z[:2])),
        }
        return loss, (new, metrics, features[0])

    def frozen(self, name, step, per_epoch):
        return "prototypes" in name and step < self.options.frozen_epochs * per_epoch

    def normalized(self, params):
        prototypes = params["prototypes"]["kernel"]
        return params | {"prototypes": {"kernel": prototypes / np.linalg.norm(prototypes, axis=0, keepdims=True)}}


class NNCLR(Plain):
    """Each view by itself; the neighbour of each projection in the queue is to be found by the other view's prediction."""

    def __init__(self, config):
        super().__init__(config)
        o, wide = self.options, {"features": self.options.projector_dim, "dtype": jnp.float64}
        self.projector = MLPHead(hidden=o.projector_hidden, layers=o.projector_layers, last_norm="affine", **wide)
        self.predictor = MLPHead(hidden=o.predictor_hidden, layers=2, last_bias=True, **wide)

    def loss(self, params, aux, views, key, epoch):
        o, statistics, rows = self.options, aux["statistics"], unit(aux["queue"]["rows"])
        features, projections, predictions, places = [], [], [], []
        for view in views:
            x, outputs = view, {}
            for name in ("encoder", "projector", "predictor"):
                x, seen = forward(getattr(self, name), params[name], statistics[name], x, train=True)
                outputs[name], statistics = x, statistics | {name: seen}
            features.append(outputs["encoder"])
            predictions.append(unit(outputs["predictor"]))
            projections.append(unit(outputs["projector"]))
            places.append(jnp.argmax(projections[-1] @ aux["queue"]["rows"].T, axis=1))
        loss = 0.0
        for own, other in ((0, 1), (1, 0)):
            logits = rows[places[own]] @ predictions[other].T / o.temperature
            loss -= jnp.diagonal(jax.nn.log_softmax(logits, axis=1)).mean() / 2
        found = jnp.concatenate(places)
        metrics = {
            "projection_std": spread(projections[0]),
            "chance_loss": math.log(len(rows[places[0]])),
            "neighbour_share": (found[:, None] == found[None, :]).sum(axis=1).max() / len(found),
        }
        new = {"statistics": statistics, "queue": pushed(aux["queue"], projections[0])}
        return loss, (new, metrics, features[0])


METHODS = {"moco-v3": MoCoV3, "swav": SwAV, "nnclr": NNCLR}
