"""The page on performance is what its lines give, number by number."""

import pathlib
import re
import shutil

import matplotlib
import pytest

from experiments.benchmarks import page
from experiments.terminal import DONE, INPUT, exit_code

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "performance.md"


@pytest.fixture(scope="module")
def results():
    return page.read(ROOT / "results")


def test_the_tables_are_those_of_the_results(results):
    text = PAGE.read_text(encoding="utf-8")
    assert page.fill(text, results) == text


def test_the_figures_are_those_of_the_results(results):
    for name, figure in page.figures(results).items():
        stored = PAGE.with_name(f"performance-{name}.svg").read_bytes()
        assert f"(performance-{name}.svg)" in PAGE.read_text(encoding="utf-8")
        # Another matplotlib draws other bytes of the same figure.
        if f"matplotlib {matplotlib.__version__}<".encode() in stored:
            assert page.drawn(figure) == stored


def test_prose_has_no_measured_number():
    prose = re.sub(
        r"<!-- (\w+) -->.*?<!-- /\1 -->|```.*?```|`[^`]*`", "", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    # Sizes of images are not measured.
    assert set(re.findall(r"\d+", prose)) <= {"32"}


def test_other_results_give_another_page(results, tmp_path):
    shutil.copytree(ROOT / "results", tmp_path / "results")
    lines = (tmp_path / "results" / "knn-cpu.jsonl").read_text().replace('"ratio": ', '"ratio": 98765')
    (tmp_path / "results" / "knn-cpu.jsonl").write_text(lines)
    shutil.copy(PAGE, tmp_path / "page.md")
    options = page.Options(str(tmp_path / "results"), str(tmp_path / "page.md"))
    assert exit_code(lambda: page.run(options)) == DONE
    assert "98,765" in (tmp_path / "page.md").read_text()
    assert (tmp_path / "page-growth.svg").exists()


def test_bad_input_is_one_sentence(tmp_path, capsys):
    assert exit_code(lambda: page.run(page.Options(str(tmp_path)))) == INPUT
    assert "losses-cpu.jsonl cannot be read as JSON lines" in capsys.readouterr().err
    (tmp_path / "page.md").write_text("no tables")
    options = page.Options(str(ROOT / "results"), str(tmp_path / "page.md"))
    assert exit_code(lambda: page.run(options)) == INPUT
    assert "page has no place for where" in capsys.readouterr().err
