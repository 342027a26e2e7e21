"""The page on the methods: every method has its row, and the figures are those of the results."""

import json
import pathlib

import pytest

from experiments import methods, methods_page
from sslax.errors import InputError
from sslax.methods import METHODS

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = [path for path in (ROOT / name for name in methods_page.Options().results) if path.exists()]


def test_the_page_is_made_of_the_results():
    results = [[json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for path in RESULTS]
    assert (ROOT / "docs" / "methods.md").read_text(encoding="utf-8") == methods_page.page(results)
    assert results
    for lines in results:
        measured = [line["method"] for line in lines]
        assert measured == [name for name in methods.COMPARED if name in measured]


def test_a_method_without_properties_is_an_error(monkeypatch):
    monkeypatch.setitem(METHODS, "new", METHODS["simclr"])
    with pytest.raises(InputError, match="has no properties of new"):
        methods_page.page([])


def test_all_methods_run_with_the_same_network_and_optimiser():
    for data in ("digits", "folder:PATH"):
        configs = [methods.config_of(name, methods.Options(data=data)) for name in methods.COMPARED]
        assert len({config.network for config in configs}) == len({config.optim for config in configs}) == 1
        assert {config.method.NAME for config in configs} == set(methods.COMPARED)


@pytest.mark.slow
def test_one_method_is_measured_end_to_end(tmp_path):
    out = tmp_path / "methods.jsonl"
    methods.run(methods.Options(methods=("simclr",), limit=256, seconds=0.2, out=str(out)))
    (line,) = [json.loads(text) for text in out.read_text(encoding="utf-8").splitlines()]
    assert line["epochs"] >= 1
    assert line["temporary_bytes"] > 0
    for which in ("trained", "untrained", "raw_pixels"):
        assert 0.1 < line[which]["knn20"] <= 1
