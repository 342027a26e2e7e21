"""Optimisers and schedules against the original code, the moving average against its closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sslax import optim


def run(txs, params, gradients):
    """The parameters after each step of each of several optimisers, all of which one program takes."""

    @jax.jit
    def step(states, gradient):
        taken = [tx.update(gradient, state, params) for tx, (params, state) in zip(txs, states, strict=True)]
        return [
            (optax.apply_updates(params, updates), state)
            for (updates, state), (params, _) in zip(taken, states, strict=True)
        ]

    states = jax.jit(lambda params: [(params, tx.init(params)) for tx in txs])(params)
    paths = [[] for _ in txs]
    for gradient in gradients:
        states = step(states, gradient)
        for path, (after, _) in zip(paths, jax.device_get(states), strict=True):
            path.append(after)
    return paths


@pytest.mark.parametrize("case", range(4))
def test_lars_golden(golden, case):
    """BYOL's and SimCLR's order."""
    g = golden(f"lars_{case}")
    hyper, orders = g["hyper"], ("byol", "simclr")
    rates = jnp.asarray(g["lr"])
    txs = [
        optim.lars(
            lambda step: rates[step],
            weight_decay=hyper["weight_decay"],
            momentum=hyper["momentum"],
            trust_coefficient=hyper["eta"],
            lr_after_momentum=order == "byol",
        )
        for order in orders
    ]
    start = {k.removeprefix("param_"): v for k, v in g.items() if k.startswith("param_")}
    gradients = [{name: g[f"grad_{name}"][step] for name in start} for step in range(len(rates))]
    for order, path in zip(orders, run(txs, start, gradients), strict=True):
        for step, params in enumerate(path):
            for name, value in params.items():
                expected = g[f"{order}_{name}"][step]
                moved = np.abs(expected - start[name]).max()
                tolerance = 1e-5 * moved + 2e-7 * np.abs(start[name]).max()
                np.testing.assert_allclose(value, expected, rtol=0, atol=tolerance, err_msg=f"{name} at step {step}")


def test_the_two_orders_of_lars_part_under_warmup():
    rate = optim.warmup_cosine(0.5, warmup_steps=20, steps=40)
    txs = [optim.lars(rate, weight_decay=0.0, lr_after_momentum=after) for after in (True, False)]
    ones = {"w": np.ones((3, 3), np.float32)}
    byol, simclr = (np.abs(path[-1]["w"] - 1).max() for path in run(txs, ones, [ones] * 20))
    assert byol / simclr > 1.3


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
    (path,) = run([tx], start, gradients)
    expected, momentum = dict(start), {name: np.zeros_like(p) for name, p in start.items()}
    clipped = []
    for rate, gradient, params in zip(rates, gradients, path, strict=True):
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


def test_biases_and_norms_are_not_decayed():
    params = {"dense": {"kernel": np.ones((2, 2)), "bias": np.ones(2)}, "norm": {"scale": np.ones(2)}}
    params = jax.tree.map(np.float32, params)
    txs = [make(0.1, weight_decay=0.5) for make in (optim.lars, optim.sgd, optim.adamw)]
    for (after,) in run(txs, params, [jax.tree.map(np.zeros_like, params)]):
        assert np.abs(after["dense"]["kernel"] - 1).max() > 0
        np.testing.assert_array_equal(after["dense"]["bias"], 1)
        np.testing.assert_array_equal(after["norm"]["scale"], 1)


def values(*schedules, steps):
    """The schedules at the first steps, by one program."""
    return jax.device_get(jax.jit(lambda at: [schedule(at) for schedule in schedules])(np.arange(steps)))


@pytest.mark.parametrize("case", range(4))
def test_simclr_schedule_golden(golden, case):
    g = golden(f"schedule_simclr_{case}")
    hyper = g["hyper"]
    rule = hyper["scaling"]
    peak = optim.scaled_learning_rate(hyper["base_learning_rate"], hyper["batch_size"], rule=rule)
    schedule = optim.warmup_cosine(peak, warmup_steps=int(g["warmup_steps"]), steps=int(g["total_steps"]))
    (actual,) = values(schedule, steps=len(g["lr"]))
    np.testing.assert_allclose(actual, g["lr"], atol=1e-5 * g["lr"].max())


def test_dino_convention_has_both_ends_of_the_warmup():
    schedule = optim.warmup_cosine(2.0, warmup_steps=5, steps=15, end=0.5, convention="dino")
    (rates,) = values(schedule, steps=15)
    expected = np.concatenate([np.linspace(0, 2, 5), 0.5 + 0.5 * 1.5 * (1 + np.cos(np.pi * np.arange(10) / 10))])
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    assert rates[4] == rates[5] == 2.0
    assert rates[-1] > 0.5


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
    online = [{"a": np.full(3, k, np.float32), "b": (np.full((2, 2), -k, np.float32),)} for k in range(4)]
    target, update = online[0], jax.jit(optim.ema_update)
    for decay, new in zip(decays, online[1:], strict=True):
        target = update(target, new, decay)
    expected = 0.0
    for decay, k in zip(decays, range(1, 4), strict=True):
        expected = decay * expected + (1 - decay) * k
    np.testing.assert_allclose(target["a"], expected, rtol=1e-6)
    np.testing.assert_allclose(target["b"][0], -expected, rtol=1e-6)


def test_ema_ends_are_exact():
    online, target = {"w": np.array([1e-3, 3.0], np.float32)}, {"w": np.array([2.0, 1e4], np.float32)}
    update = jax.jit(lambda target, online, decay: optim.ema_update(target, online, decay)["w"])
    np.testing.assert_array_equal(update(target, online, 1.0), target["w"])
    np.testing.assert_array_equal(update(online, online, 0.3), online["w"])
    np.testing.assert_allclose(update(target, online, 0.0), online["w"], rtol=0, atol=1e-3)


def test_ema_names_what_is_wrong():
    with pytest.raises(ValueError, match=r"decay is 1\.5"):
        optim.ema_update({"w": np.ones(2, np.float32)}, {"w": np.ones(2, np.float32)}, 1.5)
    with pytest.raises(ValueError, match=r"target\['w'\] has shape \(2,\)"):
        optim.ema_update({"w": np.ones(2, np.float32)}, {"w": np.ones(3, np.float32)}, 0.5)
    with pytest.raises(ValueError, match="must be the same"):
        optim.ema_update({"w": np.ones(2, np.float32)}, {"v": np.ones(2, np.float32)}, 0.5)


def test_byol_decay_goes_from_base_to_one():
    schedule = optim.cosine_ema_decay(0.99, 100)
    (decays,) = values(schedule, steps=101)
    np.testing.assert_allclose(decays[[0, 50, 100]], [0.99, 0.995, 1.0], rtol=1e-6)


@pytest.mark.parametrize("case", range(4))
def test_byol_schedules_golden(golden, case):
    g = golden(f"schedule_byol_{case}")
    h = g["hyper"]
    decay = optim.cosine_ema_decay(h["base_ema"], h["max_steps"])
    peak = optim.scaled_learning_rate(h["base_learning_rate"], h["batch_size"])
    rate = optim.warmup_cosine(peak, warmup_steps=h["warmup_steps"], steps=h["max_steps"])
    decays, rates = values(decay, rate, steps=h["max_steps"] + 1)
    np.testing.assert_allclose(decays, g["tau"], atol=1e-6)
    np.testing.assert_allclose(rates, g["lr"], atol=1e-6 * g["lr"].max())


@pytest.mark.parametrize("case", range(4))
def test_dino_schedules_golden(golden, case):
    g = golden(f"schedule_dino_{case}")
    h = g["hyper"]
    steps = len(g["lr"])
    rate = optim.warmup_cosine(
        h["base_lr"],
        warmup_steps=h["warmup_epochs"] * h["niter_per_ep"],
        steps=steps,
        start=h["start_warmup_value"],
        end=h["min_lr"],
        convention="dino",
    )
    decay = optim.warmup_cosine(h["wd"], warmup_steps=0, steps=steps, end=h["wd_end"], convention="dino")
    momentum = optim.cosine_ema_decay(h["momentum"], steps)
    rates, decays, momenta = values(rate, decay, momentum, steps=steps)
    np.testing.assert_allclose(rates, g["lr"], atol=1e-6 * g["lr"].max())
    np.testing.assert_allclose(decays, g["weight_decay"], atol=1e-6 * g["weight_decay"].max())
    np.testing.assert_allclose(momenta, g["momentum"], atol=1e-6)


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
    start = {name: g[f"param|{name}"] for name in names}

    @jax.jit
    def update(student, teacher, state, gradients, step):
        updates, state = tx.update(gradients, state, student)
        student = optax.apply_updates(student, updates)
        return student, optim.ema_update(teacher, student, momentum(step)), state

    student, teacher, state = start, start, jax.jit(tx.init)(start)
    for step in range(steps):
        gradients = {name: g[f"grad|{name}"][step] for name in names}
        student, teacher, state = update(student, teacher, state, gradients, step)
        for name in names:
            wanted = g[f"student|{name}"][step]
            np.testing.assert_allclose(student[name], wanted, rtol=0, atol=5e-6 * np.abs(wanted).max(), err_msg=name)
        if step < h["freeze_last_layer"] * epoch:
            np.testing.assert_array_equal(student["last_layer.weight_v"], start["last_layer.weight_v"])
    for name in names:
        wanted = g[f"teacher|{name}"]
        np.testing.assert_allclose(teacher[name], wanted, rtol=0, atol=5e-6 * np.abs(wanted).max())


def test_held_parameters_start_anew_under_the_schedule_as_it_then_is():
    """After the hold, a parameter moves as under a new optimiser whose schedule has already come so far."""
    rate = optim.warmup_cosine(0.1, warmup_steps=4, steps=20)
    makes = (optim.lars, optim.sgd, optim.adamw)
    params = {"a": np.ones((2, 2), np.float32), "b": np.full((2, 2), 2.0, np.float32)}
    shape = np.ones((2, 2), np.float32)
    gradients = [{"a": 0.1 * k * shape, "b": -0.2 * k * shape} for k in range(1, 9)]
    held = [optim.hold(make(rate, weight_decay=0.1), lambda p: {"a": False, "b": True}, steps=5) for make in makes]
    late = [make(lambda step: rate(step + 5), weight_decay=0.1) for make in makes]
    paths = zip(run(held, params, gradients), run(late, params["b"], [g["b"] for g in gradients[5:]]), strict=True)
    for path, late_path in paths:
        for step, after in enumerate(path):
            wanted = late_path[step - 5] if step >= 5 else params["b"]
            np.testing.assert_allclose(after["b"], wanted, rtol=1e-6)
        assert np.abs(path[-1]["b"] - params["b"]).max() > 1e-5


def test_frozen_parameters_never_change():
    """Neither by a gradient nor by weight decay; the others move as they would alone."""
    kernel = {"kernel": np.ones((2, 2), np.float32)}
    params = {"patch_embedding": kernel, "head": kernel}
    gradients = jax.tree.map(lambda p: 0.3 * p, params)
    adamw = optim.adamw(0.1, weight_decay=0.5)
    tx = optim.freeze(adamw, optim.named("patch_embedding"))

    @jax.jit
    def update(gradients, params):
        alone, _ = adamw.update(gradients["head"], adamw.init(params["head"]), params["head"])
        return *tx.update(gradients, tx.init(params), params), alone

    updates, state, alone = update(gradients, params)
    np.testing.assert_array_equal(updates["patch_embedding"]["kernel"], 0)
    np.testing.assert_array_equal(updates["head"]["kernel"], alone["kernel"])
    # A frozen parameter takes no memory in the optimiser.
    assert sum(x.size for x in jax.tree.leaves(state) if x.ndim > 1) == 2 * params["head"]["kernel"].size


@pytest.mark.parametrize("case", range(4))
def test_moco_and_barlow_schedules_golden(golden, case):
    """Fractional epochs are steps: MoCo v3's rate and momentum, and Barlow Twins' rate that ends at a thousandth."""
    g = golden(f"schedule_moco_barlow_{case}")
    moco, barlow, per_epoch = g["hyper"]["moco"], g["hyper"]["barlow"], g["hyper"]["niter_per_ep"]
    steps = moco["epochs"] * per_epoch
    rate = optim.warmup_cosine(moco["lr"], warmup_steps=moco["warmup_epochs"] * per_epoch, steps=steps)
    rates, momenta = values(rate, optim.cosine_ema_decay(moco["moco_m"], steps), steps=steps)
    np.testing.assert_allclose(rates, g["moco_lr"], atol=1e-6 * moco["lr"])
    np.testing.assert_allclose(momenta, g["moco_momentum"], atol=1e-6)
    steps = barlow["epochs"] * per_epoch
    peaks = [barlow[name] * barlow["batch_size"] / 256 for name in ("learning_rate_weights", "learning_rate_biases")]
    schedules = [optim.warmup_cosine(p, warmup_steps=10 * per_epoch, steps=steps, end=p / 1000) for p in peaks]
    for column, (peak, rates) in enumerate(zip(peaks, values(*schedules, steps=steps), strict=True)):
        np.testing.assert_allclose(rates, g["barlow_lr"][:, column], atol=1e-6 * peak)


def test_clip_is_each_tensors_own():
    tx = optim.clip_each(1.0)
    gradients = {"long": [30.0, 40.0], "short": [0.3, 0.4], "zero": [0.0, 0.0]}
    gradients = {name: np.array(gradient, np.float32) for name, gradient in gradients.items()}
    clipped = jax.jit(lambda gradients: tx.update(gradients, tx.init(gradients))[0])(gradients)
    np.testing.assert_allclose(clipped["long"], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(clipped["short"], gradients["short"])
    np.testing.assert_array_equal(clipped["zero"], 0)
    with pytest.raises(ValueError, match="max_norm is 0; it must be a finite number above 0"):
        optim.clip_each(0)
