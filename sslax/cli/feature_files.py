"""Feature files, written and read in pieces: NumPy's .npz, and Parquet if pyarrow is installed.

An .npz file holds `features` float32 [n, d], `names` and `split` (text), for labelled images `labels` int32 and `classes`
(text), and `metadata` (JSON text); with `sslax embed --patches` also the arrays that `sslax.cli.patches` explains.
`np.load(FILE)` reads it without pickle, and each array only when you access it. A Parquet file has a row per image with the
columns `name`, `split`, for labelled images `label` and `class`, and `features`; its schema holds the metadata under "sslax".
The same contents always give the same bytes.
"""

import importlib.util
import json
import pathlib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from sslax.errors import InputError
from sslax.files import replacing

ENDINGS = (".npz", ".parquet")
# Rows per Parquet row group: fewer rows are slow to read, more rows need more memory.
_GROUP = 10_000
_READ = 2_000
# The date that NumPy itself writes for the files in an .npz.
_DATE = (1980, 1, 1, 0, 0, 0)


class Rows(NamedTuple):
    """The other columns of a feature file, for n images.

    Attributes:
      names: names of the images, as printable text.
      splits: "train" or "test" for each image.
      labels: indices into `classes`, or None.
      classes: names of the classes.
      metadata: what the features were computed from, as JSON values.
    """

    names: list[str]
    splits: list[str]
    labels: Int32[np.ndarray, "n"] | None
    classes: tuple[str, ...]
    metadata: dict[str, Any]


class Beside(NamedTuple):
    """A further array of an .npz file, with a row per image.

    Attributes:
      pieces: the array in pieces of some rows, as for the features.
      shape: shape of a row.
      dtype: dtype in the file.
    """

    pieces: Iterable[np.ndarray]
    shape: tuple[int, ...]
    dtype: str


def check_ending(path: pathlib.Path) -> None:
    """Raise InputError if files with this ending need a package that is not installed."""
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise InputError(f'out is {path}, which needs pyarrow; run pip install "pyarrow>=17", or write an .npz file.')


def write(
    path: pathlib.Path,
    pieces: Iterable[Float32[np.ndarray, "m d"]],
    dim: int,
    rows: Rows,
    beside: Mapping[str, Beside] | None = None,
) -> None:
    """Write a feature file, which replaces `path` in one step.

    Args:
      path: path of the file; it ends in one of `ENDINGS`.
      pieces: the features in pieces of some rows, n rows in total.
      dim: dimension d of the features.
      rows: the other columns.
      beside: further arrays by name; only in an .npz file.

    Raises:
      OSError: if the file cannot be written.
    """
    with replacing(path) as file:
        if path.suffix == ".npz":
            _write_npz(file, rows, {"features": Beside(pieces, (dim,), "<f4"), **(beside or {})})
        else:
            _write_parquet(file, pieces, dim, rows)


def _write_npz(file: BinaryIO, rows: Rows, arrays: Mapping[str, Beside]) -> None:
    small: dict[str, np.ndarray] = {"names": np.array(rows.names, np.str_), "split": np.array(rows.splits, np.str_)}
    if rows.labels is not None:
        small |= {"labels": rows.labels, "classes": np.array(rows.classes, np.str_)}
    small["metadata"] = np.array(json.dumps(rows.metadata))
    # Uncompressed, because compression hardly makes features smaller.
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in small.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy", _DATE), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        for name, (pieces, shape, dtype) in arrays.items():
            header = {"descr": dtype, "fortran_order": False, "shape": (len(rows.names), *shape)}
            with archive.open(zipfile.ZipInfo(f"{name}.npy", _DATE), "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, header)
                for piece in pieces:
                    member.write(np.ascontiguousarray(piece, dtype).data)


def _write_parquet(file: BinaryIO, pieces: Iterable[np.ndarray], dim: int, rows: Rows) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.dictionary(pa.int32(), pa.string())
    fields = [pa.field("name", pa.string()), pa.field("split", text)]
    if rows.labels is not None:
        fields += [pa.field("label", pa.int32()), pa.field("class", text)]
    fields.append(pa.field("features", pa.list_(pa.float32(), dim)))
    schema = pa.schema(fields, metadata={"sslax": json.dumps(rows.metadata)})
    start = 0
    with pq.ParquetWriter(file, schema) as writer:
        for group in _grouped(pieces):
            here = slice(start, start + len(group))
            columns = [pa.array(rows.names[here], pa.string()), pa.array(rows.splits[here]).dictionary_encode()]
            if rows.labels is not None:
                labels = rows.labels[here]
                classes = pa.DictionaryArray.from_arrays(labels, pa.array(rows.classes, pa.string()))
                columns += [pa.array(labels, pa.int32()), classes]
            columns.append(pa.FixedSizeListArray.from_arrays(pa.array(group.ravel(), pa.float32()), dim))
            writer.write_table(pa.table(columns, schema=schema))
            start += len(group)


def _grouped(pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same rows in groups of at least `_GROUP`; the last group may be smaller."""
    held: list[np.ndarray] = []
    for piece in pieces:
        held.append(piece)
        if sum(map(len, held)) >= _GROUP:
            yield np.concatenate(held)
            held = []
    if held:
        yield np.concatenate(held)


def read_metadata(path: pathlib.Path) -> dict[str, Any] | None:
    """The metadata of a file from `write`, or None for any other file."""
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return dict(json.loads(str(file["metadata"])))
        import pyarrow.parquet as pq

        return dict(json.loads(pq.read_schema(path).metadata[b"sslax"]))
    # Any error means that this is not a feature file: on other files the readers can raise nearly any exception.
    except Exception:
        return None


def read_names(path: pathlib.Path) -> list[str]:
    """The names in a file from `write`."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return file["names"].tolist()
    import pyarrow.parquet as pq

    return pq.read_table(path, columns=["name"])["name"].to_pylist()


def read_features(path: pathlib.Path) -> Iterator[Float32[np.ndarray, "m d"]]:
    """The features in a file from `write`, in order, in pieces that keep memory small."""
    if path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive, archive.open("features.npy") as member:
            np.lib.format.read_magic(member)
            (n, dim), _, dtype = np.lib.format.read_array_header_1_0(member)
            for start in range(0, n, _READ):
                count = min(_READ, n - start)
                yield np.frombuffer(member.read(count * dim * dtype.itemsize), dtype).reshape(count, dim)
        return
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_READ, columns=["features"]):
            column = batch.column(0)
            yield column.flatten().to_numpy().reshape(len(column), -1)
