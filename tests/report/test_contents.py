"""The consistency checks of a report's contents."""

import jaxtyping
import numpy as np
import pytest

from sslax.report import Report


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"views": np.zeros((1, 2, 4, 4, 3), np.uint8), "view_names": ("image",)}, "views has 2 columns"),
        (
            {"attention": np.zeros((1, 2, 64, 64, 3), np.uint8), "attention_names": ("image", "head 1", "head 2")},
            "attention has 2 columns, but attention_names has 3 names",
        ),
        ({"embedding": np.array([[0, np.nan]])}, "embedding has values that are not finite"),
        ({"embedding": np.eye(2), "thumbnails": np.zeros((3, 4, 4, 3), np.uint8)}, "thumbnails has 3 rows"),
        ({"embedding": np.eye(2), "embedding_labels": np.array([0])}, "embedding_labels has 1 rows"),
        ({"embedding": np.eye(2), "embedding_labels": np.array([0, 1]), "classes": ("a",)}, "classes has 1 names"),
        ({"embedding": np.eye(2), "embedding_labels": np.array([0, -1]), "classes": ("a",)}, "has -1 to 0"),
    ],
)
def test_inconsistent_contents_raise(fields, message, monkeypatch):
    # Only the tests check the annotated shapes; a user sees these messages instead.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        Report(title="run", summary="A run.", **fields)
