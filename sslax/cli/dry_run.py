"""The table of a dry run: what a run would need."""

from rich.table import Table
from rich.text import Text

from sslax.training import Estimate


def table(name: str, estimate: Estimate) -> Table:
    """A table of parameters, memory, FLOPs, speed, hours and disk space."""
    table = Table(title=Text(f"{name}: dry run"), show_header=False)
    table.add_column()
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for row in rows(estimate):
        table.add_row(*row)
    return table


def rows(estimate: Estimate) -> list[tuple[str, str, str]]:
    """The rows of the table: name, value, and explanation."""
    e = estimate
    parts = [(f"parameters, {part}", f"{count:,}", "") for part, count in e.parameters.items()]
    each = "on the device" if e.devices == 1 else f"on each of {e.devices} devices"
    resident = "the training images" if e.feed == "resident" else "the images are streamed"
    known = [e.state, e.images] + ([] if e.temporaries is None else [e.temporaries])
    decoding = []
    if e.decoding_rate is not None:
        when = "in every epoch, while the step runs" if e.feed == "streamed" else "once, before the first step"
        decoding = [("images/s, decoding", f"{e.decoding_rate:,.0f}", when)]
    return [
        *parts,
        ("parameters, all", f"{sum(e.parameters.values()):,}", "trainable"),
        ("memory, state", size(e.state), "parameters, optimiser, statistics, targets"),
        ("memory, temporaries", "unknown" if e.temporaries is None else size(e.temporaries), "of the compiled step"),
        ("memory, images", size(e.images), resident),
        ("memory, all", size(sum(known)), each),
        ("FLOPs per step", f"{e.flops / 1e9:,.1f} G", "matrix products and convolutions, without recomputation"),
        ("images/s, step", f"{e.step_rate:,.0f}", f"{e.batch_size:,} per step, after compilation"),
        *decoding,
        ("steps", f"{e.steps:,}", ""),
        ("hours", f"{e.hours:,.2f}", "without evaluation and checkpoints"),
        ("disk", size(e.checkpoints), "checkpoints or weights, at most"),
    ]


def size(nbytes: float) -> str:
    """Bytes as text in MB (10^6 bytes) or GB (10^9 bytes)."""
    return f"{nbytes / 1e9:,.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:,.1f} MB"
