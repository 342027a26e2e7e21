"""The definitions of the tables: every row is a valid configuration with the paper's figure."""

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


def test_every_row_is_a_configuration_that_can_run(table):
    for config in {run.config for scale in SCALES.values() for run in grid(table, scale, Options(seeds=1))}:
        check(config)


def test_each_group_has_one_baseline_and_unique_rows(table):
    for name, scale in SCALES.items():
        rows = applicable(table, scale)
        for group in {row.group for row in rows}:
            own = [row for row in rows if row.group == group]
            assert sum(row.baseline for row in own) == 1, (name, group)
            assert len({row.name for row in own}) == len(own), (name, group)
            trained = [(slug(row, scale.configs[row.method]), row.features) for row in own]
            assert len(set(trained)) == len(trained), (name, group)


def test_discussions_contain_no_figures_of_ours(table):
    """Claim and source may quote the paper's figures; the discussion must not repeat any figures of the table."""
    for text in table.discussion.values():
        assert not re.findall(r"\d+\.\d", re.sub(r"arXiv:\S+", "", text))


def test_rows_that_need_colours_are_skipped_for_gray_digits(table):
    rows = table.settings("digits")
    assert applicable(table, SCALES["digits"]) == [row for row in rows if not row.photographs]
    assert applicable(table, SCALES["cifar10"]) == table.settings("cifar10")


def commands(name):
    """The changes of all rows of a method, in few commands: reading one takes as long for a field as for all of them.

    Rows that change different fields, or one field to the same value, are in one command."""
    together = []
    for row in (row for table in TABLES.values() for row in table.settings("digits")):
        if row.method == name and not row.photographs:
            fits = (
                old for old in together if all(old.get(field, value) == value for field, value in row.changes.items())
            )
            old = next(fits, None)
            if old is None:
                together.append(old := {})
            old.update(row.changes)
    return together


@pytest.mark.parametrize("name", SCALES["digits"].configs)
def test_flags_equal_the_commands(name):
    """Flags from the page, passed to the command, give the same configuration."""
    base = SCALES["digits"].configs[name]
    for changes in commands(name):
        assert parse(["base", *flags(Setting("", changes)).split()], {"base": base})[1] == changed(base, changes)


def test_changes_without_effect_do_not_change_the_folder():
    base = SCALES["digits"].configs["simclr"]
    same = Setting("as it is", {"method.temperature": base.method.temperature})
    assert slug(same, base) == "simclr/base"
    other = Setting("other", {"method.temperature": 0.125, "method.views.blur_sigma": (0.5, 1.0)})
    assert slug(other, base) == "simclr/method.temperature=0.125,method.views.blur_sigma=0.5-1.0"
    with pytest.raises(TypeError, match="no_field"):
        changed(base, {"method.no_field": 1})


def test_options_set_lengths_and_images():
    table = TABLES["dino_center"]
    runs = grid(table, SCALES["digits"], Options(epochs=3, seeds=2, data="folder:elsewhere"))
    assert len(runs) == 8
    assert {(run.config.epochs, run.config.data, run.config.optim.warmup_epochs) for run in runs} == {
        (3, "folder:elsewhere", 1.5)
    }
    assert [(run.config.seed, run.config.split_seed) for run in runs[:2]] == [(0, 0), (1, 1)]
    assert grid(table, SCALES["cifar10"], Options())[1].config.split_seed == 0
    assert all(run.config == dataclasses.replace(run.config, checkpoint_every=3) for run in runs)
