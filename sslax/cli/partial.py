"""The finished part of a long `sslax embed`, kept in OUT.partial/ beside the output file."""

import json
import pathlib
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32

from sslax.config import differences
from sslax.errors import InputError
from sslax.files import replacing, write_atomically


class Partial:
    """A folder with the features of each chunk, written atomically, and a manifest of what they depend on.

    Args:
      out: the output file; the folder is created beside it.
      manifest: what the features depend on.
      size: number of images per chunk.

    Raises:
      InputError: if the folder exists with another manifest or other content, or cannot be created.
    """

    def __init__(self, out: pathlib.Path, manifest: Mapping[str, Any], size: int):
        self.folder, self.size = out.with_name(f"{out.name}.partial"), size
        self._out = out
        path = self.folder / "manifest.json"
        try:
            self.folder.mkdir(exist_ok=True)
            if not any(self.folder.iterdir()):
                write_atomically(path, json.dumps(manifest, indent=2) + "\n")
            there = dict(json.loads(path.read_text(encoding="utf-8")))
        except FileExistsError as error:
            raise InputError(
                f"out is {out}, but {self.folder} is a file and must be a folder; move it away."
            ) from error
        except (FileNotFoundError, ValueError, TypeError) as error:
            raise InputError(
                f"out is {out}, but {self.folder} exists and is not the partial work of sslax embed; move it away."
            ) from error
        except OSError as error:
            raise InputError(f"out is {out}, but {self.folder} cannot be written: {error.strerror}.") from error
        if found := differences(there, dict(manifest)):
            raise InputError(
                f"out is {out}, but {self.folder} holds the partial work of another command ({'; '.join(found)}); repeat "
                "that command, remove the folder, or give another --out."
            )

    def _path(self, chunk: int, ending: str, name: str = "chunk") -> pathlib.Path:
        return self.folder / f"{name}-{chunk:08d}{ending}"

    def has(self, chunk: int) -> bool:
        """Whether a chunk is complete."""
        return self._path(chunk, ".npy").exists()

    def save(
        self,
        chunk: int,
        features: Float32[np.ndarray, "m d"],
        failures: Mapping[int, str],
        treated: Mapping[str, int],
        beside: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Save a chunk.

        Args:
          chunk: index of the chunk.
          features: features [m, d] of the images that could be decoded.
          failures: from an image's index in the chunk to the reason why it could not be decoded.
          treated: from the name of a treatment, such as an EXIF rotation, to the number of images that got it.
          beside: further arrays with a row for each of the m images, by name.

        Raises:
          InputError: if the chunk cannot be written.
        """
        try:
            if failures or treated:
                said = {"failures": {str(i): why for i, why in failures.items()}, "treated": treated}
                write_atomically(self._path(chunk, ".json"), json.dumps(said) + "\n")
            for name, array in (beside or {}).items():
                with replacing(self._path(chunk, ".npy", name)) as file:
                    np.save(file, array, allow_pickle=False)
            # Written last: a chunk with features is complete.
            with replacing(self._path(chunk, ".npy")) as file:
                np.save(file, features, allow_pickle=False)
        except OSError as error:
            raise InputError(
                f"out is {self._out}, but {self.folder} cannot be written to: {error.strerror}."
            ) from error

    def failures(self) -> list[tuple[int, str]]:
        """For each image that could not be decoded so far: its index among all images, and the reason."""
        found = []
        for chunk, said in self._said():
            found += [(chunk * self.size + int(i), why) for i, why in said["failures"].items()]
        return found

    def treated(self) -> Counter[str]:
        """The number of images that got each treatment."""
        treated: Counter[str] = Counter()
        for _, said in self._said():
            treated.update(said["treated"])
        return treated

    def _said(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for path in sorted(self.folder.glob("chunk-*.json")):
            chunk = int(path.stem.removeprefix("chunk-"))
            if self.has(chunk):
                yield chunk, json.loads(path.read_text(encoding="utf-8"))

    def pieces(self, name: str = "chunk") -> Iterator[np.ndarray]:
        """The features of all chunks in order, or the array that was saved beside them under `name`, without chunks that have
        no readable image."""
        for path in sorted(self.folder.glob(f"{name}-*.npy")):
            features = np.load(path, allow_pickle=False)
            if len(features):
                yield features

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder)
