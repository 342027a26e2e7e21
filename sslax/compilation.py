"""Settings for XLA: the compilation cache, and deterministic kernels on a GPU.

The cache folder is `$XDG_CACHE_HOME/sslax` (`~/.cache/sslax` if that is unset), or the folder in `SSLAX_COMPILATION_CACHE`;
`off` turns the cache off. Later runs execute the programs in this folder: share it only with users that you trust.
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
# Seconds without use after which a cached program is removed.
_UNUSED = 30 * 24 * 3600.0
# The fields of /proc/cpuinfo that determine which instructions LLVM uses, on x86 and on ARM.
_PROCESSOR = ("vendor_id", "cpu family", "model", "flags", "CPU implementer", "CPU part", "Features")
# jax's warning about a cache entry that it cannot read or write. It then compiles the program and continues.
WARNING = "Error (reading|writing) persistent compilation cache entry for '(.*?)': (.*)"
# Implies xla_gpu_exclude_nondeterministic_ops, and turns off autotuning, which can choose different kernels in each process.
_DETERMINISTIC = "--xla_gpu_deterministic_ops=true"

# State of this process: the cache folder that this module has set, and the kinds of failure already reported.
_folder: pathlib.Path | None = None
_told: set[str] = set()


def keep_programs(place: str | None = None) -> str | None:
    """Turn on the compilation cache, so that later processes do not compile the same programs again.

    Several processes can share the folder safely. Programs unused for 30 days are removed.

    Args:
      place: a folder, or "off". None keeps jax's own setting (`JAX_COMPILATION_CACHE_DIR` or `jax.config`) if there is one,
        otherwise uses `SSLAX_COMPILATION_CACHE` if it is set, otherwise the user's cache folder.

    Returns:
      One sentence for the user if the folder cannot be written; the run then continues without a cache. None otherwise.
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
        # Absolute, because the process may change its working directory.
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
    """A sub-folder name that is the same on machines with the same operating system and kind of processor.

    XLA compiles for the processor's instruction set, but jax's cache keys do not contain it. The name does not depend on the
    backend, because the backend is only known once JAX has started it.
    """
    described = "\n".join((platform.system(), platform.machine(), _processor()))
    return f"xla-{hashlib.sha256(described.encode()).hexdigest()[:12]}"


def _processor() -> str:
    """This machine's processor and its instruction sets as text, independent of the order in which they are listed."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    # Reversed, so that the values of the first processor are kept; the other processors repeat them.
    fields = dict(line.split(":", 1) for line in reversed(text.splitlines()) if ":" in line)
    stripped = {name.strip(): " ".join(sorted(value.split())) for name, value in fields.items()}
    return "\n".join(f"{name}: {stripped[name]}" for name in _PROCESSOR if name in stripped)


def failed(warning: str) -> tuple[bool, str | None]:
    """Handle jax's warning that it could not read or write a cache entry.

    A killed process leaves an incomplete entry, which jax never replaces. This function removes the entries of that program,
    before jax has compiled it, so that jax writes a new one. A failure to write is reported once per process.

    Returns:
      Whether the warning is about the cache, and the sentence to show to the user, or None.
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
    """The user's cache folder by the XDG base directory specification, which says to ignore relative paths."""
    base = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else pathlib.Path.home() / ".cache") / "sslax"


def _use(folder: pathlib.Path | None) -> None:
    """Set jax's cache folder, and cache small programs too; None turns the cache off."""
    global _folder
    _folder = folder
    place = None if folder is None else str(folder)
    if place == jax.config.values["jax_compilation_cache_dir"]:
        return
    jax.config.update("jax_compilation_cache_dir", place)
    if place is not None:
        # With jax's default limit of one second, a second run on the digits finds only 2 of its first 28 programs in the cache.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    # jax reads this setting only once, at the first program that it compiles.
    compilation_cache.reset_cache()


def _remove_unused(root: pathlib.Path) -> None:
    """Remove programs that have not been read or written for 30 days, also those of other machines; leave other files."""
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
        # The file may belong to another user. jax then compiles that program each time.
        return


def make_deterministic() -> None:
    """Make XLA use GPU kernels that give bit-identical results in every run; other backends always do.

    Call it before any computation: XLA reads its flags once.

    Raises:
      InputError: if the GPU backend has already started without the flag.
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
            "set this flag in XLA_FLAGS before you start Python."
        )


def _is_deterministic() -> bool:
    """Whether XLA has read its flags and found the deterministic one among them."""
    options = backend.get_compile_options(num_replicas=1, num_partitions=1)
    # Keep a reference to this object: its debug_options point into it and do not keep it alive.
    building = options.executable_build_options
    return "xla_gpu_deterministic_ops: true" in str(building.debug_options)
