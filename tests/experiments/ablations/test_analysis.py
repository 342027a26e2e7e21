"""The statistics of a table: intervals, verdicts and ranks against values computed by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from experiments.ablations.analysis import CONFIRMED, CONTRADICTED, FEW, UNSEEN, analyse, best, interval, ranks, verdict
from experiments.ablations.table import Setting, Table

CHANGES = {"method.temperature": 0.1}
COLD = "simclr/method.temperature=0.1"


def table(*settings, metrics=("loss",)):
    return Table("own", "own", "nobody", "nothing", lambda scale: list(settings), metrics=metrics)


def runs(*figures, **more):
    return {str(seed): {"pretrained": {"linear": f, "knn20": 0.5}, **more} for seed, f in enumerate(figures)}


def test_interval_is_students_t():
    differences = [1.0, 2.0, 4.0]
    low, high = interval(differences)
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    np.testing.assert_allclose((low, high), expected)
    assert interval([1.0]) == (-math.inf, math.inf)
    assert interval([0.5, 0.5]) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("low", "high", "paper", "told"),
    [
        (0.1, 2.0, 3.0, CONFIRMED),
        (-2.0, -0.1, -3.0, CONFIRMED),
        (0.1, 2.0, -3.0, CONTRADICTED),
        (-2.0, -0.1, 3.0, CONTRADICTED),
        (-0.1, 2.0, 3.0, UNSEEN),
        (0.0, 2.0, 3.0, UNSEEN),
        (0.1, 2.0, None, ""),
        (0.1, 2.0, 0.0, ""),
    ],
)
def test_verdict(low, high, paper, told):
    assert verdict(low, high, paper) == told


def test_differences_are_paired_by_seed():
    base, cold = Setting("base", paper=60.0, baseline=True), Setting("cold", CHANGES, paper=58.5)
    saved = {"simclr/base": runs(0.5, 0.7, 0.6), COLD: runs(0.49, 0.69, 0.58, last={"loss": 2.0})}
    first, second = analyse(table(base, cold), "digits", saved)
    assert (first.change, first.verdict) == (None, "")
    np.testing.assert_allclose([first.mean, first.spread], [60, 10])
    np.testing.assert_allclose(second.change, -4 / 3)
    assert second.paper_change == -1.5
    # A spread of ten points in each column does not hide the paired difference.
    assert second.low < -1 < second.high < 0.2
    assert second.last == {"loss": 2.0}
    # Without the third seed both differences are equal, and the interval would be a single point, which is not credible.
    del saved["simclr/base"]["2"]
    assert analyse(table(base, cold), "digits", saved)[1].verdict == FEW


def test_failed_collapsed_and_missing_runs():
    base, cold = Setting("base", baseline=True), Setting("cold", CHANGES, paper_sign=-1)
    colours = Setting("colours", {"method.temperature": 0.2}, photographs=True)
    saved = {
        "simclr/base": runs(0.5, 0.6),
        COLD: {"0": {"non_finite": "at step 3"}, **runs(0.1, collapse="uniform output")},
    }
    saved[COLD]["1"] = {"non_finite": "at step 3"}
    _, row, missing = analyse(table(base, cold, colours), "digits", saved)
    assert (row.failed, row.collapsed, row.values) == (1, {"uniform output": 1}, (10.0,))
    # A single pair has no interval.
    assert row.verdict == FEW
    assert not missing.applies
    del saved[COLD]
    assert not analyse(table(base, cold), "digits", saved)[1].run


def test_the_sign_alone_is_enough_for_a_verdict():
    base, cold = Setting("base", baseline=True), Setting("cold", CHANGES, paper_sign=-1)
    saved = {"simclr/base": runs(0.5, 0.6, 0.7), COLD: runs(0.4, 0.5, 0.61)}
    assert analyse(table(base, cold), "digits", saved)[1].verdict == CONFIRMED


def test_ranks_are_spearmans_within_a_group():
    temperatures = (0.1, 0.2, 0.3, 0.4, 0.5)
    settings = [
        Setting(f"{t}", {"method.temperature": t}, paper=p) for t, p in zip(temperatures, (1, 2, 3, 4, 5), strict=True)
    ]
    alone = Setting("alone", {"method.temperature": 0.9}, paper=9, group="another")
    figures = (0.1, 0.3, 0.2, 0.4, 0.5)
    saved = {
        f"simclr/method.temperature={t}": runs(f) for t, f in zip((*temperatures, 0.9), (*figures, 0.9), strict=True)
    }
    saved["simclr/base"] = saved.pop("simclr/method.temperature=0.5")
    (rank,) = ranks(analyse(table(*settings, alone), "digits", saved))
    assert (rank.rows, rank.group) == (5, "")
    np.testing.assert_allclose(rank.rho, 0.9)
    assert -1 <= rank.low < rank.rho <= rank.high <= 1
    assert ranks(analyse(table(*settings[:3]), "digits", saved)) == []


def test_the_papers_best_row_compared_with_ours():
    base, cold = Setting("base", paper=60.0, baseline=True), Setting("cold", CHANGES, paper=62.0)
    saved = {"simclr/base": runs(0.5, 0.7, 0.6), COLD: {"2": runs(0.59)["0"], "0": runs(0.48)["0"]}}
    found = best(analyse(table(base, cold), "digits", saved))
    assert (found.papers.setting, found.other.setting) == (cold, base)
    assert (found.place, found.of, found.pairs) == (2, 2, 2)
    # Both rows have seeds 0 and 2.
    np.testing.assert_allclose([found.ahead, found.low, found.high], [-1.5, *interval([-2.0, -1.0])])
    del saved[COLD]
    assert best(analyse(table(base, cold), "digits", saved)) is None
