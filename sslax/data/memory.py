"""Free memory for images, and the choice of the feed that fits it."""

import os
from pathlib import Path
from typing import Literal

import jax
from jax.sharding import Mesh

from sslax import processes
from sslax.errors import InputError

RESIDENT_SHARE = 0.4
"""Share of the free memory that `feed=auto` allows for a resident set. Networks, activations and optimiser need the rest,
and on a CPU the set is in memory twice while it is placed."""

Feed = Literal["resident", "streamed"]


def host_memory() -> int:
    """Bytes of memory available on this machine, or its total memory if the available memory is unknown."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def device_memory(mesh: Mesh) -> int | None:
    """Bytes available for a set sharded over these devices: the free memory of the fullest device times their number.

    None for devices without their own memory, such as CPUs.
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
    """Choose the feed of a set. "auto" is resident if the set takes at most `RESIDENT_SHARE` of the free memory.

    Args:
      wanted: the configuration's `feed`.
      name: name of the set, for the error.
      nbytes: bytes of its canvases.
      mesh: the device mesh.
      held: where the canvases already are; canvases on disk are memory-mapped, so placing them needs no host memory.

    Raises:
      InputError: if a resident feed is requested and the set does not fit.
    """
    if wanted == "streamed":
        return wanted
    devices = device_memory(mesh)
    # Memory that the set itself occupies counts as free; otherwise reading the set first would change the choice.
    host = host_memory() + (nbytes if held == "memory" else 0)
    limits = ([] if devices is None else [devices]) + ([] if devices is not None and held == "disk" else [host])
    # All processes must choose the same feed.
    free = int(processes.least_of(min(limits)))
    if wanted == "auto":
        return "resident" if nbytes <= RESIDENT_SHARE * free else "streamed"
    if nbytes > free:
        raise InputError(
            f"feed is resident, but the images of {name} need {_size(nbytes)} and only {_size(free)} are free; use --feed "
            "streamed, a smaller --canvas or a --limit."
        )
    return wanted


def _size(nbytes: int) -> str:
    return f"{nbytes / 2**30:.1f} GiB" if nbytes >= 2**30 else f"{nbytes / 2**20:.1f} MiB"
