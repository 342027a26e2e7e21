"""The page on ablations matches the published tables, number by number."""

import json
import pathlib
import re

import matplotlib
import pytest

from experiments.ablations import __main__ as catalogue
from experiments.ablations import page
from experiments.ablations.catalogue import TABLES
from experiments.ablations.scales import SCALES
from sslax.cli.terminal import DONE, INPUT, exit_code

ROOT = pathlib.Path(__file__).resolve().parents[3]
PAGE, RESULTS = ROOT / "docs" / "ablations.md", ROOT / "results" / "ablations"


@pytest.fixture(scope="module")
def published():
    return page.read(RESULTS)


def test_the_page_matches_the_results(published):
    assert page.write(published, "ablations") == PAGE.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_figures_match_the_results(published):
    drawings = page.drawings(published)
    assert {path.name for path in (PAGE.parent / "ablations").iterdir()} == set(drawings)
    for name, image in drawings.items():
        assert f"(ablations/{name})" in PAGE.read_text(encoding="utf-8")
        stored = (PAGE.parent / "ablations" / name).read_bytes()
        # Another matplotlib version writes different bytes for the same figure.
        if f"matplotlib {matplotlib.__version__}<".encode() in stored:
            assert stored == image


def test_links_lead_to_headings():
    text = PAGE.read_text(encoding="utf-8")
    headings = {page._anchor(title) for title in re.findall(r"^## (.*)$", text, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= headings


def test_other_results_give_another_page(published, tmp_path):
    name, scale = next(iter(published))
    summary = json.loads(json.dumps(published[name, scale]))
    for alike in summary["runs"].values():
        for run in alike.values():
            run["pretrained"] = dict.fromkeys(run["pretrained"], 0.123)
    (tmp_path / f"{name}-{scale}.json").write_text(json.dumps(summary))
    options = page.Options(str(tmp_path), str(tmp_path / "other.md"))
    assert exit_code(lambda: page.run(options)) == DONE
    assert "12.3" in (tmp_path / "other.md").read_text()
    assert (tmp_path / "other" / f"{name}-{scale}.svg").exists()


def test_other_files_are_reported(tmp_path, capsys):
    assert exit_code(lambda: page.run(page.Options(str(tmp_path)))) == INPUT
    assert "which has no tables" in capsys.readouterr().err
    (tmp_path / "byol_decay-digits.json").write_text('{"table": "another"}')
    assert exit_code(lambda: page.run(page.Options(str(tmp_path)))) == INPUT
    assert (
        "byol_decay-digits.json is not what python -m experiments.ablations.byol_decay saves" in capsys.readouterr().err
    )


def test_the_list_has_every_table_and_its_cost(published, capsys):
    assert exit_code(lambda: catalogue.run(catalogue.Options(str(RESULTS)))) == DONE
    said = capsys.readouterr().out
    for name in (*TABLES, *SCALES):
        assert name in said
    assert said.count(" min ") >= len(published) - 1
    assert "runs" in said
