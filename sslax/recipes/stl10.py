"""Recipes for STL-10, made from those for Imagenette."""

import dataclasses
from typing import Any

from sslax.config import Config
from sslax.data.known import KNOWN


def on_stl10(config: Config, *, batch_size: int = 512, **changes: Any) -> Config:
    """The recipe on the 100,000 unlabelled images of STL-10: 200 epochs, views of 96 pixels, and STL-10's channel statistics.

    Local crops have half the side. `sslax evaluate RUN --data tfds:stl10` then learns from the 5,000 labelled images.

    Args:
      config: a recipe for larger images.
      batch_size: images per step.
      changes: other fields of the configuration.
    """
    views = config.method.views
    local: dict[str, Any] = {"local_size": 48} if hasattr(views, "local_size") else {}
    views = dataclasses.replace(views, size=96, mean=KNOWN["stl10"].mean, std=KNOWN["stl10"].std, **local)
    method = dataclasses.replace(config.method, views=views)
    own: dict[str, Any] = {"data": "tfds:stl10:unlabelled", "canvas": 96, "epochs": 200, "batch_size": batch_size}
    return dataclasses.replace(config, method=method, **(own | changes))
