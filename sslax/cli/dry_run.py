"""What a run would take, as a table on the terminal."""

from rich.table import Table
from rich.text import Text

from sslax.training import Estimate


def table(name: str, estimate: Estimate) -> Table:
    """Parameters, memory, FLOPs, speed, hours and disk."""
    table = Table(title=Text(f"{name}, not begun"), show_header=False)
    table.add_column()
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for row in rows(estimate):
        table.add_row(*row)
    return table


def rows(estimate: Estimate) -> list[tuple[str, str, str]]:
    """What is told, how much of it, and what that is."""
    e = estimate
    parts = [(f"parameters, {part}", f"{count:,}", "") for part, count in e.parameters.items()]
    each = "on the device" if e.devices == 1 else f"on each of {e.devices} devices"
    resident = "of the training images" if e.feed == "resident" else "the images are streamed"
    known = [e.state, e.images] + ([] if e.temporaries is None else [e.temporaries])
    decoding = []
    if e.decoding_rate is not None:
        when = "in each epoch, while the step runs" if e.feed == "streamed" else "once, before the first step"
        decoding = [("images/s, decoding", f"{e.decoding_rate:,.0f}", when)]
    return [
        *parts,
        ("parameters, all", f"{sum(e.parameters.values()):,}", "that are learnt"),
        ("memory, state", size(e.state), "parameters, optimiser, statistics, targets"),
        ("memory, temporaries", "not told" if e.temporaries is None else size(e.temporaries), "of the compiled step"),
        ("memory, images", size(e.images), resident),
        ("memory, all", size(sum(known)), each),
        ("FLOPs a step", f"{e.flops / 1e9:,.1f} G", "matrix products and convolutions, nothing computed twice"),
        ("images/s, step", f"{e.step_rate:,.0f}", f"{e.batch_size:,} a step, after compilation"),
        *decoding,
        ("steps", f"{e.steps:,}", ""),
        ("hours", f"{e.hours:,.2f}", "without evaluation and checkpoints"),
        ("disk", size(e.checkpoints), "of checkpoints or weights, at most"),
    ]


def size(nbytes: float) -> str:
    """Bytes in MB or GB, of 1000."""
    return f"{nbytes / 1e9:,.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:,.1f} MB"
