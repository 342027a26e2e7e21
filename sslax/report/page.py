"""A run's report: one HTML file that needs nothing but itself, for a browser, a mail or a phone."""

import importlib.metadata
import os
import pathlib
import platform
from collections import Counter

import jax

from sslax.report import sections, style
from sslax.report.contents import Report
from sslax.report.sections import escape


def write_report(path: str | os.PathLike[str], report: Report) -> None:
    """Write `report` as one self-contained HTML file.

    The page is drawn before anything is written, then written beside `path` and moved there, so that `path` is at any
    time either what it was or the whole new page.

    Raises:
      OSError: where the folder is missing or cannot be written.
    """
    # Names of files may hold bytes that are no UTF-8; they are shown as an escape.
    page = _page(report).encode("utf-8", "backslashreplace")
    path = pathlib.Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_bytes(page)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def environment() -> dict[str, str]:
    """What this process runs on: versions, devices as "8 × cpu", and the operating system; starts JAX's backend."""
    versions = {"python": platform.python_version()}
    for package in ("sslax", "jax", "jaxlib", "flax", "optax"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    kinds = Counter(device.device_kind for device in jax.devices())
    devices = ", ".join(f"{count} × {kind}" for kind, count in kinds.items())
    return {**versions, "devices": devices, "backend": jax.default_backend(), "platform": platform.platform()}


def _page(report: Report) -> str:
    notes = "".join(f"<p>{escape(note)}</p>" for note in report.notes)
    parts = [
        ("Accuracy", sections.accuracy(report)),
        ("Training", sections.training(report)),
        ("Features of the test images", sections.features(report)),
        ("What the network saw", sections.views(report)),
        # Most networks have no [CLS] token, so nobody misses its section.
        ("Attention of the [CLS] token", sections.attention(report)),
        ("Configuration", sections.configuration(report)),
        ("Environment", sections.environment(report)),
    ]
    body = "".join(f"<section><h2>{heading}</h2>{content}</section>" for heading, content in parts if content)
    # The policy forbids the page to load anything, whatever may have slipped into it.
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escape(report.title)}</title>
<style>{style.CSS}</style>
</head>
<body>
<header><h1>{escape(report.title)}</h1><p class="summary">{escape(report.summary)}</p>{sections.alarms(report)}{notes}</header>
<main>{body}</main>
</body>
</html>
"""
