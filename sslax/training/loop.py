"""The training loop of a run: steps, metrics, evaluation, checkpoints, and stopping on request."""

import functools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import jax

from sslax import optim, processes
from sslax.config import Config
from sslax.data import Dataset, LazyDataset
from sslax.data.feed import epoch_order, resident
from sslax.data.stream import stream
from sslax.errors import InputError
from sslax.runs.checkpoints import Checkpoints
from sslax.runs.run_dir import RunDir, facts
from sslax.training.build import Built
from sslax.training.images import feed_of
from sslax.training.nonfinite import check_finite, check_weights, guarded
from sslax.training.probe import OnlineProbe, feature_width
from sslax.training.quality import can_measure, measure
from sslax.training.resume import resume
from sslax.training.state import TrainState, init_state
from sslax.training.step import Embedder, compile_steps, compile_update, make_step, make_update, steps_at_most
from sslax.training.watch import Watch


class Interrupted(Exception):
    """The run was asked to stop; its state is saved, and the same command resumes it."""


class Collapsed(Exception):
    """The features have collapsed and `on_collapse` is stop; the state is saved."""


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether Ctrl-C or SIGTERM arrived; a second signal ends the process as usual."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread can handle signals; in other threads the caller decides when to stop.
        yield asked.is_set
        return
    previous: dict[signal.Signals, Any] = {}

    def handle(number, frame):
        asked.set()
        signal.signal(number, previous[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, handle)
    try:
        yield asked.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def start_state(config: Config, built: Built) -> TrainState:
    """The initial state of a run of this configuration, with the untrained network."""
    if built.programs is not None:
        return built.programs.start(jax.random.key(config.seed))
    return init_state(
        built.method, built.tx, jax.random.key(config.seed), built.image_shape, built.mesh, fsdp=config.fsdp
    )


def fit(
    config: Config,
    built: Built,
    data: Dataset | LazyDataset,
    run: RunDir,
    *,
    follow: Callable[[dict[str, Any]], None] = lambda line: None,
    until: Callable[[], bool] = lambda: False,
) -> TrainState:
    """Train to the end, starting from the newest intact checkpoint of `run` if there is one.

    Args:
      config: a configuration that has passed `check`.
      built: the objects built from it for `data`.
      data: the images; a listed set is streamed, others follow `config.feed`.
      run: the folder for metrics and checkpoints.
      follow: called with each line of metrics as it is written; a resumed run first calls it with the events of `resume`.
      until: called between steps; when it returns True, the run stops as after Ctrl-C.

    Returns:
      The state after the last step.

    Raises:
      InputError: if the folder is not writable, its checkpoints are all damaged, a streamed image cannot be decoded, or an
        online probe is requested for images without labels.
      Interrupted: after Ctrl-C or SIGTERM, or when `until` returns True; the state is saved.
      Collapsed: if the collapse watch raises an alarm and `on_collapse` is stop.
      NonFinite: if the loss or its gradient is non-finite and `on_nan` is stop, or too many steps in a row are skipped.
    """
    if config.online_probe and not data.train.labelled:
        raise InputError(f"online_probe is on, but {data.name} has no labels for it; turn it off.")
    run.begin(facts(data))
    checkpoints = Checkpoints(run.checkpoints, keep=config.keep_checkpoints)
    try:
        state = start_state(config, built)
        probe = None
        if config.online_probe:
            width = feature_width(built.method.embed, state.params, state.aux, facts(data)["canvas"])
            probe = OnlineProbe(width, len(data.classes), built.mesh)
        state = resume(config, built, run, checkpoints, state, probe, follow)
        lines = processes.from_first(run.metrics)
        clock = _Clock(int(state.step), spent=max((line["seconds"] for line in lines), default=0.0))
        with asked_to_stop() as asked, _fed(config, built, data, state) as advance:

            def stop() -> bool:
                return asked() or until()

            return _train(config, built, data, run, lines, checkpoints, state, probe, clock, follow, stop, advance)
    finally:
        checkpoints.close()


@contextmanager
def _fed(config, built, data, state) -> Iterator[Callable[..., Any]]:
    """Yield `advance(state, step, most)`, which takes at most `most` steps from `step` and returns their number and results."""
    placed = jax.tree.map(lambda leaf: leaf.sharding, state)
    if feed_of(config, data, built.mesh) == "streamed":
        run = built.programs.update if built.programs else None
        if run is None:
            update = make_update(built.method, built.tx, accumulate=config.accumulate)
            run = compile_update(guarded(update, config.on_nan), built.mesh, placed=placed)
        sizes = {"batch_size": config.batch_size, "steps_per_epoch": built.steps_per_epoch}
        reads = {"start": int(state.step), "steps": built.steps, "workers": config.workers}
        with closing(stream(data.train, state.key, built.mesh, **sizes, **reads)) as batches:
            yield lambda state, step, most: (1, run(state, next(batches)))
        return

    per_call = steps_at_most(config.steps_per_call)
    steps = built.programs.steps if built.programs else None
    if steps is None:
        sizes = {"batch_size": config.batch_size, "steps_per_epoch": built.steps_per_epoch}
        take = make_step(built.method, built.tx, built.mesh, accumulate=config.accumulate, **sizes)
        steps = compile_steps(guarded(take, config.on_nan), built.mesh, placed=placed, at_most=per_call)
    images = resident(data.train.images, data.train.aspects, data.train.labels, built.mesh)
    of, order = -1, None

    def advance(state, step, most):
        nonlocal of, order
        epoch = step // built.steps_per_epoch
        if epoch != of:
            of, order = epoch, epoch_order(state.key, epoch, len(data.train))
        count = min(per_call, most)
        return count, steps(state, images, order, count)

    yield advance


def _train(config, built, data, run, lines, checkpoints, state, probe, clock, follow, stop, advance) -> TrainState:
    embedder = built.programs.features if built.programs else Embedder(built.method, built.mesh)
    # A single device evaluates features in device memory; with several, each would repeat the whole evaluation.
    stays = isinstance(embedder, Embedder) and built.mesh.size == 1 and isinstance(data, Dataset)
    embed = embedder.on_device if stays else embedder
    rate = _on_host(built.schedule)
    evaluates = config.eval_every > 0 and can_measure(data)

    for line in lines:
        # A run that stopped because of collapse must not continue when it is started again.
        if config.on_collapse == "stop" and "collapse" in line:
            raise _collapsed(line)
    watch = Watch(lines, warmup_steps=round(config.optim.warmup_epochs * built.steps_per_epoch))

    def finite():
        check_finite(config, built, state, images=len(data.train), metrics=run.metrics, saved=checkpoints.latest())

    def save(knn=None):
        finite()
        check_weights(state, saved=checkpoints.latest())
        jax.block_until_ready(state)
        with clock.paused():
            run.settle()
            checkpoints.save(state, None if probe is None else probe.state, knn=knn)

    step = int(state.step)
    while step < built.steps:
        epoch = step // built.steps_per_epoch
        epoch_end = (epoch + 1) * built.steps_per_epoch
        while step < epoch_end:
            # A call ends when a line of metrics is due, so the lines do not depend on the number of steps per call.
            due = min(epoch_end, (step // config.log_every + 1) * config.log_every)
            count, (state, metrics, seen) = advance(state, step, due - step)
            if probe is not None:
                metrics |= probe(seen.features, seen.labels)
            step += count
            ends_epoch = step == epoch_end
            evaluate_now = evaluates and ends_epoch and _due(epoch + 1, config.eval_every, config.epochs)
            due_line = step % config.log_every == 0 or evaluate_now or step == built.steps
            stopping, knn = _agreed(stop, due_line or ends_epoch, metrics), None
            if due_line:
                line = {"step": step, "epoch": step / built.steps_per_epoch}
                # In one transfer, because the device is idle until the line is complete.
                line |= {name: float(value) for name, value in jax.device_get(metrics).items()}
                skipped = int(state.faults.total) if config.on_nan == "skip" else 0
                line |= {"skipped": skipped} if config.on_nan == "skip" else {}
                # The optimiser counts its own updates, and a skipped step is not an update.
                line["lr"] = rate(step - 1 - skipped)
                line |= clock.lap(step, config.batch_size)
                finite()
                alarm = None
                with clock.paused():
                    if evaluate_now:
                        watched = {"probe": probe, "knn": config.knn, "workers": config.workers}
                        line |= measure(functools.partial(embed, state), data, **watched)
                    if config.on_collapse != "ignore":
                        alarm = watch(line, seen.features, rank=evaluate_now)
                if alarm is not None:
                    line |= {"collapse": alarm.mode, "collapse_sign": alarm.sentence}
                run.append(line)
                follow(line)
                knn = line.get("knn20")
                if alarm is not None and config.on_collapse == "stop":
                    save(knn)
                    raise _collapsed(line)
            due_now = ends_epoch and _due(epoch + 1, config.checkpoint_every, config.epochs)
            if stopping or due_now or checkpoints.is_best(knn):
                save(knn)
            if stopping and step < built.steps:
                raise Interrupted(f"Stopped after step {step} of {built.steps}; its state is saved.")
    return state


def _on_host(schedule: optim.Schedule) -> Callable[[int], float]:
    """The schedule, evaluated on the CPU backend if it is available."""
    value = jax.jit(schedule)
    try:
        host = jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return lambda step: float(value(step))

    def on_host(step: int) -> float:
        with jax.default_device(host):
            return float(value(step))

    return on_host


def _agreed(stop: Callable[[], bool], due: bool, metrics: dict[str, Any]) -> bool:
    """Whether to stop. Several processes agree when a line is due or an epoch ends, so that they stop at the same step."""
    if not processes.several():
        return stop()
    if due:
        # Programs that communicate across processes must run one at a time.
        jax.block_until_ready(metrics)
    return due and processes.any_of(stop())


def _collapsed(line: dict[str, Any]) -> Collapsed:
    return Collapsed(f"Stopped at step {line['step']}: {line['collapse']}; {line['collapse_sign']}")


def _due(epoch: int, every: int, last: int) -> bool:
    return epoch % every == 0 or epoch == last


class _Clock:
    """Measures the seconds of the whole run, and the images per second of its steps.

    The rate excludes the time while the clock is paused, and the first lap, which includes compilation.
    """

    def __init__(self, step: int, *, spent: float):
        self._step, self._time, self._compiled = step, time.perf_counter(), False
        self._start = self._time - spent

    def lap(self, step: int, batch_size: int) -> dict[str, float]:
        """The seconds of the run so far, and the rate since the last lap, except in the first lap."""
        now = time.perf_counter()
        rate = (step - self._step) * batch_size / (now - self._time)
        self._step, self._time = step, now
        first, self._compiled = not self._compiled, True
        return {"seconds": now - self._start} | ({} if first else {"images_per_s": rate})

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time inside the context from the rate."""
        start = time.perf_counter()
        yield
        self._time += time.perf_counter() - start
