"""docs/adding-a-method.md, followed literally: the page's program trains on digits, stops and resumes."""

import importlib.util
import json
import pathlib
import re
import subprocess
import sys

import pytest

from sslax.cli import pretrain as command
from sslax.cli import terminal
from sslax.cli.pretrain import pretrain
from sslax.methods import METHODS
from sslax.training import quality
from tests import compilation, tiny

PAGE = compilation.ROOT / "docs" / "adding-a-method.md"
FLAGS = ["--epochs", "2", "--network.width", "4", "--eval-every", "0", "--optim.warmup-epochs", "1", "--log-every", "4"]
FLAGS += ["--limit", "256", "--batch-size", "64", "--method.views.jitter", "0"]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path_factory.mktemp("user") / "dcl.py"
    path.write_text(code, encoding="utf-8")
    return path


@pytest.fixture
def configs(program, monkeypatch):
    """The page's configurations. Its method stays in the table until the test ends."""
    monkeypatch.setitem(METHODS, "dcl", None)
    monkeypatch.chdir(program.parent)
    monkeypatch.setattr(quality, "linear_probe", tiny.mean_probe)
    spec = importlib.util.spec_from_file_location("dcl", program)
    module = importlib.util.module_from_spec(spec)
    # The command line reads the types of the options from the module of this name.
    monkeypatch.setitem(sys.modules, "dcl", module)
    spec.loader.exec_module(module)
    return module.CONFIGS


def test_the_pages_method_trains_and_resumes(configs, capsys, monkeypatch):
    assert terminal.exit_code(lambda: pretrain(FLAGS, configs)) == terminal.DONE
    folder = pathlib.Path("runs/dcl-digits")
    config = json.loads((folder / "config.json").read_text())
    assert config["method"]["name"] == "dcl"
    assert set(json.loads((folder / "result.json").read_text())) == {"raw_pixels", "untrained", "pretrained"}
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [4, 8]
    # Cosines over a temperature of 0.1 move the loss by at most 20 from that of outputs that say nothing.
    assert all(abs(json.loads(line)["loss"] - json.loads(line)["chance_loss"]) <= 20 for line in lines)
    assert "view 1" in (folder / "report.html").read_text()

    # As if it had died just before its end: finished steps are not repeated.
    (folder / "result.json").unlink()
    # What follows the training was checked above.
    monkeypatch.setattr(command, "measure_all", lambda *arguments: {})
    monkeypatch.setattr(command, "write_run_report", lambda *arguments, **options: None)
    assert terminal.exit_code(lambda: pretrain(FLAGS, configs)) == terminal.DONE
    assert "Going on from step 8 of 8" in capsys.readouterr().out


def test_a_wrong_flag_gives_one_sentence(program):
    """The script in a separate process."""
    wrong = subprocess.run(
        [sys.executable, str(program), "--method.views.flip", "2", "--run-dir", "other"],
        cwd=program.parent,
        env=compilation.environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert wrong.returncode == 2
    assert "method.views.flip is 2.0; it must be a probability in [0, 1]." in wrong.stderr
    assert "Traceback" not in wrong.stderr
