"""Folders of small images to read in tests."""

import numpy as np
from PIL import Image


def write_folder(path, counts, *, sides=((8, 8),)):
    """Write noise images: {"train/cat": 5, …} -> path/train/cat/00.png …, alternating between the sizes; return their spec."""
    for number, (folder, count) in enumerate(counts.items()):
        (path / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            width, height = sides[index % len(sides)]
            pixels = np.random.default_rng((number, index)).integers(0, 256, (height, width, 3), np.uint8)
            Image.fromarray(pixels).save(path / folder / f"{index:02d}.png")
    return f"folder:{path}"
