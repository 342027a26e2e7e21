"""The tables as they are written: every row is a configuration that can run, beside the figure that the paper has."""

import dataclasses
import re

import pytest

from experiments.ablations.catalogue import TABLES
from experiments.ablations.grid import Options, applicable, grid
from experiments.ablations.scales import SCALES
from experiments.ablations.table import Setting, changed, flags, slug
from sslax.cli.pretrain import parse
from sslax.config import check


@pytest.fixture(params=TABLES.values(), ids=TABLES)
def table(request):
    return request.param


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_every_row_is_a_configuration_that_can_run(table, scale):
    for run in grid(table, scale, Options(seeds=1)):
        check(run.config)


@pytest.mark.parametrize("scale", SCALES)
def test_each_group_has_one_baseline_and_rows_of_their_own(table, scale):
    rows = applicable(table, SCALES[scale])
    for group in {row.group for row in rows}:
        own = [row for row in rows if row.group == group]
        assert sum(row.baseline for row in own) == 1
        assert len({row.name for row in own}) == len(own)
        trained = [(slug(row, SCALES[scale].configs[row.method]), row.features) for row in own]
        assert len(set(trained)) == len(trained)


def test_what_a_table_says_has_no_figure_of_ours(table):
    """Its claim and source may quote the paper; a discussion stands beside the figures and repeats none."""
    for text in table.discussion.values():
        assert not re.findall(r"\d+\.\d", re.sub(r"arXiv:\S+", "", text))


def test_rows_that_need_colours_are_left_out_of_gray_digits(table):
    rows = table.settings("digits")
    assert applicable(table, SCALES["digits"]) == [row for row in rows if not row.photographs]
    assert applicable(table, SCALES["cifar10"]) == table.settings("cifar10")


@pytest.mark.parametrize("name", SCALES["digits"].configs)
def test_flags_are_the_scripts(name):
    """A row's changes as they stand on the page, given to the script, are the same configuration."""
    base = SCALES["digits"].configs[name]
    for table in TABLES.values():
        for row in table.settings("digits"):
            if row.method == name and not row.photographs:
                assert parse(["base", *flags(row).split()], {"base": base})[1] == changed(base, row.changes)


def test_a_change_that_changes_nothing_is_in_no_folder():
    base = SCALES["digits"].configs["simclr"]
    same = Setting("as it is", {"method.temperature": base.method.temperature})
    assert slug(same, base) == "simclr/base"
    other = Setting("other", {"method.temperature": 0.125, "method.views.blur_sigma": (0.5, 1.0)})
    assert slug(other, base) == "simclr/method.temperature=0.125,method.views.blur_sigma=0.5-1.0"
    with pytest.raises(TypeError, match="no_field"):
        changed(base, {"method.no_field": 1})


def test_lengths_and_images_are_those_of_the_options():
    table = TABLES["dino_center"]
    runs = grid(table, SCALES["digits"], Options(epochs=3, seeds=2, data="folder:elsewhere"))
    assert len(runs) == 8
    assert {(run.config.epochs, run.config.data, run.config.optim.warmup_epochs) for run in runs} == {
        (3, "folder:elsewhere", 1.5)
    }
    assert [(run.config.seed, run.config.split_seed) for run in runs[:2]] == [(0, 0), (1, 1)]
    assert grid(table, SCALES["cifar10"], Options())[1].config.split_seed == 0
    assert all(run.config == dataclasses.replace(run.config, checkpoint_every=3) for run in runs)
