"""What XLA is told before it compiles: the folder of compiled programs, and deterministic kernels on a GPU.

The folder is `$XDG_CACHE_HOME/sslax` (`~/.cache/sslax` where that is unset), or the one that `SSLAX_COMPILATION_CACHE` names;
`off` keeps nothing. A program in it is code that later runs execute: share the folder only with users that you trust.
"""

import glob
import hashlib
import os
import pathlib
import platform
import re
import tempfile
import time

import jax
from jax.experimental.compilation_cache import compilation_cache
from jax.extend import backend

from sslax.errors import InputError

VARIABLE = "SSLAX_COMPILATION_CACHE"
OFF = "off"
# Programs that no run has used for so long are removed, seconds.
_UNUSED = 30 * 24 * 3600.0
# The fields of /proc/cpuinfo by which LLVM chooses instructions, on x86 and on ARM.
_PROCESSOR = ("vendor_id", "cpu family", "model", "flags", "CPU implementer", "CPU part", "Features")
# What jax warns of an entry; it then compiles, and goes on.
WARNING = "Error (reading|writing) persistent compilation cache entry for '(.*?)': (.*)"
# Implies xla_gpu_exclude_nondeterministic_ops and turns autotuning off, which would choose other kernels in another process.
_DETERMINISTIC = "--xla_gpu_deterministic_ops=true"

# Of this process: the folder of ours that jax keeps programs in, and the folders of which a failure was told.
_folder: pathlib.Path | None = None
_told: set[str] = set()


def keep_programs(place: str | None = None) -> str | None:
    """Have compiled programs kept in a folder, so that a later process need not compile them again.

    Safe where several processes share the folder. Programs unused for 30 days are removed.

    Args:
      place: a folder, or "off". None takes the one that jax has already been given (`JAX_COMPILATION_CACHE_DIR`, or
        `jax.config`), else the one that `SSLAX_COMPILATION_CACHE` names, else the user's cache.

    Returns:
      Where the folder cannot be written, one sentence that says so; the run goes on and keeps nothing. None otherwise.
    """
    if place is None:
        if jax.config.values["jax_compilation_cache_dir"] is not None:
            return None
        place = os.environ.get(VARIABLE) or None
    if place is not None and place.lower() == OFF:
        _use(None)
        return None
    try:
        root = pathlib.Path(place).expanduser() if place else _default()
        folder = root / machine()
        # Absolute, as the run may change its working directory.
        folder = folder.absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        _remove_unused(folder.parent)
    except (OSError, RuntimeError) as error:
        _use(None)
        reason = getattr(error, "strerror", None) or str(error)
        return (
            f"Compiled programs are not kept, because {place or 'the cache folder'} cannot be written ({reason}); "
            f"name another folder in {VARIABLE}, or turn this off by {VARIABLE}={OFF}."
        )
    _use(folder)
    return None


def machine() -> str:
    """A folder's name, the same on machines of one operating system and one kind of processor.

    XLA compiles for the processor's instruction set, and jax's keys do not say for which. The folder is the same for every
    backend: which one runs is only known once it has started.
    """
    described = "\n".join((platform.system(), platform.machine(), _processor()))
    return f"xla-{hashlib.sha256(described.encode()).hexdigest()[:12]}"


def _processor() -> str:
    """The kind of this machine's processor and its instruction sets, in a text that does not depend on their order."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    # The first processor's; the others repeat it.
    fields = dict(line.split(":", 1) for line in reversed(text.splitlines()) if ":" in line)
    stripped = {name.strip(): " ".join(sorted(value.split())) for name, value in fields.items()}
    return "\n".join(f"{name}: {stripped[name]}" for name in _PROCESSOR if name in stripped)


def failed(warning: str) -> tuple[bool, str | None]:
    """Whether a warning is jax's of an entry that it could not read or write, and the sentence to tell, if any.

    A process that is killed leaves half an entry, which jax never replaces. The entries of that program are removed here,
    before jax has compiled it, so that it writes a new one. That an entry cannot be written is told once.
    """
    found = re.match(WARNING, warning, re.DOTALL)
    if found is None:
        return False, None
    what, module, reason = found.groups()
    if what == "reading":
        for entry in _folder.glob(f"{glob.escape(module)}-*-cache") if _folder is not None else ():
            _remove(entry)
        return True, None
    if what in _told:
        return True, None
    _told.add(what)
    place = jax.config.values["jax_compilation_cache_dir"]
    return True, f"Compiled programs can no longer be kept in {place} ({' '.join(reason.split())}); the run goes on."


def _default() -> pathlib.Path:
    """The user's cache, by the XDG base directory specification, which ignores relative paths."""
    base = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else pathlib.Path.home() / ".cache") / "sslax"


def _use(folder: pathlib.Path | None) -> None:
    """Have jax keep programs in the folder, small ones too, or none at all."""
    global _folder
    _folder = folder
    place = None if folder is None else str(folder)
    if place == jax.config.values["jax_compilation_cache_dir"]:
        return
    jax.config.update("jax_compilation_cache_dir", place)
    if place is not None:
        # By jax's own limit of one second, a second run of the digits finds 2 of its first 28 programs and compiles the others.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    # jax looks at the setting once, at the first program.
    compilation_cache.reset_cache()


def _remove_unused(root: pathlib.Path) -> None:
    """Remove programs that nobody has read or written for long, also those of other machines; nothing else in the folder."""
    oldest = time.time() - _UNUSED
    for entry in root.glob("xla-*/*-cache"):
        try:
            status = entry.stat()
        except OSError:
            # Another process has removed it.
            continue
        if max(status.st_mtime, status.st_atime) < oldest:
            _remove(entry)


def _remove(entry: pathlib.Path) -> None:
    try:
        entry.unlink(missing_ok=True)
    except OSError:
        # It may be another user's; jax then compiles that program each time.
        return


def make_deterministic() -> None:
    """Have XLA take kernels that give the same bits in every run on a GPU; other backends always do.

    Call it before anything is computed: XLA reads its flags once.

    Raises:
      InputError: where the GPU has already been started without the flag.
    """
    before = os.environ.get("XLA_FLAGS")
    if _DETERMINISTIC not in (before or "").split():
        os.environ["XLA_FLAGS"] = f"{before or ''} {_DETERMINISTIC}".strip()
    if _is_deterministic():
        return
    if before is None:
        del os.environ["XLA_FLAGS"]
    else:
        os.environ["XLA_FLAGS"] = before
    if jax.default_backend() == "gpu":
        raise InputError(
            f"deterministic is True, but XLA has already started without {_DETERMINISTIC}; "
            "set it in XLA_FLAGS before Python starts."
        )


def _is_deterministic() -> bool:
    """Whether XLA has read its flags with that one among them."""
    options = backend.get_compile_options(num_replicas=1, num_partitions=1)
    # Held by a name: its options refer into it and do not keep it alive.
    building = options.executable_build_options
    return "xla_gpu_deterministic_ops: true" in str(building.debug_options)
