"""docs/adding-a-method.md, followed literally: the page's program trains on digits, stops and resumes."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "adding-a-method.md"
FLAGS = ["--epochs", "2", "--network.width", "4", "--eval-every", "0", "--optim.warmup-epochs", "1", "--log-every", "5"]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path_factory.mktemp("user") / "dcl.py"
    path.write_text(code, encoding="utf-8")
    return path


def run(program, *flags):
    return subprocess.run(
        [sys.executable, str(program), *flags],
        cwd=program.parent,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(pathlib.Path.home()),
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            # Otherwise two thirds of the time goes to optimising programs that run for only ten steps.
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
            "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_pages_method_trains_and_resumes(program):
    first = run(program, *FLAGS)
    assert first.returncode == 0, first.stderr
    folder = program.parent / "runs" / "dcl-digits"
    config = json.loads((folder / "config.json").read_text())
    assert config["method"]["name"] == "dcl"
    assert set(json.loads((folder / "result.json").read_text())) == {"raw_pixels", "untrained", "pretrained"}
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [5, 10]
    # Cosines over a temperature of 0.1 move the loss by at most 20 from that of outputs that say nothing.
    assert all(abs(json.loads(line)["loss"] - json.loads(line)["chance_loss"]) <= 20 for line in lines)
    assert "view 1" in (folder / "report.html").read_text()

    # As if it had died just before its end: finished steps are not repeated.
    (folder / "result.json").unlink()
    again = run(program, *FLAGS)
    assert again.returncode == 0, again.stderr
    assert "Going on from step 10 of 10" in again.stdout


def test_a_wrong_flag_gives_one_sentence(program):
    wrong = run(program, "--method.views.flip", "2", "--run-dir", "other")
    assert wrong.returncode == 2
    assert "method.views.flip is 2.0; it must be a probability in [0, 1]." in wrong.stderr
    assert "Traceback" not in wrong.stderr
