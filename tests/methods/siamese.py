"""What the tests of SimSiam, Barlow Twins and VICReg share: a method's start, and its networks on one view after the other."""

import dataclasses

import jax

from sslax.methods import Batch
from sslax.training import build
from tests import tiny
from tests.compiled import forward


def configured(name, *, optim=None, **options):
    """The tiny configuration of this method with these options."""
    changes = {} if optim is None else {"optim": optim}
    return tiny.config(name, method=dataclasses.replace(tiny.OPTIONS[name], **options), **changes)


def built(name, **options):
    """The method of `configured`, on one device."""
    return build(configured(name, **options), tiny.dataset(), devices=jax.devices()[:1])


def views():
    """Two views of 16 images."""
    return tuple(jax.random.uniform(jax.random.key(1), (2, 16, tiny.SIZE, tiny.SIZE, 3)))


def evaluated(b, params, aux, shown=None):
    """Loss, output and gradient of the method on `views`, or on those that are given."""
    function = jax.jit(jax.value_and_grad(b.method.loss, has_aux=True))
    (loss, output), gradient = function(params, aux, Batch(shown or views()), jax.random.key(2), 0)
    return loss, output, gradient


def by_view(b, heads, params, aux):
    """For each of `views` the outputs of the backbone and of `heads`, in a forward of its own."""
    networks = {"encoder": b.backbone, **heads}

    @jax.jit
    def through(params, aux, x):
        out = {}
        for name, network in networks.items():
            x, _ = forward(network, params[name], aux[name], x, train=True)
            out[name] = x
        return out

    return [through(params, aux, view) for view in views()]


def head_shapes(name):
    """The features' width, and the shapes of the parameters of each head, of the method's default options."""
    options = dataclasses.replace(type(tiny.OPTIONS[name])(), views=tiny.OPTIONS[name].views)
    b = build(tiny.config(name, method=options), tiny.dataset(), devices=jax.devices()[:1])
    params, _ = jax.eval_shape(lambda key: b.method.init(key, b.image_shape), jax.random.key(0))
    heads = {head: params[head] for head in params if head != "encoder"}
    shapes = {
        head: {jax.tree_util.keystr(p, simple=True, separator="/"): x.shape for p, x in jax.tree.leaves_with_path(tree)}
        for head, tree in heads.items()
    }
    return shapes["projector"]["Dense_0/kernel"][0], shapes
