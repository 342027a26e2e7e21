"""The report of a pretraining run: collects its contents from the run."""

import math
import time
from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from sslax import processes
from sslax.augment import eval_view
from sslax.config import Config, to_dict
from sslax.data import Dataset, LazyDataset
from sslax.report import Report, attention_overlay, environment, patch_pictures, project_2d, write_report
from sslax.runs import RunDir
from sslax.training import Built, Embedder, TrainState

_GRID_ROWS = 8
_PROJECTED = 600


def write_run_report(
    run: RunDir,
    name: str,
    method_name: str,
    config: Config,
    built: Built,
    data: Dataset | LazyDataset,
    state: TrainState,
    result: Mapping[str, Mapping[str, float]],
    *,
    command: str,
) -> None:
    """Write `report.html` of a finished run. With several processes, all compute the contents and process 0 writes them."""
    shown = data.test or data.train
    # Evenly spaced over the split, because it is sorted by class.
    index = np.linspace(0, len(shown) - 1, min(_PROJECTED, len(shown))).astype(int)
    projected = shown.read(index)
    features = Embedder(built.method, built.mesh)(state, projected.images, projected.aspects)
    looked_at = np.linspace(0, len(shown) - 1, min(_GRID_ROWS, len(shown))).astype(int)
    images, aspects, _ = shown.read(looked_at)
    maps, patches = attention_and_patches(built, state, images, aspects)
    seen = evaluation_view(config, images, aspects)
    if not processes.first():
        return
    # A null in the file stands for a number that was not finite; the page counts these.
    metrics = [{key: math.nan if value is None else value for key, value in line.items()} for line in run.metrics()]
    summary = (
        f"{method_name} on {data.name}: {config.epochs} epochs of {len(data.train):,} images, "
        f"{metrics[-1]['seconds']:,.0f} s of training on {jax.device_count()} x {jax.devices()[0].device_kind}."
    )
    alarms = tuple(
        f"At step {line['step']}: {line['collapse']}; {line['collapse_sign']}" for line in metrics if "collapse" in line
    )
    notes = data.notes
    if not result:
        notes += ("The data has no labels or no test split, so there is no kNN, no linear probe and no table.",)
    write_report(
        run.report,
        Report(
            title=name,
            method_name=method_name,
            summary=summary,
            views=views_grid(built, config, data),
            view_names=("image", *config.method.views.branches()),
            attention=None if maps is None else attention_overlay(seen, maps),
            attention_names=() if maps is None else ("image", *(f"head {i + 1}" for i in range(maps.shape[1]))),
            patches=None if patches is None else patch_pictures(seen, patches),
            alarms=alarms,
            metrics=metrics,
            result=result or None,
            embedding=project_2d(features),
            embedding_labels=projected.labels,
            thumbnails=projected.images,
            classes=data.classes,
            config=to_dict(config),
            environment={
                **environment(),
                "command": command,
                "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            },
            notes=notes,
        ),
    )


def attention_and_patches(
    built: Built, state: TrainState, images: np.ndarray, aspects: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Attention maps [n, heads, rows, columns] and patch features [n, rows, columns, d]; None where the method has none."""
    functions = built.method.attention, built.method.patches
    if functions == (None, None):
        return None, None

    def both(*arguments):
        return [None if function is None else function(*arguments) for function in functions]

    # One program, because both come from the same forward pass. Its outputs are replicated on every device, so that each
    # process can read whole arrays.
    compiled = jax.jit(both, out_shardings=jax.NamedSharding(built.mesh, jax.P()))
    maps, patches = compiled(state.params, state.aux, images, _or_none(aspects))
    return None if maps is None else np.asarray(maps), None if patches is None else np.asarray(patches)


def evaluation_view(config: Config, images: np.ndarray, aspects: np.ndarray) -> np.ndarray:
    """The part of images that the network sees in evaluation, at its size: uint8 [n, size, size, 3]."""
    recipe = config.method.views
    view = jax.jit(partial(eval_view, size=recipe.size, interpolation=recipe.interpolation))
    return (np.asarray(view(images, aspects=_or_none(aspects))) * 255 + 0.5).astype(np.uint8)


def _or_none(aspects: np.ndarray) -> np.ndarray | None:
    return aspects if (aspects != 1).any() else None


def views_grid(built: Built, config: Config, data: Dataset | LazyDataset) -> np.ndarray:
    """Training images, each with views of it as the network sees them: uint8 [rows, 1 + views, size, size, 3]."""
    index = np.linspace(0, len(data.train) - 1, min(_GRID_ROWS, len(data.train))).astype(int)
    images, aspects, _ = data.train.read(index)
    recipe = config.method.views
    views = jax.jit(built.method.views)(jax.random.key(config.seed), images, aspects)
    side = recipe.size
    whole = jax.image.resize(jnp.asarray(images, jnp.float32) / 255, (len(index), side, side, 3), "linear")
    mean, std = np.asarray(recipe.mean or (0, 0, 0)), np.asarray(recipe.std or (1, 1, 1))
    # Smaller crops are enlarged to the size of the others with nearest-neighbour interpolation.
    same = [jax.image.resize(view, (len(index), side, side, 3), "nearest") for view in views]
    visible = [np.asarray(whole), *(np.asarray(view) * std + mean for view in same)]
    return (np.clip(np.stack(visible, axis=1), 0, 1) * 255 + 0.5).astype(np.uint8)
