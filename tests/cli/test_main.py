"""The command `sslax`: help without JAX, commands by name, and the contents of the wheel."""

import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

import sslax
from sslax.cli import main as cli
from sslax.cli.configs import listing
from sslax.recipes import CONFIGS

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_help_and_typing_errors_do_not_import_jax():
    code = (
        "import sys; from sslax.cli.main import main\n"
        "for words in (['--help'], ['--version'], ['pretrian']):\n"
        "    try: main(words)\n"
        "    except SystemExit as end: print('code', end.code)\n"
        "assert not {'jax', 'flax', 'numpy', 'rich', 'tyro'} & sys.modules.keys()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"sslax {sslax.__version__}" in ended.stdout
    assert ended.stdout.endswith("code 2\n")
    assert ended.stderr.startswith(
        "error: COMMAND is pretrian, which does not exist; did you mean pretrain? It must be one"
    )


def test_importing_a_loss_imports_no_other_subpackage():
    code = "import sys, sslax.losses; print([name for name in sys.modules if name.split('.')[0] in %r])"
    parts = ("flax", "optax", "orbax", "grain", "matplotlib", "rich", "tyro", "sklearn")
    ended = subprocess.run(
        [sys.executable, "-c", code % (parts,)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout == "[]\n"


def test_every_command_has_a_module(monkeypatch):
    for name in cli.COMMANDS:
        seen = []
        module = __import__(f"sslax.cli.{name}", fromlist=["main"])
        monkeypatch.setattr(module, "main", lambda seen=seen: seen.append(list(sys.argv)))
        monkeypatch.setattr(sys, "argv", sys.argv)
        cli.main([name, "--flag"])
        assert seen == [[f"sslax {name}", "--flag"]]


def test_configurations_are_listed_with_what_their_sources_report():
    lines = list(listing())
    starts = [index for index, line in enumerate(lines) if not line.startswith(" ")]
    assert [lines[index].split()[0] for index in starts] == list(CONFIGS)
    found = {lines[i].split()[0]: lines[i + 1 : j] for i, j in zip(starts, [*starts[1:], len(lines)], strict=True)}
    reported, reached = (line.strip() for line in found["simclr-cifar10"])
    assert reported.startswith("published: 84.8 % kNN k=200")
    assert reached.endswith("after 185.05 of 200 epochs on NVIDIA H200")
    assert found["simclr-digits"] == []
    assert found["byol-cifar10"][1].strip() == "here: not run yet"


def test_a_closed_pipe_is_no_error():
    command = f"{sys.executable} -m sslax configs | head -1"
    ended = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("simclr-digits")
    assert ended.stderr == ""


@pytest.mark.parametrize("name", ["pretrain", "evaluate", "finetune", "embed", "export", "compare", "launch"])
def test_the_scripts_of_the_repository_run_the_commands(name):
    script = __import__(f"experiments.{name}", fromlist=["main"])
    assert script.main is __import__(f"sslax.cli.{name}", fromlist=["main"]).main


@pytest.mark.slow
def test_the_wheel_works_in_a_separate_environment(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"sslax", f"sslax-{sslax.__version__}.dist-info"}
    assert "sslax/py.typed" in names
    # The dependencies come from this environment, so that nothing is downloaded.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    (site,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    here = pathlib.Path(pytest.__file__).parents[1]
    (site / "needs.pth").write_text(f"{here}\n")
    target = ["--python", str(tmp_path / "env" / "bin" / "python"), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *target], check=True, capture_output=True)
    command = [str(tmp_path / "env" / "bin" / "sslax"), "pretrain", "--epochs", "5", "--run-dir", "run"]
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "XLA_FLAGS")}
    ended = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True, check=True)
    assert "linear probe" in ended.stdout
    where = [str(tmp_path / "env" / "bin" / "python"), "-c", "import sslax; print(sslax.__file__)"]
    assert str(site) in subprocess.run(where, cwd=tmp_path, env=own, capture_output=True, text=True, check=True).stdout
