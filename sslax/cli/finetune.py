"""Train a classifier on a pretrained network: `sslax finetune RUN --data folder:PATH`.

OUT (by default RUN/finetuned) gets the options, a line of metrics per evaluation, the weights (read them with
`sslax.finetuning.load_classifier`), the accuracies of each class, and a page. The weights are those with the best accuracy on
validation images, which are held out of the training split. The test split is used once, at the end. If you run the same
command again, it only shows the result. `--weights FILE` starts from a weights file in place of a run.
"""

import contextlib
import dataclasses
import functools
import json
import math
import shlex
import sys
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import tyro

from sslax.cli import dry_run, terminal
from sslax.cli.finetune_report import write_finetune_report
from sslax.cli.finetune_result import result_of, show
from sslax.cli.runs import folder_for, open_labelled, open_network, reading_of
from sslax.config import to_dict
from sslax.data import Dataset, Split
from sslax.errors import InputError
from sslax.evaluation import balanced_subset
from sslax.export import check_names
from sslax.files import expanded, printable
from sslax.finetuning import FinetuneOptions, Finetuner, held_out, save_classifier
from sslax.runs import RunDir
from sslax.runs.run_dir import facts
from sslax.training import Loaded, WeightsOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Fine-tune the network of a finished run on labelled images."""

    run: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[RUN]")] = None
    """Folder of the finished run; or give --weights."""
    data: str | None = None
    """Labelled images, in the format of sslax pretrain --data: folder:PATH with a folder per class; None uses the images of
    the run."""
    exif: bool = True
    """Rotate photographs upright by their EXIF orientation, if the run did too; --no-exif keeps the stored pixels."""
    background: str | None = None
    """Background colour behind transparent pixels, R,G,B from 0 to 255; None uses the run's colour."""
    out: str | None = None
    """Folder for weights, results and page; None is RUN/finetuned, or RUN/from-scratch with --from-scratch; RUN is
    runs/weights-NAME with --weights."""
    labels: float = 1.0
    """Fraction of the training labels to use; each class gives the same fraction, and at least one label."""
    validation: float = 0.1
    """Fraction of these images to hold out of each class for validation, to choose the best weights; with 0 the last
    weights are kept."""
    epochs: int = 30
    """Passes over the images to learn from; training takes at least training.steps steps."""
    from_scratch: bool = False
    """Start from the run's untrained network, to measure what pretraining adds."""
    seed: int = 0
    """Seed that chooses the labels and the validation images, and starts the training."""
    dry_run: bool = False
    """Show what the training would need (parameters, memory, FLOPs, images/s, hours, disk) and write nothing."""
    compilation_cache: str | None = None
    """Folder for compiled programs, or off; None uses SSLAX_COMPILATION_CACHE if set, otherwise $XDG_CACHE_HOME/sslax."""
    weights: str | None = None
    """Weights file in place of RUN: safetensors, a PyTorch pickle (.pth, .pt, .bin), or hf:OWNER/NAME[@REVISION][/FILE]."""
    told: Annotated[WeightsOptions, tyro.conf.arg(name="")] = dataclasses.field(default_factory=WeightsOptions)
    training: FinetuneOptions = dataclasses.field(default_factory=FinetuneOptions)


class Parts(NamedTuple):
    """The split of the training images, as indices into them, and notes about it for the user."""

    learnt: np.ndarray
    validation: np.ndarray
    notes: tuple[str, ...]


def check(options: Options) -> None:
    """Raise InputError for option values that cannot work."""
    if not 0 < options.labels <= 1:
        raise InputError(f"labels is {options.labels}; it must lie in (0, 1].")
    if not 0 <= options.validation < 1:
        raise InputError(f"validation is {options.validation}; it must lie in [0, 1).")
    if options.epochs < 1:
        raise InputError(f"epochs is {options.epochs}; it must be at least 1.")
    if options.seed < 0:
        raise InputError(f"seed is {options.seed}; it must be at least 0.")
    options.training.check(prefix="training.")


def open_classes(network: Loaded, options: Options) -> Dataset:
    """Open the labelled images.

    Raises:
      InputError: if there are fewer than two classes, or a class has no training image.
    """
    data = open_labelled(network, options.data, exif=options.exif, background=options.background)
    if len(data.classes) < 2:
        raise InputError(f"data is {data.name}, which has one class ({data.classes[0]}); there must be at least 2.")
    counts = np.bincount(np.asarray(data.train.labels), minlength=len(data.classes))
    if not counts.all():
        missing = _listed([data.classes[label] for label in np.flatnonzero(counts == 0)])
        raise InputError(
            f"data is {data.name}, which has no training image of {missing}; each class must have at least 1."
        )
    return data


def parts_of(options: Options, data: Dataset) -> Parts:
    """Divide the training split into images to learn from and validation images, without overlap."""
    labels = np.asarray(data.train.labels)
    index = balanced_subset(labels, fraction=options.labels, seed=options.seed)
    mask = held_out(labels, index, fraction=options.validation, seed=options.seed)
    learnt, validation = index[~mask], index[mask]
    without = [name for label, name in enumerate(data.classes) if not (labels[validation] == label).any()]
    notes: tuple[str, ...] = ()
    if not len(validation):
        why = "" if options.validation == 0 else ", because no class has enough images"
        notes = (f"No validation images are held out{why}: training takes all its steps and keeps the last weights.",)
    elif without:
        notes = (
            f"These classes have too few images to hold one out, so validation has none of them: {_listed(without)}.",
        )
    return Parts(learnt, validation, notes)


def steps_of(options: Options, images: int) -> int:
    """The number of training steps for the epochs, but at least `training.steps`."""
    return max(options.training.steps, math.ceil(options.epochs * images / options.training.batch_size))


@contextlib.contextmanager
def whole_or_nothing(folder: RunDir) -> Iterator[None]:
    """Remove the files that this block has written into `folder` if the block does not complete."""
    try:
        yield
    except BaseException as error:
        for name in ("config.json", "data.json", "metrics.jsonl", "weights.safetensors", "report.html"):
            (folder.path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.path.rmdir()
        if isinstance(error, KeyboardInterrupt):
            said = "Interrupted. Nothing of this fine-tuning was kept; run the same command to start again."
            raise KeyboardInterrupt(said) from None
        if isinstance(error, OSError):
            raise InputError(f"out is {folder.path}, which cannot be written to: {error.strerror}.") from error
        raise


def finetune(options: Options, *, command: str = "") -> None:
    """Train, measure once, and write OUT. `terminal.exit_code` turns the exceptions into messages."""
    check(options)
    network = open_network(options.run, options.weights, options.told)
    options.training.check(network.built.backbone, prefix="training.")
    # The weights are saved under torch's names: a network without such names must fail before training, not after.
    check_names(network.built.backbone)
    start = starting_weights(network, from_scratch=options.from_scratch)
    name = "from-scratch" if options.from_scratch else "finetuned"
    out = expanded(options.out or folder_for(options.run, options.weights) / name)
    folder = RunDir(out, settings_of(options, network), flag="out")
    result = None if options.dry_run else folder.result()
    if result is not None:
        terminal.say(f"{out} is done; to train again, give another --out.")
        show(result)
        return

    data = open_classes(network, options)
    parts = parts_of(options, data)
    notes = [*data.notes, *parts.notes, *notes_on_classes(network, data.classes)]
    for note in notes:
        terminal.say(printable(note))
    steps = steps_of(options, len(parts.learnt))
    training = dataclasses.replace(options.training, steps=steps)
    epochs = max(1, round(steps * training.batch_size / len(parts.learnt)))
    terminal.say(
        f"{len(data.classes)} classes, {len(parts.learnt):,} images to learn from, {len(parts.validation):,} for "
        f"validation: at most {steps:,} steps of {training.batch_size} on {jax.devices()[0].device_kind}."
    )
    build = functools.partial(
        Finetuner,
        network.built.backbone,
        network.config.method.views,
        data.train,
        num_classes=len(data.classes),
        options=training,
    )
    if options.dry_run:
        needs = build().estimate(jax.random.key(options.seed), *start, parts.learnt)
        terminal.console.print(dry_run.table(f"fine-tuning of {options.run or options.weights}", needs))
        return
    folder.begin(facts(data))
    with whole_or_nothing(folder):
        folder.rewind(0)
        tuner = build()
        with terminal.training_progress(steps, epochs) as follow:

            def record(line: dict[str, Any]) -> None:
                folder.append(line)
                follow(line)

            validation = part(data.train, parts.validation) if len(parts.validation) else None
            classifier = tuner.train(
                jax.random.key(options.seed), *start, parts.learnt, validation=validation, follow=record
            )
        assert data.test is not None, "open_labelled has checked this"
        probabilities = tuner.probabilities(classifier, data.test)
        result = result_of(data, probabilities, folder.metrics(), len(parts.learnt), len(parts.validation), steps)
        save_classifier(
            out / "weights.safetensors",
            network.config,
            classifier,
            data.classes,
            canvas=data.train.canvas,
            reading=reading_of(network, options.exif, options.background),
        )
        write_finetune_report(
            folder.report, network, data, probabilities, folder.metrics(), result, notes, folder.settings, command
        )
        # Written last: a folder with a result is complete, page included.
        folder.write_result(result)
    show(result)
    terminal.say(f"Page: {folder.report}; weights: {out / 'weights.safetensors'}")


def starting_weights(network: Loaded, *, from_scratch: bool) -> tuple[Any, Any]:
    """Parameters and BatchNorm statistics of the backbone: the trained ones, or those that training started from."""
    trained = network.backbone()
    if not from_scratch:
        return trained
    untrained = network.untrained()
    assert network.built.method.evaluated is not None, "backbone() has checked this"
    return network.built.method.evaluated(untrained.params, untrained.aux)


def notes_on_classes(network: Loaded, classes: tuple[str, ...]) -> list[str]:
    """A note if the pretraining images had other classes."""
    before = tuple(network.data["classes"])
    if not before or before == classes:
        return []
    return ["The classes differ from those of the pretraining images; fine-tuning does not need the same classes."]


def settings_of(options: Options, network: Loaded) -> dict[str, Any]:
    """The content of config.json: the options, and the configuration of the pretraining run."""
    fields = dataclasses.asdict(options)
    del fields["out"], fields["dry_run"], fields["compilation_cache"]
    # Their defaults follow the run's configuration, which is stored below. Leaving them out keeps older folders valid.
    for name, usual in (("exif", True), ("background", None)):
        if fields[name] == usual:
            del fields[name]
    fields["run"] = str(expanded(options.run)) if options.run is not None else options.weights
    if options.weights is None:
        # Absent in older folders.
        del fields["weights"], fields["told"]
    fields["data"] = options.data or network.config.data
    fields["limit"] = network.config.limit if options.data is None else None
    return json.loads(json.dumps({**fields, "pretraining": to_dict(network.config)}))


def part(split: Split, index: np.ndarray) -> Split:
    """The part of a split at `index`."""
    labels = None if split.labels is None else split.labels[index]
    return Split(split.images[index], labels, split.aspects[index], tuple(split.names[i] for i in index))


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="sslax finetune")
    command = shlex.join(["sslax", "finetune", *sys.argv[1:]])
    terminal.run_script(lambda: finetune(options, command=command), compilation_cache=options.compilation_cache)


if __name__ == "__main__":
    main()
