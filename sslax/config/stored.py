"""The configuration as JSON, and what sets two of them apart."""

import dataclasses
from typing import Any

from sslax.config.fields import Config


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration as JSON values (tuples become lists), with the method's name.

    It leaves out the fields that you may change when you resume a run:

    - `run_dir`, because you may move a run, and `dry_run`, which trains nothing;
    - `tensorboard`, `knn` and `keep_checkpoints`, which do not affect training;
    - `feed`, `workers`, `cache`, `remat`, `fsdp` and `distributed`, which adapt the same training to another machine;
    - `on_nan`, so that a run that stopped can resume with `skip`;
    - `compilation_cache` and `deterministic`, which change only how XLA compiles the same step.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(v) for key, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, list | tuple) else value

    fields = plain(dataclasses.asdict(config))
    own = (
        "run_dir",
        "dry_run",
        "tensorboard",
        "keep_checkpoints",
        "on_nan",
        "feed",
        "workers",
        "cache",
        "remat",
        "knn",
        "compilation_cache",
        "deterministic",
    )
    for name in (*own, "fsdp", "distributed"):
        del fields[name]
    fields["method"] = {"name": config.method.NAME, **fields["method"]}
    return fields


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """The differences between two configurations from `to_dict`, as text: "optim.lr: 0.1 there, 0.3 here"."""
    found = []
    for key in sorted({*old, *new}):
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += differences(before, now, f"{prefix}{key}.")
        elif before != now:
            found.append(f"{prefix}{key}: {before} there, {now} here")
    return found
