"""Right and wrong calls of sslax.optim."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from hypothesis import strategies as st

from sslax import optim
from tests.hostile.pools import (
    INF,
    NAN,
    NOT_ARRAYS,
    Case,
    arrays,
    bad_at_least_0,
    bad_choice,
    bad_count,
    bad_finite,
    bad_positive,
    bad_probability,
    exact,
    finite,
    held,
    scalars,
    values,
)

RATES = (0.0, 1e-3, 1e3)
BAD_RATES = values(NAN, INF, -1e-9, "0.1", None, np.ones(1), 1j)
# Of one or of two dimensions: what is left alone by default, and what is decayed and adapted.
SHAPES = {"w": (2, 3), "b": (3,), "s": (1, 1)}


@st.composite
def trees(draw, count=1, scales=(1e-30, 1.0, 1e4, 1e30)):
    """Trees of one structure, in float32."""
    made = [dict(zip(SHAPES, draw(arrays(*SHAPES.values(), scales=scales)), strict=True)) for _ in range(count)]
    made = [{name: jnp.asarray(exact(x), jnp.float32) for name, x in tree.items()} for tree in made]
    return made[0] if count == 1 else made


def three_updates(tx, gradients, params):
    state, updates = tx.init(params), []
    for _ in range(3):
        update, state = tx.update(gradients, state, params)
        updates.append(update)
    return updates


def first(updates):
    """The first update; the second and third are finite."""
    for later in updates[1:]:
        finite(*later.values())
    return updates[0]


def direction(x):
    largest = np.abs(x).max()
    x = x / (largest or 1)
    return x / (np.linalg.norm(x) or 1)


def length(x):
    largest = np.abs(x).max()
    return largest * np.linalg.norm(x / (largest or 1))


def _optimiser(make, expected, **options):
    """A case whose result is the optimiser's first updates of a drawn tree."""

    def call(*, tree, **rest):
        return three_updates(make(**rest), *tree)

    def check(a, result):
        gradients, params = a["tree"]
        for name, update in first(result).items():
            finite(update, dtype=jnp.float32, shape=SHAPES[name])
            wanted = expected(a, exact(gradients[name]), exact(params[name]))
            np.testing.assert_allclose(
                update, wanted, rtol=2e-5, atol=1e-6 * np.abs(wanted).max() + 1e-37, err_msg=name
            )

    drawn = {"tree": trees(2), "learning_rate": scalars(*RATES), "weight_decay": scalars(0.0, 0.1), **options}
    return call, st.fixed_dictionaries(drawn), check


def _decayed(a, gradient, param):
    return gradient + float(a["weight_decay"]) * param if param.ndim > 1 else gradient


def _lars(a, gradient, param):
    moved = _decayed(a, gradient, param)
    if param.ndim > 1 and moved.any() and param.any():
        moved = float(a["trust_coefficient"]) * length(param) * direction(moved)
    return -float(a["learning_rate"]) * moved


def _sgd(a, gradient, param):
    nesterov = 1 + float(a["momentum"]) if a["nesterov"] else 1
    return -float(a["learning_rate"]) * nesterov * _decayed(a, gradient, param)


def _adamw(a, gradient, param):
    decay = float(a["weight_decay"]) * param if param.ndim > 1 else 0
    return -float(a["learning_rate"]) * (gradient / (np.abs(gradient) + 1e-8) + decay)


@st.composite
def _warmup_cosine(draw):
    steps = draw(st.sampled_from([1, 7, 10**10]))
    warmup = draw(st.sampled_from([0, 1, steps // 2, steps]))
    ends = {name: draw(scalars(0.0, 1e-30, 1.0, 1e30)) for name in ("peak", "start", "end")}
    options = {
        "convention": draw(st.sampled_from(["step", "dino"])),
        "at": draw(st.sampled_from([-5, 0, 3, 2**31 - 1, 1e12])),
    }
    return {"steps": steps, "warmup_steps": min(warmup, steps), **ends, **options}


def _check_warmup_cosine(a, result):
    finite(result, dtype=jnp.float32, shape=())
    among = [float(a[name]) for name in ("peak", "start", "end")]
    assert min(among) - 1e-6 * max(among) <= float(result) <= max(among) * (1 + 1e-6)


def _check_ema_decay(a, result):
    finite(result, dtype=jnp.float32, shape=())
    assert float(a["base"]) - 1e-6 <= float(result) <= 1


@st.composite
def _ema(draw):
    # Lists would be trees themselves.
    leaves = [np.asarray(x) if isinstance(x, list) else x for x in draw(arrays((2, 3), (3,), (2, 3), (3,)))]
    target, online = ({"w": w, "in": (b,)} for w, b in (leaves[:2], leaves[2:]))
    return {"target": target, "online": online, "decay": draw(scalars(0.0, 0.99, 1.0))}


def _check_ema(a, result):
    decay = float(a["decay"])
    for name, t, o, moved in (
        ("w", a["target"]["w"], a["online"]["w"], result["w"]),
        ("in", a["target"]["in"][0], a["online"]["in"][0], result["in"][0]),
    ):
        wanted_type, t, o = jax.dtypes.canonicalize_dtype(t.dtype), exact(t), exact(o)
        wanted = held(decay * t + (1 - decay) * o, wanted_type)
        assert moved.dtype == wanted_type
        tolerance = 1e-2 if moved.dtype.itemsize == 2 else 1e-6
        largest = max(np.abs(t).max(), np.abs(o).max())
        np.testing.assert_allclose(
            np.asarray(moved, np.float64), wanted, rtol=tolerance, atol=tolerance * largest, err_msg=name
        )


def _bad_target(a):
    leaves = [np.ones((2, 3), int), np.ones((1, 3)), np.ones((2, 1)), np.full((2, 3), 1e300), *NOT_ARRAYS[1:4]]
    return [{"w": leaf, "in": a["target"]["in"]} for leaf in leaves] + [{}, {"w": a["target"]["w"]}, np.ones(3)]


def _clip(max_norm, gradients):
    tx = optim.clip_each(max_norm)
    return tx.update(gradients, tx.init(gradients))[0]


def _check_clip(a, result):
    for name, gradient in a["gradients"].items():
        gradient, most = exact(gradient), float(a["max_norm"])
        wanted = direction(gradient) * min(length(gradient), most)
        np.testing.assert_allclose(
            result[name], wanted, rtol=1e-5 if length(gradient) > 1 else 1e-5 + 1e-6 / most, atol=1e-37
        )


def _clip_parts(max_norm, gradients):
    tx = optim.clip_parts(max_norm)
    parts = {"encoder": {name: gradients[name] for name in ("w", "b")}, "head": gradients["s"]}
    return tx.update(parts, tx.init(parts))[0]


def _check_clip_parts(a, result):
    gradients, most = {name: exact(g) for name, g in a["gradients"].items()}, float(a["max_norm"])
    # The largest is taken off, as the squares of 1e30 are not float32.
    norm = length(np.concatenate([gradients["w"].ravel(), gradients["b"]]))
    for ours, gradient, own in (
        (result["encoder"]["w"], gradients["w"], norm),
        (result["encoder"]["b"], gradients["b"], norm),
        (result["head"], gradients["s"], length(gradients["s"])),
    ):
        factor = min(1.0, most / (own + 1e-6))
        np.testing.assert_allclose(ours, gradient * factor, rtol=1e-5, atol=1e-37)


_VIT = {
    "encoder": {"patch_embed": {"kernel": 1.0}, "cls_token": 1.0, "block1": 1.0, "block3": {"norm1": 1.0}, "norm": 1.0},
    "head": {"block": 1.0},
}


def _check_vit_rates(a, result):
    decay, factor = float(a["layer_decay"]), float(a["patch_embedding"])
    encoder = {"patch_embed": {"kernel": factor * decay**4}, "cls_token": decay**4, "block1": decay**3}
    wanted = {"encoder": encoder | {"block3": {"norm1": decay}, "norm": 1.0}, "head": {"block": 1.0}}
    np.testing.assert_allclose(jax.tree.leaves(result), jax.tree.leaves(wanted), rtol=1e-6)


def _scale_rates(tree, factor):
    gradients, params = tree
    tx = optim.scale_rates(optax.sgd(1.0), lambda params: dict.fromkeys(params, 1.0) | {"b": factor})
    return three_updates(tx, gradients, params)


def _check_scale_rates(a, result):
    result = first(result)
    for name, gradient in a["tree"][0].items():
        factor = np.float32(a["factor"] if name == "b" else 1)
        np.testing.assert_allclose(result[name], -gradient * factor, rtol=1e-6)


def _hold(steps, tree):
    gradients, params = tree
    tx = optim.hold(optax.sgd(1.0), lambda params: dict.fromkeys(params, True) | {"b": False}, steps=steps)
    return three_updates(tx, gradients, params)


def _check_hold(a, result):
    for step, update in enumerate(result):
        for name, gradient in a["tree"][0].items():
            held = step < a["steps"] and name != "b"
            np.testing.assert_array_equal(update[name], 0 if held else -gradient)


def _freeze(tree):
    gradients, params = tree
    tx = optim.freeze(optax.adamw(1.0), lambda params: dict.fromkeys(params, False) | {"b": True})
    return three_updates(tx, gradients, params)


def _check_freeze(a, result):
    result = first(result)
    finite(*result.values())
    np.testing.assert_array_equal(result["b"], 0)
    assert (np.asarray(result["w"]) != 0).any() or not np.asarray(a["tree"][0]["w"]).any()


def _check_named(a, result):
    whole = "head" in a["names"]
    assert result == {"head": {"w": whole or "w" in a["names"], "b": True}, "w": "w" in a["names"]}


def _check_kernels_only(a, result):
    assert result == {name: np.ndim(leaf) > 1 for name, leaf in a["params"].items()}


def _check_scaled(a, result):
    wanted = {"none": 1.0, "linear": a["batch_size"] / 256, "sqrt": a["batch_size"] ** 0.5}[a["rule"]]
    np.testing.assert_allclose(result, float(a["lr"]) * wanted, rtol=1e-6)


_shares = scalars(0.0, 0.5, 0.999)
CASES = {
    "optim.kernels_only": Case(
        optim.kernels_only,
        st.fixed_dictionaries(
            {"params": st.builds(lambda tree: {**tree, "scalar": 1.0, "array": np.ones((2, 2))}, trees())}
        ),
        _check_kernels_only,
        compiled=False,
    ),
    "optim.scaled_learning_rate": Case(
        optim.scaled_learning_rate,
        st.fixed_dictionaries(
            {
                "lr": scalars(0.0, 1e-3, 1e30),
                "batch_size": st.sampled_from([1, 256, np.int64(4096)]),
                "rule": st.sampled_from(["none", "linear", "sqrt"]),
            }
        ),
        _check_scaled,
        {"lr": bad_at_least_0, "batch_size": bad_count, "rule": bad_choice},
        compiled=False,
    ),
    "optim.warmup_cosine": Case(
        lambda *, at, **options: optim.warmup_cosine(**options)(at),
        _warmup_cosine(),
        _check_warmup_cosine,
        {
            **dict.fromkeys(("peak", "start", "end"), bad_finite),
            "steps": bad_count,
            "warmup_steps": lambda a: [-1, a["steps"] + 1, 0.5, "1", None],
            "convention": bad_choice,
        },
    ),
    "optim.cosine_ema_decay": Case(
        lambda *, at, **options: optim.cosine_ema_decay(**options)(at),
        st.fixed_dictionaries(
            {
                "base": scalars(0.0, 0.99, 1.0),
                "steps": st.sampled_from([1, 10**10]),
                "at": st.sampled_from([-5, 0, 1, 2**31 - 1, 1e12]),
            }
        ),
        _check_ema_decay,
        {"base": bad_probability, "steps": bad_count},
    ),
    "optim.ema_update": Case(optim.ema_update, _ema(), _check_ema, {"target": _bad_target, "decay": bad_probability}),
    "optim.lars": Case(
        *_optimiser(
            optim.lars,
            _lars,
            momentum=_shares,
            trust_coefficient=scalars(1e-3, 1.0),
            lr_after_momentum=st.booleans(),
        ),
        {
            "learning_rate": BAD_RATES,
            "weight_decay": bad_at_least_0,
            "momentum": bad_probability,
            "trust_coefficient": bad_positive,
        },
    ),
    "optim.sgd": Case(
        *_optimiser(optim.sgd, _sgd, momentum=_shares, nesterov=st.booleans()),
        {"learning_rate": BAD_RATES, "weight_decay": bad_at_least_0, "momentum": bad_probability},
    ),
    "optim.adamw": Case(
        *_optimiser(optim.adamw, _adamw, b1=_shares, b2=_shares),
        {
            "learning_rate": BAD_RATES,
            "weight_decay": BAD_RATES,
            **dict.fromkeys(("b1", "b2"), lambda a: [*bad_probability(a), 1.0]),
        },
    ),
    "optim.clip_each": Case(
        _clip,
        st.fixed_dictionaries({"max_norm": scalars(1e-3, 1.0, 1e3), "gradients": trees()}),
        _check_clip,
        {"max_norm": bad_positive},
    ),
    "optim.clip_parts": Case(
        _clip_parts,
        st.fixed_dictionaries({"max_norm": scalars(1e-3, 1.0, 1e3), "gradients": trees()}),
        _check_clip_parts,
        {"max_norm": bad_positive},
    ),
    "optim.vit_rates": Case(
        lambda **factors: optim.vit_rates(**factors)(_VIT),
        st.fixed_dictionaries({"layer_decay": scalars(0.5, 1.0), "patch_embedding": scalars(0.25, 2.0)}),
        _check_vit_rates,
        {"layer_decay": lambda a: [*bad_probability(a), 0.0], "patch_embedding": bad_positive},
        compiled=False,
    ),
    "optim.scale_rates": Case(
        _scale_rates,
        st.fixed_dictionaries({"tree": trees(2, scales=(1.0, 1e4)), "factor": st.sampled_from([0.5, 1.0])}),
        _check_scale_rates,
    ),
    "optim.freeze": Case(_freeze, st.fixed_dictionaries({"tree": trees(2, scales=(1.0, 1e4))}), _check_freeze),
    "optim.named": Case(
        lambda *, names: optim.named(*names)({"head": {"w": 1.0, "b": 2.0}, "w": 3.0}),
        st.fixed_dictionaries({"names": st.sampled_from([("b",), ("b", "head"), ("w", "b", "head")])}),
        _check_named,
        compiled=False,
    ),
    "optim.hold": Case(
        _hold,
        st.fixed_dictionaries({"steps": st.sampled_from([0, 1, 2]), "tree": trees(2)}),
        _check_hold,
        {"steps": values(-1, 1.5, "1", None)},
    ),
}
