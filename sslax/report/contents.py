"""The contents of a report, as data.

Accuracies are in [0, 1].
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from sslax.report.figures import Metrics, Result


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """The contents of a run's report. The page leaves out parts that are None or empty, and says that they are missing.

    It does not mention missing attention, patches or alarms: most networks have no [CLS] token, and most runs have no alarm.

    Attributes:
      title: name of the run.
      summary: one sentence: what was trained, on what, and for how long.
      method_name: row name of the pretrained network, such as "SimCLR".
      views: views that the network saw: one row per image, one column per view.
      view_names: names of the columns of `views`.
      attention: attention of the [CLS] token, from `attention_overlay`: one row per image, one column per head.
      attention_names: names of the columns of `attention`.
      patches: images and the colours of their patch features, from `patch_pictures`.
      alarms: messages of the collapse watch, shown first.
      metrics: lines of metrics.jsonl. The page uses `epoch` with any of these: `loss`, `lr`, `images_per_s`, `knn1`, `knn20`,
        `probe`; `feature_std`, multiplied by √d, so that 1 means evenly spread directions and 0 a single direction;
        `effective_rank`; `target_entropy` and `kl`, in nats; `chance_loss`, the loss of outputs without information, the
        same in every line.
      result: accuracies of "raw_pixels", "untrained" (or "initial", the weights of a file) and "pretrained", in [0, 1], by
        name of the evaluation.
      embedding: features in two dimensions, from `project_2d`.
      embedding_labels: class of each point.
      thumbnails: image of each point.
      classes: names of the classes.
      config: nested configuration.
      environment: versions, devices, command, date.
      notes: sentences that a reader needs to interpret the numbers.

    Raises:
      ValueError: if lengths do not agree, a label has no class, or the embedding is not finite.
    """

    title: str
    summary: str
    method_name: str = "pretrained network"
    views: UInt8[np.ndarray, "rows columns h w 3"] | None = None
    view_names: tuple[str, ...] = ()
    # Different axis names: the overlays may differ from the views in size and in number of images.
    attention: UInt8[np.ndarray, "examples maps ha wa 3"] | None = None
    attention_names: tuple[str, ...] = ()
    patches: UInt8[np.ndarray, "pictures 2 hp wp 3"] | None = None
    alarms: tuple[str, ...] = ()
    metrics: Metrics = ()
    result: Result | None = None
    embedding: Float[np.ndarray, "n 2"] | None = None
    embedding_labels: Int[np.ndarray, "n"] | None = None
    thumbnails: UInt8[np.ndarray, "n ht wt 3"] | None = None
    classes: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_columns("views", self.views, "view_names", self.view_names)
        _check_columns("attention", self.attention, "attention_names", self.attention_names)
        if self.embedding is None:
            return
        if not np.isfinite(self.embedding).all():
            raise ValueError("embedding has values that are not finite; all must be finite.")
        for name, array in (("embedding_labels", self.embedding_labels), ("thumbnails", self.thumbnails)):
            if array is not None and len(array) != len(self.embedding):
                raise ValueError(
                    f"{name} has {len(array)} rows, but embedding has {len(self.embedding)}; they must be the same."
                )
        labels = self.embedding_labels
        if labels is not None and len(labels) and not 0 <= labels.min() <= labels.max() < len(self.classes):
            raise ValueError(
                f"embedding_labels has {labels.min()} to {labels.max()}, but classes has {len(self.classes)} names; there must "
                "be a name for each label."
            )


def _check_columns(name: str, images: np.ndarray | None, of_names: str, names: tuple[str, ...]) -> None:
    if images is not None and images.shape[1] != len(names):
        raise ValueError(
            f"{name} has {images.shape[1]} columns, but {of_names} has {len(names)} names; the numbers must be the same."
        )
