"""Pretraining as a plain loop: what the library's compiled steps are compared with, one step after the other.

It shares with the library the networks, the view recipes and the losses, which have golden values of their own. All else is
written out: the order of an epoch, keys, gradient, clipping, optimiser, schedules, moving averages, centre. A method of the
library needs an entry in `METHODS` here. Numbers are float64, but for the views.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sslax import losses
from sslax.augment import make_views
from sslax.networks import BYOLMLP, DINOHead, MLPHead, SimCLRProjector, build_backbone, forward, without_drop_path


class Step(NamedTuple):
    """What a step leaves: parameters, the method's other state, features and labels of its batch, metrics, and the norm of
    each tensor's gradient."""

    params: dict
    aux: dict
    features: np.ndarray
    labels: np.ndarray
    metrics: dict
    norms: dict


def wide(tree):
    """The tree in float64, on the host."""
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def named(tree):
    """The leaves by name: "encoder/stem_conv/kernel"."""
    return {jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in jax.tree.leaves_with_path(tree)}


def train(config, data, params, aux, run_key, steps):
    """The first steps of the run of `config` on `data` from these parameters, other state and key, as a list of `Step`."""
    method, optimizer = METHODS[config.method.NAME](config), OPTIMIZERS[config.optim.name]
    per_epoch = len(data.train) // config.batch_size
    method.per_epoch = per_epoch
    total = config.epochs * per_epoch
    draw = jax.jit(make_views, static_argnums=2)
    differentiate = jax.jit(jax.value_and_grad(method.loss, has_aux=True))
    params, aux = wide(params), wide(aux)
    memory = {name: {"updates": 0, "m": 0.0, "v": 0.0} for name in named(params)}
    taken = []
    for step in range(steps):
        epoch, place = divmod(step, per_epoch)
        order_key = jax.random.fold_in(jax.random.fold_in(run_key, 0x0DDE12), epoch)
        order = np.asarray(jax.random.permutation(order_key, len(data.train)))
        index = order[place * config.batch_size : (place + 1) * config.batch_size]
        images, aspects, labels = (x[index] for x in (data.train.images, data.train.aspects, data.train.labels))

        views_key, loss_key = jax.random.split(jax.random.fold_in(run_key, step))
        views = draw(views_key, images, config.method.views, aspects=aspects)
        (loss, (aux, metrics, features)), gradient = differentiate(params, aux, views, loss_key, step / per_epoch)
        aux, gradient = wide(aux), wide(gradient)

        rate, decay = learning_rate(config, step, per_epoch), weight_decay(config.optim, step, total)
        new, clipped = {}, method.clip(named(gradient))
        for name, p in named(params).items():
            g = clipped[name]
            frozen = method.frozen(name, step, per_epoch)
            own = peak_rate(config) if method.constant(name) else rate
            if config.optim.bias_lr is not None and p.ndim < 2:
                own *= config.optim.bias_lr / config.optim.lr
            own *= method.factor(name)
            new[name] = p if frozen else optimizer(config.optim, p, g, memory[name], own, decay)
        params = method.normalized(jax.tree.unflatten(jax.tree.structure(params), new.values()))

        ema = method.ema(step, total)
        aux = method.after_update(params, aux, ema)

        norms = {name: np.linalg.norm(g) for name, g in named(gradient).items()}
        metrics |= {"loss": loss, "lr": rate, "gradient_norm": math.sqrt(sum(norm**2 for norm in norms.values()))}
        taken.append(Step(params, aux, np.asarray(features), labels, metrics, norms))
    return taken


def cosine(first, last, progress):
    """Half a cosine from `first` to `last`."""
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2


def peak_rate(config):
    """The learning rate at the end of the warmup."""
    return {"none": config.optim.lr, "linear": config.optim.lr * config.batch_size / 256}[config.optim.lr_scaling]


def learning_rate(config, step, per_epoch):
    """Linear warmup from 0, then half a cosine to the end."""
    o, peak = config.optim, peak_rate(config)
    warmup, total = round(o.warmup_epochs * per_epoch), config.epochs * per_epoch
    if step < warmup:
        # DINO's warmup has both its ends.
        return peak * step / (warmup - 1 if o.warmup == "dino" else warmup)
    return cosine(peak, o.end_lr, (step - warmup) / (total - warmup))


def weight_decay(o, step, total):
    """Constant, or half a cosine from the first to the last value."""
    last = o.weight_decay if o.end_weight_decay is None else o.end_weight_decay
    return cosine(o.weight_decay, last, step / total)


def sgd(o, p, g, memory, rate, decay):
    """Momentum of the gradient, to which a kernel's decay is added."""
    if p.ndim > 1:
        g = g + decay * p
    memory["m"] = o.momentum * memory["m"] + g
    return p - rate * memory["m"]


def lars(o, p, g, memory, rate, decay):
    """A kernel's gradient, decay included, is made a thousandth as long as the kernel."""
    if p.ndim > 1:
        g = g + decay * p
        g = g * 1e-3 * np.linalg.norm(p) / np.linalg.norm(g)
    if o.lr_after_momentum:
        memory["m"] = o.momentum * memory["m"] + g
        return p - rate * memory["m"]
    memory["m"] = o.momentum * memory["m"] + rate * g
    return p - memory["m"]


def adamw(o, p, g, memory, rate, decay):
    """Adam, and beside it the decay of kernels, times the same rate."""
    memory["updates"] += 1
    memory["m"] = o.momentum * memory["m"] + (1 - o.momentum) * g
    memory["v"] = o.b2 * memory["v"] + (1 - o.b2) * g**2
    m = memory["m"] / (1 - o.momentum ** memory["updates"])
    v = memory["v"] / (1 - o.b2 ** memory["updates"])
    return p - rate * (m / (np.sqrt(v) + 1e-8) + (decay * p if p.ndim > 1 else 0))


OPTIMIZERS = {"sgd": sgd, "lars": lars, "adamw": adamw}


def moved(average, params, decay):
    """The moving average after a step."""
    return jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, average, params)


def side_by_side(views):
    """One batch, an image's views one after the other: the order in which stochastic depth draws."""
    return jnp.stack(views, axis=1).reshape(-1, *views[0].shape[1:])


def spread(z):
    """The deviation over the batch of ℓ2-normalised rows, times √d."""
    z = z / jnp.linalg.norm(z, axis=1, keepdims=True)
    return z.std(axis=0, ddof=1).mean() * z.shape[1] ** 0.5


class Plain:
    """What a method does unless it says otherwise."""

    def __init__(self, config):
        self.options, network = config.method, config.network
        sizes = {"width": network.width, "depth": network.depth, "patch_size": network.patch_size}
        self.encoder = build_backbone(
            network.name,
            image_size=self.options.views.size,
            drop_path=network.drop_path,
            initial=network.initial,
            dtype=jnp.float64,
            **sizes,
        )

    def clip(self, gradients):
        return {name: self.clipped(gradient) for name, gradient in gradients.items()}

    def clipped(self, gradient):
        return gradient

    def factor(self, name):
        return 1.0

    def frozen(self, name, step, per_epoch):
        return False

    def constant(self, name):
        return False

    def normalized(self, params):
        return params

    def ema(self, step, total):
        return None

    def after_update(self, params, aux, ema):
        return aux


class SimCLR(Plain):
    """Both views in one batch, whose statistics they share; all other views are an image's negatives."""

    def __init__(self, config):
        super().__init__(config)
        o = self.options
        self.projector = SimCLRProjector(layers=o.projector_layers, features=o.projector_dim, dtype=jnp.float64)

    def loss(self, params, aux, views, key, epoch):
        x = side_by_side(views)
        h, encoder = forward(self.encoder, params["encoder"], aux["encoder"], x, train=True, key=key)
        z, projector = forward(self.projector, params["projector"], aux["projector"], h, train=True)
        loss = losses.nt_xent(z[0::2], z[1::2], temperature=self.options.temperature).mean()
        metrics = {"projection_std": spread(z[0::2]), "chance_loss": math.log(len(z) - 1)}
        return loss, ({"encoder": encoder, "projector": projector}, metrics, h[0::2])


class BYOL(Plain):
    """Each view by itself through the online network and the target; each prediction meets the target's other view."""

    def __init__(self, config):
        super().__init__(config)
        o = self.options
        self.projector = BYOLMLP(hidden=o.projector_hidden, features=o.projector_dim, dtype=jnp.float64)
        self.predictor = BYOLMLP(hidden=o.predictor_hidden, features=o.projector_dim, dtype=jnp.float64)

    def project(self, params, statistics, view):
        """Features and projections of one view, and the statistics after it."""
        h, encoder = forward(self.encoder, params["encoder"], statistics["encoder"], view, train=True)
        z, projector = forward(self.projector, params["projector"], statistics["projector"], h, train=True)
        return h, z, statistics | {"encoder": encoder, "projector": projector}

    def loss(self, params, aux, views, key, epoch):
        online, target = aux["online"], aux["target"]
        features, predictions, targets, there = [], [], [], target["statistics"]
        for view in views:
            h, z, online = self.project(params, online, view)
            p, predictor = forward(self.predictor, params["predictor"], online["predictor"], z, train=True)
            online = online | {"predictor": predictor}
            _, t, there = self.project(target["params"], there, view)
            features.append(h)
            predictions.append(p)
            targets.append(t)
        (p1, p2), (t1, t2) = predictions, targets
        loss = (losses.byol(p1, t2) + losses.byol(p2, t1)).mean()
        new = {"online": online, "target": {"params": target["params"], "statistics": there}}
        return loss, (new, {"projection_std": spread(t1)}, features[0])

    def ema(self, step, total):
        return cosine(self.options.decay, 1, step / total)

    def after_update(self, params, aux, ema):
        online = {"encoder": params["encoder"], "projector": params["projector"]}
        target = moved(aux["target"]["params"], online, ema)
        return aux | {"target": aux["target"] | {"params": target}}


class DINO(Plain):
    """The student sees all crops, the teacher the two global ones; the student is to say of each what the teacher says of
    another."""

    def __init__(self, config):
        super().__init__(config)
        o = self.options
        sizes = {"layers": o.head_layers, "hidden": o.head_hidden, "bottleneck": o.head_bottleneck}
        self.head = DINOHead(features=o.prototypes, dtype=jnp.float64, **sizes)

    def logits(self, encoder, params, statistics, sizes, key=None):
        """Logits [crops, n, k], features [n, d] of the first crop, and the statistics after a forward for each size."""
        logits, features = [], []
        for place, crops in enumerate(sizes):
            own = None if key is None else jax.random.fold_in(key, place)
            x = side_by_side(crops)
            h, seen = forward(encoder, params["encoder"], statistics["encoder"], x, train=True, key=own)
            statistics = statistics | {"encoder": seen}
            y, _ = forward(self.head, params["head"], {}, h, train=True)
            logits += [y[crop :: len(crops)] for crop in range(len(crops))]
            features += [h[crop :: len(crops)] for crop in range(len(crops))]
        return jnp.stack(logits), features[0], statistics

    def loss(self, params, aux, views, key, epoch):
        o, there, large, small = self.options, aux["teacher"], views[:2], views[2:]
        student, _, seen = self.logits(self.encoder, params, aux["student"], [large, small], key)
        teacher_encoder = without_drop_path(self.encoder)
        teacher, features, seen_there = self.logits(teacher_encoder, there["params"], there["statistics"], [large])

        start, end, epochs = o.teacher_temperature_start, o.teacher_temperature, o.teacher_temperature_epochs
        temperature = start + (end - start) * jnp.minimum(jnp.floor(epoch) / (epochs - 1), 1)
        temperatures = {"student_temperature": o.student_temperature, "teacher_temperature": temperature}
        loss = losses.dino(student, teacher, aux["center"], **temperatures).mean()
        center = o.center_momentum * aux["center"] + (1 - o.center_momentum) * teacher.mean(axis=(0, 1))

        log_q = jax.nn.log_softmax((teacher - aux["center"][None, None]) / temperature)
        entropy = -(jnp.exp(log_q) * log_q).sum(-1).mean()
        metrics = {"target_entropy": entropy, "kl": loss - entropy, "teacher_temperature": temperature}
        new = {"student": seen, "teacher": {"params": there["params"], "statistics": seen_there}, "center": center}
        return loss, (new, metrics, features)

    def clipped(self, gradient):
        return gradient * min(1.0, self.options.clip / (np.linalg.norm(gradient) + 1e-6))

    def frozen(self, name, step, per_epoch):
        return "last_layer" in name and step < self.options.frozen_epochs * per_epoch

    def ema(self, step, total):
        return cosine(self.options.decay, 1, step / total)

    def after_update(self, params, aux, ema):
        return aux | {"teacher": aux["teacher"] | {"params": moved(aux["teacher"]["params"], params, ema)}}


class Siamese(Plain):
    """Each view by itself through the backbone and the heads on it; the loss compares what comes out."""

    def through(self, params, statistics, view):
        """The outputs of each network for one view, and the statistics after it."""
        x, outputs = view, {}
        for name, network in {"encoder": self.encoder, **self.heads}.items():
            x, seen = forward(network, params[name], statistics[name], x, train=True)
            outputs[name], statistics = x, statistics | {name: seen}
        return outputs, statistics

    def loss(self, params, aux, views, key, epoch):
        first, aux = self.through(params, aux, views[0])
        second, aux = self.through(params, aux, views[1])
        loss, metrics = self.compare(first, second)
        return loss, (aux, metrics | {"projection_std": spread(first["projector"])}, first["encoder"])


class SimSiam(Siamese):
    """Each view's prediction meets the other view's projection; the predictor's learning rate is constant."""

    def __init__(self, config):
        super().__init__(config)
        o, wide = self.options, {"features": self.options.projector_dim, "dtype": jnp.float64}
        self.heads = {
            "projector": MLPHead(hidden=o.projector_hidden, layers=o.projector_layers, last_norm="plain", **wide),
            "predictor": MLPHead(hidden=o.predictor_hidden, layers=2, last_bias=True, **wide),
        }

    def compare(self, first, second):
        p1, p2 = first["predictor"], second["predictor"]
        z1, z2 = first["projector"], second["projector"]
        loss = (losses.simsiam(p1, z2) + losses.simsiam(p2, z1)).mean() / 2
        directions = z1 / jnp.linalg.norm(z1, axis=1)[:, None]
        return loss, {"positive_cosine": -loss, "shared_direction": jnp.linalg.norm(directions.mean(axis=0))}

    def constant(self, name):
        return name.startswith("predictor")


class BarlowTwins(Siamese):
    """The correlations of the two views' projections are to be those of the identity."""

    hidden_bias = False

    def __init__(self, config):
        super().__init__(config)
        o, bias = self.options, self.hidden_bias
        sizes = {"hidden": o.projector_hidden, "features": o.projector_dim, "layers": o.projector_layers}
        self.heads = {"projector": MLPHead(**sizes, hidden_bias=bias, dtype=jnp.float64)}

    def compare(self, first, second):
        z1, z2 = first["projector"], second["projector"]
        u1, u2 = ((z - z.mean(axis=0)[None]) / jnp.sqrt(z.var(axis=0) + 1e-5)[None] for z in (z1, z2))
        c, d = u1.T @ u2 / len(u1), z1.shape[1]
        own = jnp.diagonal(c)
        metrics = {
            "on_diagonal": ((1 - own) ** 2).sum() / d,
            "off_diagonal": ((c**2).sum() - (own**2).sum()) / (d * (d - 1)),
        }
        return losses.barlow_twins(z1, z2, off_diagonal=self.options.off_diagonal), metrics


class VICReg(BarlowTwins):
    """Barlow Twins' networks with biases in the hidden layers; variance and covariance within each view."""

    hidden_bias = True

    def compare(self, first, second):
        o, z1, z2 = self.options, first["projector"], second["projector"]
        deviations = jnp.stack([jnp.sqrt(z.var(axis=0, ddof=1) + 1e-4) for z in (z1, z2)])
        metrics = {
            "invariance": ((z1 - z2) ** 2).mean(),
            "variance": jnp.maximum(0, 1 - deviations).mean(),
        }
        weights = {"invariance": o.invariance, "variance": o.variance, "covariance": o.covariance}
        return losses.vicreg(z1, z2, **weights, halved=o.halved), metrics


METHODS = {
    "simclr": SimCLR,
    "byol": BYOL,
    "dino": DINO,
    "simsiam": SimSiam,
    "barlow-twins": BarlowTwins,
    "vicreg": VICReg,
}
