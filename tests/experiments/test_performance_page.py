"""The page on performance matches the benchmark lines, number by number."""

import json
import pathlib
import re
import shutil

import matplotlib
import pytest

from experiments.benchmarks import gpu_page, page
from sslax.cli.terminal import DONE, INPUT, exit_code
from sslax.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "performance.md"


@pytest.fixture(scope="module")
def results():
    return page.read(ROOT / "results")


def test_the_tables_match_the_results(results):
    text = PAGE.read_text(encoding="utf-8")
    assert page.fill(text, results) == text


def test_the_figures_match_the_results(results):
    for name, figure in page.figures(results).items():
        stored = PAGE.with_name(f"performance-{name}.svg").read_bytes()
        assert f"(performance-{name}.svg)" in PAGE.read_text(encoding="utf-8")
        # Another matplotlib version writes different bytes for the same figure.
        if f"matplotlib {matplotlib.__version__}<".encode() in stored:
            assert page.drawn(figure) == stored


def test_prose_has_no_measured_number():
    prose = re.sub(
        r"<!-- (\w+) -->.*?<!-- /\1 -->|```.*?```|`[^`]*`", "", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    # Numbers in image sizes and dtype names are not measurements.
    assert set(re.findall(r"(?<![a-z\d])\d+", prose)) <= {"32"}


def test_other_results_give_another_page(results, tmp_path):
    shutil.copytree(ROOT / "results", tmp_path / "results")
    lines = re.sub(r'"ratio": [\d.]+', '"ratio": 98765', (tmp_path / "results" / "knn-cpu.jsonl").read_text())
    (tmp_path / "results" / "knn-cpu.jsonl").write_text(lines)
    shutil.copy(PAGE, tmp_path / "page.md")
    options = page.Options(str(tmp_path / "results"), str(tmp_path / "page.md"))
    assert exit_code(lambda: page.run(options)) == DONE
    assert "98,765" in (tmp_path / "page.md").read_text()
    assert (tmp_path / "page-growth.svg").exists()


def test_a_gpu_row_is_not_measured_until_it_is(results, tmp_path):
    step = {
        **next(line for line in results["step"] if not line["remat"]),
        "name": "training step, byol-cifar10",
        "device": "Some GPU",
        "figure": 54321.0,
        "batch": 512,
        "flops_from": "the traced step",
        "compile_s": 12.3,
        **{"step_ms": 9.5, "views_ms": 1.5, "gradient_ms": 6.5, "update_ms": 0.5},
        "kernels": [{"name": "a|kernel", "share": 0.25, "ms": 2.5, "calls": 4.0}],
    }
    other = {**results["knn"][0], "device": "Some GPU"}
    (tmp_path / "any-gpu.jsonl").write_text("\n".join(map(json.dumps, (step, other))))
    measured = {"gpu": gpu_page.read(tmp_path)}
    tables = {name: write(measured) for name, write in gpu_page.TABLES.items()}
    (row,) = [row for row in tables["gpu_steps"].splitlines() if row.startswith("| byol-cifar10")]
    assert "| 512 | – | Some GPU | 54,321 |" in row
    assert row.endswith("| 12.3 s |")
    assert "| byol-cifar10 | 512 | Some GPU | 9.50 ms | 1.50 ms | 6.50 ms | 0.500 ms |" in tables["gpu_parts"]
    assert "| byol-cifar10, 512 | Some GPU | `a/kernel` | 25.0% | 2.50 ms | 4.00 |" in tables["gpu_kernels"]
    for name in ("gpu_steps", "gpu_parts", "gpu_kernels"):
        assert tables[name].count("not measured") == len(gpu_page.STEPS) - 1
    assert tables["gpu_rivals"].count("not measured") == len(gpu_page.OTHERS) - 1
    assert "not measured" in tables["gpu_runs"]
    assert "Some GPU, 2 lines" in tables["gpu_where"]


def test_bad_input_gives_one_sentence(tmp_path, capsys):
    assert exit_code(lambda: page.run(page.Options(str(tmp_path)))) == INPUT
    assert "losses-cpu.jsonl cannot be read as JSON lines" in capsys.readouterr().err
    (tmp_path / "page.md").write_text("no tables")
    options = page.Options(str(ROOT / "results"), str(tmp_path / "page.md"))
    assert exit_code(lambda: page.run(options)) == INPUT
    assert "page has no place for where" in capsys.readouterr().err
    (tmp_path / "x-gpu.jsonl").write_text("{")
    with pytest.raises(InputError, match=r"where x-gpu\.jsonl cannot be read; it must hold JSON lines"):
        gpu_page.read(tmp_path)
