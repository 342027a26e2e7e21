"""What is done of a long piece of work, kept beside the file that it will become: OUT.partial/."""

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
    """Features chunk by chunk, each file whole at any moment, and a manifest of what they belong to.

    Args:
      out: the file that they will become; the folder is made beside it.
      manifest: what the features depend on.
      size: images a chunk.

    Raises:
      InputError: where the folder is there and belongs to something else, or cannot be made.
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
            raise InputError(f"out is {out}, beside which {self.folder.name} is a file; move it away.") from error
        except (FileNotFoundError, ValueError, TypeError) as error:
            raise InputError(
                f"out is {out}, beside which {self.folder.name} holds no work that was begun; move it away."
            ) from error
        except OSError as error:
            raise InputError(f"out is {out}, beside which nothing can be written: {error.strerror}.") from error
        if found := differences(there, dict(manifest)):
            raise InputError(
                f"out is {out}, beside which {self.folder.name} holds what was begun by another command "
                f"({'; '.join(found)}); repeat that one, remove the folder, or give another --out."
            )

    def _path(self, chunk: int, ending: str) -> pathlib.Path:
        return self.folder / f"chunk-{chunk:08d}{ending}"

    def has(self, chunk: int) -> bool:
        """Whether a chunk is done."""
        return self._path(chunk, ".npy").exists()

    def save(
        self, chunk: int, features: Float32[np.ndarray, "m d"], failures: Mapping[int, str], treated: Mapping[str, int]
    ) -> None:
        """Keep a chunk: its features [m, d], which of its images could not be decoded and why, and how many were treated how.

        Raises:
          InputError: where it cannot be written.
        """
        try:
            if failures or treated:
                said = {"failures": {str(i): why for i, why in failures.items()}, "treated": treated}
                write_atomically(self._path(chunk, ".json"), json.dumps(said) + "\n")
            # Written last: with its features a chunk is done.
            with replacing(self._path(chunk, ".npy")) as file:
                np.save(file, features, allow_pickle=False)
        except OSError as error:
            raise InputError(
                f"out is {self._out}, beside which {self.folder.name} cannot be written to: {error.strerror}."
            ) from error

    def failures(self) -> list[tuple[int, str]]:
        """Indices among all images of those that could not be decoded so far, and why."""
        found = []
        for chunk, said in self._said():
            found += [(chunk * self.size + int(i), why) for i, why in said["failures"].items()]
        return found

    def treated(self) -> Counter[str]:
        """How many images were treated how."""
        treated: Counter[str] = Counter()
        for _, said in self._said():
            treated.update(said["treated"])
        return treated

    def _said(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for path in sorted(self.folder.glob("chunk-*.json")):
            chunk = int(path.stem.removeprefix("chunk-"))
            if self.has(chunk):
                yield chunk, json.loads(path.read_text(encoding="utf-8"))

    def pieces(self) -> Iterator[Float32[np.ndarray, "m d"]]:
        """The features of all chunks in order, those without a readable image left out."""
        for path in sorted(self.folder.glob("chunk-*.npy")):
            features = np.load(path, allow_pickle=False)
            if len(features):
                yield features

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder)
