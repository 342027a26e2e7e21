"""The compilation cache as the commands use it, with each case in a separate process, and deterministic kernels."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import jax
import pytest

from sslax import compilation
from sslax.cli.pretrain import parse
from sslax.config import to_dict
from sslax.errors import InputError
from sslax.recipes import CONFIGS

ROOT = pathlib.Path(__file__).resolve().parents[1]

# A command with one tiny program. It prints jax's setting, and whether the program was in the cache.
COMMAND = """
import json, os, sys
import jax
from sslax.cli import terminal
hits = []
jax.monitoring.register_event_listener(lambda name, **more: hits.append(name))
if os.environ.get("AS_NOBODY"):
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
def script():
    value = float(jax.jit(lambda x: x * x + 3)(2.0))
    found = "/jax/compilation_cache/cache_hits" in hits
    print(json.dumps({"value": value, "found": found, "place": jax.config.values["jax_compilation_cache_dir"]}))
terminal.run_script(script, compilation_cache=sys.argv[1] if len(sys.argv) > 1 else None)
"""


def start(*arguments, **environment):
    """Start the command without the cache settings of this environment."""
    own = {"JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME", compilation.VARIABLE, "XLA_FLAGS"}
    inherited = {name: value for name, value in os.environ.items() if name not in own}
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        cwd=ROOT,
        env={**inherited, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process):
    """The output of a process, parsed as JSON, and its stderr."""
    with process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out), err


def entries(folder):
    return sorted(path for path in folder.glob("xla-*/*-cache") if path.stat().st_size)


@pytest.fixture
def unset(monkeypatch):
    """Reset jax and the environment to no configured cache folder; restored afterwards."""
    before = {
        name: jax.config.values[name]
        for name in ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    }
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.delenv(compilation.VARIABLE, raising=False)
    yield lambda: jax.config.values["jax_compilation_cache_dir"]
    for name, value in before.items():
        jax.config.update(name, value)
    monkeypatch.setattr(compilation, "_folder", None)
    compilation.compilation_cache.reset_cache()


def test_which_cache_folder_is_used(unset, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert compilation.keep_programs() is None
    assert unset() == str(tmp_path / "xdg" / "sslax" / compilation.machine())
    assert (tmp_path / "xdg" / "sslax").is_dir()

    # A folder set in jax takes precedence over the variable, and the argument over both.
    monkeypatch.setenv(compilation.VARIABLE, str(tmp_path / "variable"))
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    assert compilation.keep_programs() is None
    assert unset() == str(tmp_path / "own")
    assert compilation.keep_programs(str(tmp_path / "flag")) is None
    assert unset() == str(tmp_path / "flag" / compilation.machine())

    jax.config.update("jax_compilation_cache_dir", None)
    assert compilation.keep_programs() is None
    assert unset() == str(tmp_path / "variable" / compilation.machine())
    assert compilation.keep_programs("off") is None
    assert unset() is None
    monkeypatch.setenv(compilation.VARIABLE, "OFF")
    assert compilation.keep_programs() is None
    assert unset() is None
    assert not (tmp_path / "variable" / "off").exists()


def test_a_relative_xdg_cache_home_is_ignored(unset, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    compilation.keep_programs()
    assert unset() == str(tmp_path / ".cache" / "sslax" / compilation.machine())


def test_only_old_programs_are_removed(unset, tmp_path):
    old, month = time.time(), 31 * 24 * 3600
    files = {
        name: tmp_path / name for name in ("xla-0/jit_f-1-cache", "xla-0/jit_g-1-cache", "notes-cache", "xla-0/notes")
    }
    for file in files.values():
        file.parent.mkdir(exist_ok=True)
        file.write_text("")
        os.utime(file, (old - month, old - month))
    # Read yesterday.
    os.utime(files["xla-0/jit_g-1-cache"], (old - 24 * 3600, old - month))
    compilation.keep_programs(str(tmp_path))
    assert [name for name, file in files.items() if not file.exists()] == ["xla-0/jit_f-1-cache"]


def test_machines_of_other_instruction_sets_have_other_folders(monkeypatch):
    def of(text):
        monkeypatch.setattr(pathlib.Path, "read_text", lambda self, **more: text)
        return compilation.machine()

    one = "model name : a\nflags : fpu avx avx2\nbogomips : 1\n\nmodel name : a\nflags : fpu avx avx2\n"
    assert of(one) == of(one.replace("avx avx2", "avx2 avx").replace("bogomips : 1", "bogomips : 2"))
    assert of(one) != of(one.replace("avx2", "avx2 avx512f"))
    assert of("Features : fp asimd") != of("Features : fp asimd sve")
    here = of(one)
    monkeypatch.setattr(compilation.platform, "machine", lambda: "riscv64")
    assert of(one) != here


@pytest.mark.slow
def test_two_processes_fill_an_empty_cache_and_a_third_reads_it(tmp_path):
    for said, err in map(end, [start(str(tmp_path)), start(str(tmp_path))]):
        assert (said["value"], err) == (7.0, "")
    assert entries(tmp_path)
    said, err = end(start(**{compilation.VARIABLE: str(tmp_path)}))
    assert (said["value"], said["found"], err) == (7.0, True, "")
    assert said["place"] == str(tmp_path / compilation.machine())


@pytest.mark.slow
def test_an_incomplete_entry_is_replaced_silently(tmp_path):
    end(start(str(tmp_path)))
    for path in entries(tmp_path):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    said, err = end(start(str(tmp_path)))
    assert (said["value"], said["found"], err) == (7.0, False, "")
    assert end(start(str(tmp_path)))[0]["found"]


def test_a_file_in_place_of_the_cache_folder_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    said, err = end(start(str(tmp_path / "file")))
    assert said == {"value": 7.0, "found": False, "place": None}
    assert err.count("\n") == 1
    assert str(tmp_path / "file") in err
    assert f"{compilation.VARIABLE}=off" in err


def test_a_cache_folder_of_another_user_is_reported():
    if os.getuid() != 0:
        pytest.skip("permissions are tried as the user nobody, which only root can become")
    # Not in pytest's folder, which only root can read.
    with tempfile.TemporaryDirectory() as place:
        pathlib.Path(place).chmod(0o755)
        said, err = end(start(place, AS_NOBODY="1"))
        assert said == {"value": 7.0, "found": False, "place": None}
        assert f"{place} cannot be written (Permission denied)" in err
        assert err.count("\n") == 1


def test_write_failures_are_reported_once(monkeypatch):
    monkeypatch.setattr(compilation, "_told", set())
    warning = (
        "Error writing persistent compilation cache entry for 'jit_f': OSError: [Errno 28] No space left on device"
    )
    told, sentence = compilation.failed(warning)
    assert told
    assert "No space left on device" in sentence
    assert compilation.failed(warning) == (True, None)
    assert compilation.failed("Error reading the weights") == (False, None)


def test_the_flags_are_not_stored_in_a_runs_configuration():
    _, plain = parse([])
    name, config = parse(["--compilation-cache", "off", "--deterministic"])
    assert (config.compilation_cache, config.deterministic) == ("off", True)
    assert to_dict(config) == to_dict(plain) == to_dict(CONFIGS[name])


def test_deterministic_reaches_xla_before_its_backend_starts():
    """pretrain sets the flag before it opens the data, where this test stops it."""
    program = """
import os
from sslax.cli import pretrain
from jax.extend import backend
def opened(*arguments, **more):
    options = backend.get_compile_options(num_replicas=1, num_partitions=1)
    building = options.executable_build_options
    print(os.environ["XLA_FLAGS"], "xla_gpu_deterministic_ops: true" in str(building.debug_options))
    raise SystemExit(0)
pretrain.open_images = opened
pretrain.pretrain(["--deterministic", "--compilation-cache", "off", "--run-dir", "none"])
"""
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=3"}
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert "--xla_force_host_platform_device_count=3 --xla_gpu_deterministic_ops=true True" in ended.stdout
    assert "deterministic has no effect on CPU" in ended.stdout


def test_deterministic_after_xla_has_started_is_an_error_on_gpu(monkeypatch):
    """On a GPU this is an error; on CPU it does nothing. The environment is unchanged."""
    jax.devices()
    before = os.environ["XLA_FLAGS"]
    compilation.make_deterministic()
    assert os.environ["XLA_FLAGS"] == before
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(InputError, match="deterministic is True, but XLA has already started"):
        compilation.make_deterministic()
    assert os.environ["XLA_FLAGS"] == before
