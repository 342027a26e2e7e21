"""A run's report: one self-contained HTML file for a browser, a mail or a phone."""

import importlib.metadata
import os
import platform
from collections import Counter
from collections.abc import Sequence

import jax

from sslax.files import write_atomically
from sslax.report import sections, style
from sslax.report.contents import Report
from sslax.report.elements import escape


def write_report(path: str | os.PathLike[str], report: Report) -> None:
    """Write a run's `report` as one self-contained HTML file.

    Raises:
      OSError: as `write_page`.
    """
    parts = [
        ("Accuracy", sections.accuracy(report)),
        ("Training", sections.training(report)),
        ("Features of the test images", sections.features(report)),
        ("What the network saw", sections.views(report)),
        # Most networks have neither [CLS] token nor patches, so the page leaves out these sections without a remark.
        ("Attention of the [CLS] token", sections.attention(report)),
        ("Patch features", sections.patches(report)),
        ("Configuration", sections.configuration(report)),
        ("Environment", sections.environment(report)),
    ]
    write_page(path, report.title, report.summary, parts, notes=report.notes, first=sections.alarms(report))


def write_page(
    path: str | os.PathLike[str],
    title: str,
    summary: str,
    parts: Sequence[tuple[str, str]],
    *,
    notes: Sequence[str] = (),
    first: str = "",
) -> None:
    """Write one self-contained HTML file, which replaces `path` in one step.

    Args:
      path: path of the file, in an existing folder.
      title: plain text, like `summary` and `notes`; this function escapes them.
      summary: one sentence about what the page shows.
      parts: heading and HTML of each section, as from the functions of `sections`; a section with empty HTML is left out.
      notes: sentences under the summary.
      first: HTML between the summary and the notes.

    Raises:
      OSError: if the folder does not exist or cannot be written to.
    """
    said = "".join(f"<p>{escape(note)}</p>" for note in notes)
    header = f'<h1>{escape(title)}</h1><p class="summary">{escape(summary)}</p>{first}{said}'
    body = "".join(f"<section><h2>{heading}</h2>{content}</section>" for heading, content in parts if content)
    # File names may have bytes that are not valid UTF-8; these are escaped.
    write_atomically(path, _html(title, header, body).encode("utf-8", "backslashreplace"))


def environment() -> dict[str, str]:
    """Versions, devices (such as "8 × cpu") and operating system of this process. Starts JAX's backend."""
    versions = {"python": platform.python_version()}
    for package in ("sslax", "jax", "jaxlib", "flax", "optax"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    kinds = Counter(device.device_kind for device in jax.devices())
    devices = ", ".join(f"{count} × {kind}" for kind, count in kinds.items())
    return {**versions, "devices": devices, "backend": jax.default_backend(), "platform": platform.platform()}


def _html(title: str, header: str, body: str) -> str:
    # The content security policy forbids the page to load anything, in case unescaped text has got into it.
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{style.CSS}</style>
</head>
<body>
<header>{header}</header>
<main>{body}</main>
</body>
</html>
"""
