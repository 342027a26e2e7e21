"""Image sets prepared by TensorFlow Datasets, read from array_record files without TensorFlow.

    tfds:NAME                 the splits train and test, or validation if there is no test
    tfds:NAME/CONFIG          the same, of one of the set's configurations
    tfds:NAME[/CONFIG]:SPLIT  trains on another split, such as stl10's unlabelled, or on a part in tfds' slice syntax

Sets are read from tfds' own folder: TFDS_DATA_DIR, or ~/tensorflow_datasets. A set that is missing there is prepared, which
for most sets needs TensorFlow. The stored files are decoded like those of a folder, so the same images give the same
canvases. A set without a class label is unlabelled, and so is a split with negative labels.
"""

import dataclasses
import difflib
import importlib.util
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Int32

from sslax.data.dataset import TEST_FRACTION, Request, hold_out, keep_first, limit_note
from sslax.data.decode import NO_LABEL, Encoded
from sslax.data.known import KNOWN
from sslax.data.lazy import LazyDataset, LazySplit, some
from sslax.errors import InputError
from sslax.files import expanded

_TESTS = ("test", "validation")
_INSTALL = "pip install tensorflow-datasets array-record importlib-resources (the extra tfds)"
_INSTALL_PREPARE = "pip install tensorflow-cpu (the extra tfds-prepare)"
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_LOOKED_AT = 64


@dataclasses.dataclass(frozen=True)
class _Fetch:
    """Fetches the encoded image and the label of a split's records."""

    records: Any
    image: str
    label: str | None
    order: Int[np.ndarray, "n"] | None = None

    def __call__(self, index: int) -> Encoded:
        record = self.records[index if self.order is None else int(self.order[index])]
        return Encoded(bytes(record[self.image]), NO_LABEL if self.label is None else int(record[self.label]))


def open_tfds(location: str, request: Request) -> LazyDataset:
    """List `"tfds:NAME[/CONFIG][:SPLIT]"`, as described at the top of this module.

    Args:
        location: `NAME[/CONFIG][:SPLIT]`.
        request: `open_dataset`'s arguments. With a `limit`, or if a test split must be held out, the labels of all records
            are read, with `progress`.

    Returns:
        The set; names are `SPLIT/00000000` and up, in the order of the records.

    Raises:
        InputError: if tfds is not installed; there is no such set, configuration or split; the set is not prepared and
            preparing it fails; or its examples do not have one image each.
    """
    spec = request.spec
    name, _, split = location.partition(":")
    split = split or "train"
    builder = _builder(spec, name)
    image, label = _features(spec, builder)
    there = list(builder.info.splits)
    parts = [part.strip() for part in split.split("+")]
    if unknown := [_base(part) for part in parts if _base(part) not in there]:
        raise InputError(f"data={spec!r}: there is no split {unknown[0]!r}; it has {', '.join(there)}.")
    test = next((test for test in _TESTS if test in there and test not in map(_base, parts)), None)

    records = {part: _records(spec, name, builder, part, image, label) for part in (split, test) if part is not None}
    labelled = {part: _all_labelled(fetch) for part, fetch in records.items()}
    classes = tuple(builder.info.features[label].names) if label and labelled[split] else ()
    notes = [f"The images of {split} have no labels."] if label and not labelled[split] else []
    every = {part: np.arange(len(fetch.records)) for part, fetch in records.items()}
    chosen = [(part, every[part]) for part in records]
    labels: dict[str, Int32[np.ndarray, n]] = {}
    if request.limit is not None or (test is None and labelled[split]):
        labels = {part: _labels(fetch, request) for part, fetch in records.items()}
    if test is not None:
        notes.append(f"The test split is {test}.")
    elif labelled[split]:
        names = [_name(split, index) for index in every[split].tolist()]
        kept, held = hold_out(names, labels[split], request.split_seed)
        chosen = [(split, kept), (split, held)] if len(held) else chosen
        notes.append(
            f"{TEST_FRACTION:.0%} of each class is held out as the test split (split seed {request.split_seed})."
        )
    if request.limit is not None:
        chosen = [(part, index[keep_first(labels[part][index], request.limit)]) for part, index in chosen]
        if classes and (note := limit_note(labels[split][chosen[0][1]], classes)):
            notes.append(note)

    def listed(part: str, index: Int[np.ndarray, "m"]) -> LazySplit:
        fetch = dataclasses.replace(records[part], order=index)
        names = [_name(part, number) for number in index.tolist()]
        return LazySplit(spec, fetch, names, labelled[part], request.canvas, request.reading)

    read = [listed(*which) for which in chosen]
    files = sorted(Path(str(builder.data_path)).iterdir())
    return LazyDataset(
        spec,
        read[0],
        read[1] if len(read) > 1 else None,
        classes,
        tuple(notes),
        request.allow_unreadable,
        lambda: files,
    )


def _name(part: str, index: int) -> str:
    return f"{part}/{index:08d}"


def _records(spec: str, name: str, builder: Any, part: str, image: str, label: str | None) -> _Fetch:
    from tensorflow_datasets import decode, features

    # Other image features, such as masks, are not used, so they need no decoding either.
    images = [name for name, feature in builder.info.features.items() if isinstance(feature, features.Image)]
    decoders = {name: decode.SkipDecoding() for name in images}
    try:
        return _Fetch(builder.as_data_source(part, decoders=decoders), image, label)
    except Exception as error:
        raise InputError(
            f"data={spec!r}: split {part!r} cannot be read from {builder.data_path} ({_first_line(error)}); the set must "
            f"be prepared as array_record ({_command(name)})."
        ) from error


def _base(part: str) -> str:
    """The split's name without its slice: `train` for `train[:10%]`."""
    return part.partition("[")[0].strip()


def _builder(spec: str, name: str) -> Any:
    """The builder of the newest prepared version of a set; a missing set is prepared first."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise InputError(f"data={spec!r} needs TensorFlow Datasets, which is not installed: {_INSTALL}.") from error
    folder = expanded(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    found = _newest(folder / name)
    if found is None and "/" not in name:
        configs = sorted(child.name for child in _folders(folder / name) if _newest(child))
        if len(configs) > 1:
            raise InputError(
                f"data={spec!r} has several configurations; write it as {' or '.join(f'tfds:{name}/{c}' for c in configs)}."
            )
        found = _newest(folder / name / configs[0]) if configs else None
    if found is not None:
        try:
            return tfds.builder_from_directory(found)
        except Exception as error:
            raise InputError(
                f"data={spec!r}: {found} cannot be read ({_first_line(error)}); prepare the set again."
            ) from error

    known = tfds.list_builders(with_community_datasets=False)
    base, _, config = name.partition("/")
    if base not in known:
        prepared = [child.name for child in _folders(folder) if child.name != "downloads"]
        near = difflib.get_close_matches(base, [*prepared, *known], n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"{folder} holds {some(prepared) or 'none'}."
        raise InputError(f"data={spec!r}: TensorFlow Datasets has no {base!r}; {hint}")
    configs = list(tfds.builder_cls(base).builder_configs)
    if config and config not in configs:
        raise InputError(f"data={spec!r}: {base} has no configuration {config!r}; it has {some(configs) or 'none'}.")
    if importlib.util.find_spec("tensorflow") is None:
        size = KNOWN[base].said() if base in KNOWN else base
        raise InputError(
            f"data={spec!r}: {size} is not prepared in {folder}, and preparing it needs TensorFlow: "
            f"{_INSTALL_PREPARE}, then {_command(name)}."
        )
    builder = tfds.builder(name, data_dir=str(folder), file_format="array_record")
    try:
        builder.download_and_prepare()
    except Exception as error:
        raise InputError(
            f"data={spec!r} could not be prepared in {folder} ({_first_line(error)}); see what {_command(name)} says."
        ) from error
    return builder


def _command(name: str) -> str:
    # Not `tfds build`, which requires Apache Beam.
    prepare = f"tfds.builder('{name}', file_format='array_record').download_and_prepare()"
    return f'python -c "import tensorflow_datasets as tfds; {prepare}"'


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120].rstrip(".")


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir()) if folder.is_dir() else []


def _newest(folder: Path) -> Path | None:
    """The newest completely prepared version of a set or of its configuration."""
    versions = [
        child for child in _folders(folder) if _VERSION.fullmatch(child.name) and (child / "dataset_info.json").exists()
    ]
    return max(versions, key=lambda child: tuple(map(int, child.name.split("."))), default=None)


def _features(spec: str, builder: Any) -> tuple[str, str | None]:
    """The names of the image feature and of the class label feature, or None, of an example."""
    from tensorflow_datasets import features

    found = dict(builder.info.features.items())
    images = [name for name, feature in found.items() if isinstance(feature, features.Image)]
    labels = [name for name, feature in found.items() if isinstance(feature, features.ClassLabel)]
    if len(images) != 1 and "image" not in images:
        raise InputError(
            f"data={spec!r} has {len(images)} images per example (features: {', '.join(found)}); each example must have one."
        )
    image = "image" if "image" in images else images[0]
    return image, "label" if "label" in labels else labels[0] if len(labels) == 1 else None


def _all_labelled(fetch: _Fetch) -> bool:
    """Whether a sample of records, spread evenly over the split, all have labels."""
    count = len(fetch.records)
    looked_at = np.linspace(0, count - 1, min(_LOOKED_AT, count)).astype(int).tolist()
    return fetch.label is not None and all(fetch(index).label >= 0 for index in looked_at)


def _labels(fetch: _Fetch, request: Request) -> Int32[np.ndarray, "n"]:
    """All labels of a split; zeros if it has none."""
    count = len(fetch.records)
    labels = np.zeros(count, np.int32)
    if fetch.label is None:
        return labels
    for index in range(count):
        labels[index] = max(fetch(index).label, 0)
        if request.progress is not None and (index + 1) % 1000 == 0:
            request.progress(index + 1, count)
    return labels
