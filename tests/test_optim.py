"""Optimisers and schedules against the original code, the moving average against its closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sslax import optim


@pytest.mark.parametrize("order", ["byol", "simclr"])
@pytest.mark.parametrize("case", range(4))
def test_lars_golden(golden, case, order):
    g = golden(f"lars_{case}")
    hyper = g["hyper"]
    rates = jnp.asarray(g["lr"])
    tx = optim.lars(
        lambda step: rates[step],
        weight_decay=hyper["weight_decay"],
        momentum=hyper["momentum"],
        trust_coefficient=hyper["eta"],
        lr_after_momentum=order == "byol",
    )
    start = {k.removeprefix("param_"): jnp.asarray(v) for k, v in g.items() if k.startswith("param_")}
    params, state = start, tx.init(start)
    update = jax.jit(tx.update)
    for step in range(len(rates)):
        gradient = {name: jnp.asarray(g[f"grad_{name}"][step]) for name in params}
        updates, state = update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        for name, value in params.items():
            expected = g[f"{order}_{name}"][step]
            moved = np.abs(expected - np.asarray(start[name])).max()
            tolerance = 1e-5 * moved + 2e-7 * np.abs(np.asarray(start[name])).max()
            np.testing.assert_allclose(value, expected, rtol=0, atol=tolerance, err_msg=f"{name} at step {step}")


def test_the_two_orders_of_lars_part_under_warmup():
    rate = optim.warmup_cosine(0.5, warmup_steps=20, steps=40)
    params = {"w": jnp.ones((3, 3))}

    def run(**order):
        tx = optim.lars(rate, weight_decay=0.0, **order)
        p, state = params, tx.init(params)
        for _ in range(20):
            updates, state = tx.update(jax.tree.map(jnp.ones_like, p), state, p)
            p = optax.apply_updates(p, updates)
        return float(jnp.abs(p["w"] - 1).max())

    assert run(lr_after_momentum=True) / run(lr_after_momentum=False) > 1.3


def test_clipped_lars_is_larc():
    """NVIDIA's LARC and solo-learn's LARS as loops: the lower of a tensor's rate and the scheduled one."""
    rng = np.random.default_rng(0)
    rates, coefficient, decay = (0.0, 0.3, 0.1, 0.02), 0.02, 1e-3
    start = {"w": rng.normal(size=(3, 4)).astype(np.float32), "b": rng.normal(size=4).astype(np.float32)}
    gradients = [
        {name: (scale * rng.normal(size=p.shape)).astype(np.float32) for name, p in start.items()}
        for scale in (1.0, 1.0, 0.01, 100.0)
    ]
    tx = optim.lars(lambda step: jnp.asarray(rates)[step], weight_decay=decay, trust_coefficient=coefficient, clip=True)
    params = jax.tree.map(jnp.asarray, start)
    state = tx.init(params)
    expected, momentum = dict(start), {name: np.zeros_like(p) for name, p in start.items()}
    clipped = []
    for rate, gradient in zip(rates, gradients, strict=True):
        updates, state = tx.update(jax.tree.map(jnp.asarray, gradient), state, params)
        params = optax.apply_updates(params, updates)
        for name, p in expected.items():
            g = gradient[name]
            if p.ndim > 1:
                g = g + decay * p
                own = coefficient * np.linalg.norm(p) / np.linalg.norm(g)
                clipped.append(own < rate)
                g = g * (min(own / rate, 1) if rate else 1)
            momentum[name] = 0.9 * momentum[name] + g
            expected[name] = p - rate * momentum[name]
            np.testing.assert_allclose(params[name], expected[name], rtol=2e-5, atol=1e-6)
    assert clipped == [False, True, False, True]


@pytest.mark.parametrize("make", [optim.lars, optim.sgd, optim.adamw])
def test_biases_and_norms_are_not_decayed(make):
    params = {"dense": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}, "norm": {"scale": jnp.ones(2)}}
    tx = make(0.1, weight_decay=0.5)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    assert float(jnp.abs(updates["dense"]["kernel"]).max()) > 0
    np.testing.assert_array_equal(updates["dense"]["bias"], 0)
    np.testing.assert_array_equal(updates["norm"]["scale"], 0)


@pytest.mark.parametrize("case", range(4))
def test_simclr_schedule_golden(golden, case):
    g = golden(f"schedule_simclr_{case}")
    hyper = g["hyper"]
    rule = hyper["scaling"]
    peak = optim.scaled_learning_rate(hyper["base_learning_rate"], hyper["batch_size"], rule=rule)
    schedule = optim.warmup_cosine(peak, warmup_steps=int(g["warmup_steps"]), steps=int(g["total_steps"]))
    actual = schedule(jnp.arange(len(g["lr"])))
    np.testing.assert_allclose(actual, g["lr"], atol=1e-5 * g["lr"].max())


def test_dino_convention_has_both_ends_of_the_warmup():
    schedule = optim.warmup_cosine(2.0, warmup_steps=5, steps=15, end=0.5, convention="dino")
    values = np.asarray(schedule(jnp.arange(15)))
    expected = np.concatenate([np.linspace(0, 2, 5), 0.5 + 0.5 * 1.5 * (1 + np.cos(np.pi * np.arange(10) / 10))])
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    assert values[4] == values[5] == 2.0
    assert values[-1] > 0.5


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"warmup_steps": 11, "steps": 10}, "warmup_steps is 11"),
        ({"warmup_steps": -1, "steps": 10}, "warmup_steps is -1"),
        ({"warmup_steps": 0, "steps": 0}, "steps is 0"),
        ({"warmup_steps": 0, "steps": 9, "convention": "torch"}, "convention is 'torch'"),
    ],
)
def test_schedule_names_what_is_wrong(options, says):
    with pytest.raises(ValueError, match=says):
        getattr(optim.warmup_cosine, "__wrapped__", optim.warmup_cosine)(1.0, **options)


def test_ema_is_its_closed_form():
    decays = [0.9, 0.5, 0.99]
    online = [{"a": jnp.full(3, float(k)), "b": (jnp.full((2, 2), -float(k)),)} for k in range(4)]
    target = online[0]
    for decay, new in zip(decays, online[1:], strict=True):
        target = jax.jit(optim.ema_update)(target, new, decay)
    expected = 0.0
    for decay, k in zip(decays, range(1, 4), strict=True):
        expected = decay * expected + (1 - decay) * k
    np.testing.assert_allclose(target["a"], expected, rtol=1e-6)
    np.testing.assert_allclose(target["b"][0], -expected, rtol=1e-6)


def test_ema_ends_are_exact():
    online, target = {"w": jnp.asarray([1e-3, 3.0])}, {"w": jnp.asarray([2.0, 1e4])}
    np.testing.assert_array_equal(optim.ema_update(target, online, 1.0)["w"], target["w"])
    np.testing.assert_array_equal(optim.ema_update(online, online, 0.3)["w"], online["w"])
    np.testing.assert_allclose(optim.ema_update(target, online, 0.0)["w"], online["w"], rtol=0, atol=1e-3)


def test_ema_names_what_is_wrong():
    with pytest.raises(ValueError, match=r"decay is 1\.5"):
        optim.ema_update({"w": jnp.ones(2)}, {"w": jnp.ones(2)}, 1.5)
    with pytest.raises(ValueError, match=r"target\['w'\] has shape \(2,\)"):
        optim.ema_update({"w": jnp.ones(2)}, {"w": jnp.ones(3)}, 0.5)
    with pytest.raises(ValueError, match="must be the same"):
        optim.ema_update({"w": jnp.ones(2)}, {"v": jnp.ones(2)}, 0.5)


def test_byol_decay_goes_from_base_to_one():
    schedule = optim.cosine_ema_decay(0.99, 100)
    np.testing.assert_allclose([schedule(0), schedule(50), schedule(100)], [0.99, 0.995, 1.0], rtol=1e-6)


@pytest.mark.parametrize("case", range(4))
def test_byol_schedules_golden(golden, case):
    g = golden(f"schedule_byol_{case}")
    h = g["hyper"]
    steps = np.arange(h["max_steps"] + 1)
    decay = optim.cosine_ema_decay(h["base_ema"], h["max_steps"])
    np.testing.assert_allclose(decay(jnp.asarray(steps)), g["tau"], atol=1e-6)
    peak = optim.scaled_learning_rate(h["base_learning_rate"], h["batch_size"])
    rate = optim.warmup_cosine(peak, warmup_steps=h["warmup_steps"], steps=h["max_steps"])
    np.testing.assert_allclose(rate(jnp.asarray(steps)), g["lr"], atol=1e-6 * g["lr"].max())


@pytest.mark.parametrize("case", range(4))
def test_dino_schedules_golden(golden, case):
    g = golden(f"schedule_dino_{case}")
    h = g["hyper"]
    steps = len(g["lr"])
    at = jnp.arange(steps)
    rate = optim.warmup_cosine(
        h["base_lr"],
        warmup_steps=h["warmup_epochs"] * h["niter_per_ep"],
        steps=steps,
        start=h["start_warmup_value"],
        end=h["min_lr"],
        convention="dino",
    )
    np.testing.assert_allclose(rate(at), g["lr"], atol=1e-6 * g["lr"].max())
    decay = optim.warmup_cosine(h["wd"], warmup_steps=0, steps=steps, end=h["wd_end"], convention="dino")
    np.testing.assert_allclose(decay(at), g["weight_decay"], atol=1e-6 * g["weight_decay"].max())
    np.testing.assert_allclose(optim.cosine_ema_decay(h["momentum"], steps)(at), g["momentum"], atol=1e-6)


@pytest.mark.parametrize("case", range(4))
def test_dino_optimiser_golden(golden, case):
    """Clip, AdamW with both schedules, a last layer that is left alone, the teacher's average: twelve steps of each."""
    g = golden(f"dino_adamw_{case}")
    h, names = g["hyper"], [str(name) for name in g["names"]]
    steps, epoch = len(g["lr"]), h["niter_per_ep"]
    rate = optim.warmup_cosine(
        h["base_lr"], warmup_steps=h["warmup_epochs"] * epoch, steps=steps, end=h["min_lr"], convention="dino"
    )
    decay = optim.warmup_cosine(h["wd"], warmup_steps=0, steps=steps, end=h["wd_end"], convention="dino")
    momentum = optim.cosine_ema_decay(h["momentum"], steps)
    tx = optax.chain(optim.clip_each(h["clip"]), optim.adamw(rate, weight_decay=decay))
    tx = optim.hold(
        tx, lambda params: {name: "last_layer" in name for name in params}, steps=h["freeze_last_layer"] * epoch
    )
    student = {name: jnp.asarray(g[f"param|{name}"]) for name in names}
    start, teacher, state, update = student, student, tx.init(student), jax.jit(tx.update)
    for step in range(steps):
        gradients = {name: jnp.asarray(g[f"grad|{name}"][step]) for name in names}
        updates, state = update(gradients, state, student)
        student = optax.apply_updates(student, updates)
        teacher = optim.ema_update(teacher, student, momentum(step))
        for name in names:
            wanted = g[f"student|{name}"][step]
            np.testing.assert_allclose(student[name], wanted, rtol=0, atol=5e-6 * np.abs(wanted).max(), err_msg=name)
        if step < h["freeze_last_layer"] * epoch:
            np.testing.assert_array_equal(student["last_layer.weight_v"], start["last_layer.weight_v"])
    for name in names:
        wanted = g[f"teacher|{name}"]
        np.testing.assert_allclose(teacher[name], wanted, rtol=0, atol=5e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("make", [optim.lars, optim.sgd, optim.adamw])
def test_held_parameters_start_anew_under_the_schedule_as_it_then_is(make):
    """After the hold, a parameter moves as under a new optimiser whose schedule has already come so far."""
    rate = optim.warmup_cosine(0.1, warmup_steps=4, steps=20)
    params = {"a": jnp.ones((2, 2)), "b": jnp.full((2, 2), 2.0)}
    gradients = [{"a": jnp.full((2, 2), 0.1 * k), "b": jnp.full((2, 2), -0.2 * k)} for k in range(1, 9)]
    held = optim.hold(make(rate, weight_decay=0.1), lambda params: {"a": False, "b": True}, steps=5)
    late = make(lambda step: rate(step + 5), weight_decay=0.1)
    state, p = held.init(params), params
    late_p, late_state = params["b"], late.init(params["b"])
    for step, gradient in enumerate(gradients):
        updates, state = held.update(gradient, state, p)
        p = optax.apply_updates(p, updates)
        if step >= 5:
            updates, late_state = late.update(gradient["b"], late_state, late_p)
            late_p = optax.apply_updates(late_p, updates)
        np.testing.assert_allclose(p["b"], late_p, rtol=1e-6)
    assert float(jnp.abs(p["b"] - params["b"]).max()) > 1e-5


def test_frozen_parameters_never_change():
    """Neither by a gradient nor by weight decay; the others move as they would alone."""
    params = {"patch_embedding": {"kernel": jnp.ones((2, 2))}, "head": {"kernel": jnp.ones((2, 2))}}
    gradients = jax.tree.map(lambda p: 0.3 * p, params)
    adamw = optim.adamw(0.1, weight_decay=0.5)
    tx = optim.freeze(adamw, optim.named("patch_embedding"))
    updates, state = tx.update(gradients, tx.init(params), params)
    np.testing.assert_array_equal(updates["patch_embedding"]["kernel"], 0)
    alone, _ = adamw.update(gradients["head"], adamw.init(params["head"]), params["head"])
    np.testing.assert_array_equal(updates["head"]["kernel"], alone["kernel"])
    # A frozen parameter takes no memory in the optimiser.
    assert sum(x.size for x in jax.tree.leaves(state) if x.ndim > 1) == 2 * params["head"]["kernel"].size


@pytest.mark.parametrize("case", range(4))
def test_moco_and_barlow_schedules_golden(golden, case):
    """Fractional epochs are steps: MoCo v3's rate and momentum, and Barlow Twins' rate that ends at a thousandth."""
    g = golden(f"schedule_moco_barlow_{case}")
    moco, barlow, per_epoch = g["hyper"]["moco"], g["hyper"]["barlow"], g["hyper"]["niter_per_ep"]
    steps, at = moco["epochs"] * per_epoch, jnp.arange(moco["epochs"] * per_epoch)
    rate = optim.warmup_cosine(moco["lr"], warmup_steps=moco["warmup_epochs"] * per_epoch, steps=steps)
    np.testing.assert_allclose(rate(at), g["moco_lr"], atol=1e-6 * moco["lr"])
    np.testing.assert_allclose(optim.cosine_ema_decay(moco["moco_m"], steps)(at), g["moco_momentum"], atol=1e-6)
    steps = barlow["epochs"] * per_epoch
    for column, name in enumerate(("learning_rate_weights", "learning_rate_biases")):
        peak = barlow[name] * barlow["batch_size"] / 256
        rate = optim.warmup_cosine(peak, warmup_steps=10 * per_epoch, steps=steps, end=peak / 1000)
        np.testing.assert_allclose(rate(jnp.arange(steps)), g["barlow_lr"][:, column], atol=1e-6 * peak)


def test_clip_is_each_tensors_own():
    tx = optim.clip_each(1.0)
    gradients = {"long": jnp.asarray([30.0, 40.0]), "short": jnp.asarray([0.3, 0.4]), "zero": jnp.zeros(2)}
    clipped, _ = tx.update(gradients, tx.init(gradients))
    np.testing.assert_allclose(clipped["long"], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(clipped["short"], gradients["short"])
    np.testing.assert_array_equal(clipped["zero"], 0)
    with pytest.raises(ValueError, match="max_norm is 0; it must be a finite number above 0"):
        optim.clip_each(0)
