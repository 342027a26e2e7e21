"""How much memory there is for images, and which feed it allows."""

import os
from pathlib import Path
from typing import Literal

import jax
from jax.sharding import Mesh

from sslax import processes
from sslax.errors import InputError

RESIDENT_SHARE = 0.4
"""Share of the free memory that a resident set may take unasked: networks, activations and optimiser need the rest, and
on a CPU the set is there twice while it is put in its place."""

Feed = Literal["resident", "streamed"]


def host_memory() -> int:
    """Bytes of memory that this machine has to give; all that it has where only that is known."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def device_memory(mesh: Mesh) -> int | None:
    """Bytes that a set spread over these devices may have: what the fullest of them has free, times their number.

    None for devices without memory of their own, as CPUs.
    """
    own = [device for device in mesh.devices.flat if device.process_index == jax.process_index()]
    told = [stats for device in own if (stats := device.memory_stats()) and "bytes_limit" in stats]
    if len(told) < len(own):
        return None
    return min(stats["bytes_limit"] - stats["bytes_in_use"] for stats in told) * mesh.size


def choose_feed(
    wanted: Literal["auto", "resident", "streamed"],
    name: str,
    nbytes: int,
    mesh: Mesh,
    *,
    held: Literal["nowhere", "memory", "disk"] = "nowhere",
) -> Feed:
    """Which feed a set gets: resident where it takes at most `RESIDENT_SHARE` of the free memory, or where it is asked for.

    Args:
      wanted: the configuration's `feed`.
      name: of the set, for the error.
      nbytes: of its canvases.
      mesh: the devices.
      held: where the canvases are already; those on disk are mapped, and need no memory of the host to be placed.

    Raises:
      InputError: where a resident feed is asked for and cannot fit.
    """
    if wanted == "streamed":
        return wanted
    devices = device_memory(mesh)
    # What the set itself holds counts as free, or reading a set would change what is decided for it.
    host = host_memory() + (nbytes if held == "memory" else 0)
    limits = ([] if devices is None else [devices]) + ([] if devices is not None and held == "disk" else [host])
    # All processes have to come to the same.
    free = int(processes.least_of(min(limits)))
    if wanted == "auto":
        return "resident" if nbytes <= RESIDENT_SHARE * free else "streamed"
    if nbytes > free:
        raise InputError(
            f"feed is resident, but the images of {name} need {_size(nbytes)} and {_size(free)} are free; it must be "
            "streamed, or choose a smaller --canvas or a --limit."
        )
    return wanted


def _size(nbytes: int) -> str:
    return f"{nbytes / 2**30:.1f} GiB" if nbytes >= 2**30 else f"{nbytes / 2**20:.1f} MiB"
