"""Comparing runs: groups over seeds, unfinished runs, and a table that fits 80 columns."""

import dataclasses
import json

import pytest

from sslax.cli import compare, terminal
from sslax.config import to_dict
from sslax.runs import RunDir
from tests import tiny
from tests.report.pages import Page


def make(path, linear=0.75, finished=True, alarm=False, **changes):
    """Make a run's folder without weights."""
    config = dataclasses.replace(tiny.config(data="digits"), **changes)
    run = RunDir(path, to_dict(config))
    run.begin({"name": "digits", "images": 64, "canvas": 8, "classes": []})
    for epoch in (1, 2, 3):
        line = {"step": 4 * epoch, "epoch": float(epoch), "loss": 5 / epoch, "images_per_s": 100.0, "seconds": epoch}
        run.append(line | {"knn1": 0.5, "knn20": 0.6, "kl": float("nan")})
    if alarm:
        run.append({"step": 13, "epoch": 3.2, "loss": 1.0, "seconds": 4, "collapse": "x", "collapse_sign": "it stays."})
    if finished:
        run.write_result({row: {"knn1": 0.9, "knn20": 0.8, "linear": linear} for row in ("raw_pixels", "pretrained")})
    return str(path)


def run(*runs, out):
    return terminal.exit_code(lambda: compare.run(compare.Options(runs=runs, out=str(out))))


def test_runs_that_differ_in_seeds_form_one_group_and_the_table_fits_80_columns(tmp_path, capsys):
    long = "a-name-that-is-so-long-that-it-would-fill-the-whole-terminal-[red]"
    runs = [make(tmp_path / f"{long}-seed{s}", 0.7 + s / 10, seed=s, split_seed=s) for s in (0, 1, 2)]
    runs += [
        make(tmp_path / "other", 0.6, epochs=4, finished=False),
        make(tmp_path / "third", batch_size=8, alarm=True),
    ]
    out = tmp_path / "page.html"
    assert run(*runs, out=out) == terminal.DONE
    said = capsys.readouterr().out
    table = said[: said.index(f"{tmp_path}")]
    assert max(map(len, table.splitlines())) <= 80
    assert "80.0±10.0" in table
    assert "[red]" in table
    assert f"{tmp_path / 'other'} has not finished: it is at epoch 3 of 4." in said
    assert f"{tmp_path / 'third'}, step 13: x; it stays." in said

    page = Page(out.read_text("utf-8"))
    assert page.texts("h2") == ["Accuracy", "What differs", "Training", "Speed"]
    assert [text.strip() for text in page.texts("li")] == [f"{long} (3 runs)", "other", "third"]
    assert len(page.all("img", "drawn")) == 3
    assert "5 runs in 3 groups" in page.source
    assert "has not finished" in page.source
    fields = [text for attributes, text in page.all("th") if attributes.get("scope") == "row"]
    assert {"epochs", "batch_size"} <= set(fields)
    assert "seed" not in fields


def test_runs_are_grouped_by_configuration_and_data(tmp_path):
    paths = [
        make(tmp_path / "a" / "seed0"),
        make(tmp_path / "a" / "seed1", seed=1),
        make(tmp_path / "b" / "seed0", epochs=4),
    ]
    found = [compare.read(path) for path in paths]
    groups = compare.group(found)
    # A group is named after the folder of its runs; a single run keeps its own name.
    assert [(group.name, len(group.runs)) for group in groups] == [("a", 2), ("seed0", 1)]
    other_data = dataclasses.replace(found[1], data={**found[1].data, "images": 65})
    assert [len(group.runs) for group in compare.group([found[0], other_data])] == [1, 1]
    assert [group.name for group in compare.group([found[0], found[2]])] == ["seed0", "seed0 (2)"]


@pytest.mark.parametrize(
    ("names", "name"),
    [
        (["t0.5-seed10", "t0.5-seed11"], "t0.5"),
        (["t0.5", "t0.5-again"], "t0.5"),
        (["one", "two"], "runs"),
        (["seed_0"], "seed_0"),
    ],
)
def test_group_names_come_from_the_folders(tmp_path, names, name):
    assert compare.name_of([tmp_path / "runs" / each for each in names]) == name
    folders = [tmp_path / str(i) / "x" / each for i, each in enumerate(["one", "two"])]
    assert compare.name_of(folders) == "one and 1 more"


def test_runs_with_equal_seeds_give_a_note(tmp_path, capsys):
    assert run(make(tmp_path / "a"), make(tmp_path / "b"), out=tmp_path / "p.html") == terminal.DONE
    assert "have the same seeds" in capsys.readouterr().out


def test_runs_that_cannot_be_compared_are_input_errors(tmp_path, capsys, monkeypatch):
    good = make(tmp_path / "good")
    RunDir(tmp_path / "begun", to_dict(tiny.config())).begin({"images": 1, "canvas": 8})
    broken = make(tmp_path / "broken")
    (tmp_path / "broken" / "result.json").write_text("{")
    foreign = make(tmp_path / "foreign")
    (tmp_path / "foreign" / "config.json").write_text(json.dumps([1]))
    out = tmp_path / "p.html"
    for runs, target, said in [
        ([], out, "RUN is missing"),
        ([good, f"{good}/"], out, "twice; give each run once"),
        ([str(tmp_path)], out, "which is not a run"),
        ([good, str(tmp_path / "begun")], out, "has no metrics yet"),
        ([broken], out, "its files are damaged or incomplete"),
        ([foreign], out, "its files are damaged or incomplete"),
        ([good], tmp_path / "p.txt", "its name must end in .html"),
        ([good], tmp_path / "none" / "p.html", "there is no folder"),
    ]:
        assert run(*runs, out=target) == terminal.INPUT
        error = capsys.readouterr().err.strip()
        assert said in error
        assert "\n" not in error
    monkeypatch.setattr("sslax.report.comparison.MOST_GROUPS", 1)
    assert run(good, make(tmp_path / "more", epochs=9), out=out) == terminal.INPUT
    assert "2 groups of runs; there can be at most 1" in capsys.readouterr().err
    assert not out.exists()
