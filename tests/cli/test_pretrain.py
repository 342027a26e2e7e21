"""The pretrain command as a user runs it: a complete run, stopping and resuming, and wrong input."""

import functools
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from experiments import seeds
from sslax.cli import pretrain as command
from sslax.cli import terminal
from sslax.cli.pretrain import parse, pretrain
from sslax.config import check, differences, to_dict
from sslax.recipes import CONFIGS
from sslax.training import fit, quality
from tests import compilation, tiny

SMALL = ["--epochs", "4", "--optim.warmup-epochs", "1", "--network.width", "4", "--method.projector-dim", "8"]
SMALL += ["--batch-size", "64", "--limit", "256", "--eval-every", "2", "--checkpoint-every", "1", "--log-every", "1"]
SMALL += ["--method.views.jitter", "0"]


@pytest.mark.parametrize("name", CONFIGS)
def test_named_configurations_pass_the_checks(name):
    check(CONFIGS[name])
    assert parse([name]) == (name, CONFIGS[name])
    assert not differences(to_dict(CONFIGS[name]), json.loads(json.dumps(to_dict(CONFIGS[name]))))


def test_the_default_configuration_is_simclr_digits():
    name, config = parse(["--epochs", "7", "--optim.lr", "0.5", "--method.views.crop-area", "0.3", "0.9"])
    assert name == "simclr-digits"
    assert (config.epochs, config.optim.lr, config.method.views.crop_area) == (7, 0.5, (0.3, 0.9))


def _folder(path, files=4, side=8):
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            folder = path / split / label
            folder.mkdir(parents=True)
            for i in range(files):
                pixels = np.random.default_rng(i).integers(0, 255, (side, side, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return path


# For each mistake: the arguments, and words that the error message must contain (field, value, what would be right).
BAD = {
    "config": (["simclr-digit"], ["CONFIG", "simclr-digit", "did you mean simclr-digits"]),
    "source": (["--data", "digitz"], ["data", "digitz", "digits"]),
    "missing folder": (["--data", "folder:/no/such"], ["/no/such"]),
    "no images": (["--data", "folder:{text}"], ["{text}", "image"]),
    "empty folder": (["--data", "folder:{empty}"], ["{empty}"]),
    "few images": (["--data", "folder:{few}", "--batch-size", "64"], ["batch_size is 64", "8 training images"]),
    "limit": (["--limit", "100"], ["batch_size is 256", "100 training images"]),
    "no limit": (["--limit", "0"], ["limit is 0", "at least 1"]),
    "crop": (["--method.views.size", "16"], ["method.views.size is 16", "8 pixels"]),
    "temperature": (["--method.temperature", "-0.1"], ["method.temperature is -0.1", "above 0"]),
    "zero temperature": (["--method.temperature", "0"], ["method.temperature is 0", "above 0"]),
    "area": (["--method.views.crop-area", "0.5", "2"], ["method.views.crop_area", "(0, 1]"]),
    "probability": (["--method.views.flip", "1.5"], ["method.views.flip is 1.5", "[0, 1]"]),
    "rate": (["--optim.lr", "0"], ["optim.lr is 0", "above 0"]),
    "warmup": (["--epochs", "3"], ["optim.warmup_epochs is 5", "epochs, which is 3"]),
    "patch": (["--network.patch-size", "3"], ["network.patch_size is 3", "divide method.views.size"]),
    "batch": (["--batch-size", "1"], ["batch_size is 1", "at least 2"]),
    "devices": (["--batch-size", "129"], ["batch_size is 129", "multiple of the 8 devices"]),
    "workers": (["--workers", "-1"], ["workers is -1", "at least 0"]),
    "cache": (["--cache", "here"], ["cache is here", "digits needs no decoding"]),
    "no canvas": (["--data", "folder:{few}", "--feed", "streamed"], ["canvas is None", "streamed", "--canvas 8"]),
    "not prepared": (["--data", "tfds:stl10/x"], ["tfds:stl10/x", "no configuration 'x'"]),
    "background": (["--background", "1,2,256"], ["background is 1,2,256", "R,G,B", "0 to 255"]),
    "no such user": (["--run-dir", "~nobody-at-all/x"], ["~nobody-at-all/x", "this home folder is not known"]),
    "run dir is a file": (["--run-dir", "{file}"], ["run_dir is {file}"]),
    "run dir of others": (["--run-dir", "{few}"], ["run_dir is {few}", "holds files but no run"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.txt").write_text("no image")
    (tmp_path / "file").write_text("")
    places = {name: str(tmp_path / name) for name in ("empty", "text", "few", "file")}
    _folder(tmp_path / "few")

    arguments, words = BAD[case]
    code = terminal.exit_code(lambda: pretrain([a.format(**places) for a in arguments]))
    said = capsys.readouterr().err.strip()
    assert code == terminal.INPUT
    assert said.startswith("error: ")
    assert "\n" not in said
    for word in words:
        assert word.format(**places) in said
    # No files are left that would disturb the corrected command.
    assert not (tmp_path / "runs").exists()


def test_exif_and_background_are_flags():
    config = parse(["--no-exif", "--background", "10,200,30"])[1]
    assert (config.exif, config.background) == (False, "10,200,30")
    assert parse([])[1].exif


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["--epochz", "3"], "--epochs"), (["--epochs", "many"], "many"), (["--optim.name", "x"], "lars")],
)
def test_wrong_flags_exit_with_2_and_a_suggestion(arguments, word, capsys):
    with pytest.raises(SystemExit) as left:
        parse(arguments)
    assert left.value.code == 2
    out = capsys.readouterr()
    assert word in out.out + out.err


def run(*arguments, cwd):
    """Start the command in a separate process with one device, as a user has it."""
    command = [sys.executable, "-m", "sslax", "pretrain", *arguments]
    # A test suite started in the background ignores SIGINT, and child processes would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            command, cwd=cwd, env=compilation.environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_run_stopped_by_ctrl_c_resumes_with_the_same_command(tmp_path, monkeypatch, capsys):
    first = run(*SMALL, "--epochs", "400", cwd=tmp_path)
    metrics = tmp_path / "runs" / "simclr-digits" / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while not (metrics.exists() and len(metrics.read_text().splitlines()) > 5):
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=120)
    assert first.returncode == 75
    assert "Stopped after step" in said
    assert "Run the same command again" in said
    assert "Traceback" not in said
    stopped_at = int(said.split("Stopped after step ")[1].split()[0])

    monkeypatch.chdir(tmp_path)
    assert terminal.exit_code(lambda: pretrain([*SMALL, "--epochs", "399"])) == terminal.INPUT
    assert "epochs: 400 there, 399 here" in capsys.readouterr().err

    # Only the number of epochs may change. This one stops after a step.
    monkeypatch.setattr(command, "fit", functools.partial(command.fit, until=lambda: True))
    assert terminal.exit_code(lambda: pretrain([*SMALL, "--epochs", "401"])) == terminal.INTERRUPTED
    said = capsys.readouterr().out
    assert f"Going on from step {stopped_at} of" in said
    assert "Extended from 400 to 401 epochs" in said
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == sorted(set(steps))
    assert steps[-1] > stopped_at


def test_a_complete_run_and_its_report(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(quality, "linear_probe", tiny.short_probe)
    assert terminal.exit_code(lambda: pretrain(SMALL)) == terminal.DONE
    said = capsys.readouterr().out
    assert "linear probe" in said
    folder = tmp_path / "runs" / "simclr-digits"
    result = json.loads((folder / "result.json").read_text())
    assert set(result) == {"raw_pixels", "untrained", "pretrained"}
    for row in result.values():
        assert set(row) == {"knn1", "knn20", "linear"}
        assert all(0 <= value <= 1 for value in row.values())
    # Raw pixels are good features for digits: 205 training images suffice for this accuracy.
    assert result["raw_pixels"]["knn1"] > 0.8
    page = (folder / "report.html").read_text()
    assert f"{100 * result['pretrained']['linear']:.1f}" in page
    assert "view 2" in page

    assert terminal.exit_code(lambda: pretrain(SMALL)) == terminal.DONE
    assert "is done" in capsys.readouterr().out


def test_a_streamed_run_on_unlabelled_images_of_any_shape(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for i in range(32):
        pixels = np.random.default_rng(i).integers(0, 255, (9 + i % 3, 12, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    flags = ["--data", "folder:photos", "--canvas", "8", *SMALL, "--batch-size", "16", "--epochs", "1"]
    flags += ["--feed", "streamed", "--accumulate", "2"]
    folder = tmp_path / "runs" / "simclr-digits"

    def with_a_skipped_step(*arguments, **options):
        """Train, and remove the loss of the first step."""
        state = fit(*arguments, **options)
        lines = (folder / "metrics.jsonl").read_text()
        (folder / "metrics.jsonl").write_text(lines.replace('"loss": ', '"loss": null, "was": ', 1))
        return state

    monkeypatch.setattr(command, "fit", with_a_skipped_step)
    assert terminal.exit_code(lambda: pretrain(flags)) == terminal.DONE
    assert json.loads((folder / "result.json").read_text()) == {}
    said = capsys.readouterr().out
    assert "no labels" in said
    assert "images streamed" in said
    changed = "accumulate is 2, so training differs from a whole batch of 16"
    assert changed in said
    page = (folder / "report.html").read_text()
    assert "no labels" in page
    assert changed in page
    assert "1 logged loss is not finite" in page
    assert terminal.exit_code(lambda: pretrain(flags)) == terminal.DONE
    assert "is done" in capsys.readouterr().out


def test_gains_are_paired_by_seed():
    results = [
        {"raw_pixels": {"knn1": 0.5 + s}, "untrained": {"knn1": 0.2}, "pretrained": {"knn1": 0.6 + s}}
        for s in (0.0, 0.1, 0.3)
    ]
    raw, untrained = seeds.gains(results)
    assert raw["gain"] == pytest.approx(0.1)
    assert raw["standard_error"] == pytest.approx(0, abs=1e-12)
    assert untrained["standard_error"] == pytest.approx(np.std([0.4, 0.5, 0.7], ddof=1) / 3**0.5)
