"""Damaged checkpoints: a run resumes from an older checkpoint and says so, or stops with one sentence."""

import json
import pathlib
import shutil

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

import sslax
from sslax.config import to_dict
from sslax.errors import InputError
from sslax.runs import RunDir
from sslax.runs.checkpoints import Checkpoints
from sslax.runs.digest import files
from sslax.runs.run_dir import facts
from sslax.training import DamagedCheckpoint, build, start_state
from tests import tiny
from tests.runs.saved import STEPS, data_file, goes_on, make, moved


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def copied(made, tmp_path):
    """A copy of that run, which a test may damage."""
    return pathlib.Path(shutil.copytree(made[0], tmp_path / "run"))


def rewrite(change):
    return lambda file: file.write_bytes(change(file.read_bytes()))


def flip(content):
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


truncate = rewrite(lambda content: content[: len(content) // 2])
zero = rewrite(lambda content: bytes(len(content)))
empty = rewrite(lambda content: b"")
garble = rewrite(lambda content: b"\xff\x00not what was here" + content[::-1])


def every_file(change):
    def damage(step):
        for file in step.rglob("*"):
            if file.is_file():
                change(file)

    return damage


def saved_unnamed(step):
    """Replace the checkpoint by one unnamed item, which is orbax's default layout."""
    shutil.rmtree(step)
    with ocp.CheckpointManager(step.parent) as manager:
        manager.save(int(step.name), args=ocp.args.StandardSave({"step": np.full((), 12), "params": np.ones(3)}))


def of_another_orbax(step):
    """Intact files in the format of a different program."""
    (step / "state" / "manifest.ocdbt").unlink()
    (step / "state" / "_METADATA").write_text("{}")
    content = json.loads((step / "digest.json").read_text())
    content["files"] = files(step)
    (step / "digest.json").write_text(json.dumps(content))


def another_configuration(step, **changes):
    config = tiny.config(**changes)
    built = build(config, tiny.dataset(), devices=jax.devices()[:1])
    shutil.rmtree(step)
    checkpoints = Checkpoints(step.parent, keep=3)
    checkpoints.save(moved(start_state(config, built), int(step.name)))
    checkpoints.close()


def digest(change):
    def damage(step):
        file = step / "digest.json"
        file.write_text(json.dumps(change(json.loads(file.read_text()))))

    return damage


def another_sum(content):
    name = max(content["files"])
    content["files"][name] = content["files"][name][::-1]
    return content


def without_a_field(content):
    del content["arrays"]["['state']['faults'].total"]
    return content


def copied_half(step):
    files = sorted(file for file in step.rglob("*") if file.is_file())
    for file in files[len(files) // 2 :]:
        file.unlink()


def from_another_step(step):
    shutil.rmtree(step / "state")
    shutil.copytree(step.with_name("8") / "state", step / "state")


def under_another_number(step):
    shutil.rmtree(step)
    shutil.copytree(step.with_name("4"), step)


def a_file_in_its_place(step):
    shutil.rmtree(step)
    step.write_text("no folder")


CHANGED = " has changed since it was written"
# For each kind of damage to the newest checkpoint: the function that does it, and words that the message must contain.
DAMAGE = {
    "data truncated": (lambda step: truncate(data_file(step)), CHANGED),
    "data missing": (lambda step: data_file(step).unlink(), "is missing"),
    "data zeroed": (lambda step: zero(data_file(step)), CHANGED),
    "data empty": (lambda step: empty(data_file(step)), CHANGED),
    "a bit flipped": (lambda step: rewrite(flip)(data_file(step)), CHANGED),
    "manifest missing": (lambda step: (step / "state" / "manifest.ocdbt").unlink(), "manifest.ocdbt is missing"),
    "manifest zeroed": (lambda step: zero(step / "state" / "manifest.ocdbt"), f"manifest.ocdbt{CHANGED}"),
    "tree truncated": (lambda step: truncate(step / "state" / "_METADATA"), f"state/_METADATA{CHANGED}"),
    "tree missing": (lambda step: (step / "state" / "_METADATA").unlink(), "state/_METADATA is missing"),
    "tree garbled": (lambda step: garble(step / "state" / "_METADATA"), f"state/_METADATA{CHANGED}"),
    "digest missing": (lambda step: (step / "digest.json").unlink(), "it has no digest.json"),
    "digest truncated": (lambda step: truncate(step / "digest.json"), f"its digest.json{CHANGED}"),
    "digest zeroed": (lambda step: zero(step / "digest.json"), f"its digest.json{CHANGED}"),
    "digest garbled": (lambda step: garble(step / "digest.json"), f"its digest.json{CHANGED}"),
    "digest of other things": (digest(lambda content: [1, 2]), f"its digest.json{CHANGED}"),
    "digest changed": (digest(another_sum), CHANGED),
    "state missing": (lambda step: shutil.rmtree(step / "state"), "is missing"),
    "every file zeroed": (every_file(zero), CHANGED),
    "every file truncated": (every_file(truncate), CHANGED),
    "every file empty": (every_file(empty), CHANGED),
    "copied half": (copied_half, "is missing"),
    "an empty folder": (lambda step: (shutil.rmtree(step), step.mkdir()), "it has no digest.json"),
    "a file in its place": (a_file_in_its_place, "it is not a folder"),
    "arrays of another step": (from_another_step, "its state/"),
    "another step's folder": (under_another_number, "it has the state of step 4"),
    "the layout of one unnamed item": (saved_unnamed, "another version wrote it"),
    "what orbax cannot read": (of_another_orbax, "orbax says"),
    "another version's fields": (digest(without_a_field), "it lacks ['state']['faults'].total"),
    "another width": (
        lambda step: another_configuration(
            step, network=tiny.NetworkConfig(name="patch-resnet", width=8, patch_size=2)
        ),
        "but this configuration needs float32 [",
    ),
    "another optimiser": (
        lambda step: another_configuration(step, optim=tiny.OptimizerConfig(name="sgd", warmup_epochs=1.0)),
        "another configuration or version wrote it",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_checkpoint_is_set_aside_and_the_previous_one_is_used(case, made, copied):
    damage, words = DAMAGE[case]
    damage(copied / "checkpoints" / "12")
    told = []
    state = goes_on(copied, made, told)
    assert int(state.step) == 8
    for ours, theirs in zip(jax.tree.leaves(state.params), jax.tree.leaves(moved(made[3], 8).params), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    (sentence,) = told[0]["passed_over"]
    assert sentence.startswith("The checkpoint of step 12 is damaged (")
    assert words in sentence
    assert "\n" not in sentence
    assert told[1:] == [{"resumed_at": 8}]
    assert [line["step"] for line in RunDir(copied, to_dict(made[1])).metrics()] == [4, 8]
    # It has been moved away.
    assert (copied / "checkpoints" / "damaged" / "12").exists()
    assert not (copied / "checkpoints" / "12").exists()


def test_a_second_resume_does_not_mention_what_was_set_aside(made, copied):
    truncate(data_file(copied / "checkpoints" / "12"))
    for events in (2, 1):
        told = []
        assert int(goes_on(copied, made, told).step) == 8
        assert len(told) == events
        assert told[-1] == {"resumed_at": 8}


@pytest.mark.parametrize("case", ["a bit flipped", "digest missing", "another width"])
def test_loading_uses_the_previous_checkpoint_and_warns(case, copied):
    damage, words = DAMAGE[case]
    damage(copied / "checkpoints" / "12")
    with pytest.warns(DamagedCheckpoint, match=r"damaged: step 12 \(.*; the checkpoint of step 8 was loaded") as warned:
        network = sslax.load(copied)
    assert words in str(warned[0].message)
    assert int(network.state.step) == 8
    # Loading moves nothing.
    assert (copied / "checkpoints" / "12").exists()


# Files and folders beside the checkpoints that must not disturb a run.
HARMLESS = {
    "a file": lambda folder: (folder / "notes.txt").write_text("mine"),
    "a folder": lambda folder: (folder / "old").mkdir(),
    "left of a write": lambda folder: shutil.copytree(folder / "8", folder / "16.orbax-checkpoint-tmp"),
    "left of an older write": lambda folder: (folder / "16.orbax-checkpoint-tmp-123").mkdir(),
    "left of a rename": lambda folder: shutil.copytree(folder / "8", folder / "16.partial"),
    "left of a deletion": lambda folder: copied_half(pathlib.Path(shutil.copytree(folder / "8", folder / "2.partial"))),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_other_files_in_the_folder_are_ignored(case, made, copied):
    HARMLESS[case](copied / "checkpoints")
    told = []
    assert int(goes_on(copied, made, told).step) == 12
    assert told == [{"resumed_at": 12}]


def test_with_two_of_three_damaged_the_oldest_is_used(made, copied):
    for step in ("8", "12"):
        zero(data_file(copied / "checkpoints" / step))
    told = []
    assert int(goes_on(copied, made, told).step) == 4
    assert [sentence.split(" is ")[0][-2:].strip() for sentence in told[0]["passed_over"]] == ["12", "8"]


def test_all_damaged_is_one_sentence_and_changes_nothing(made, copied):
    for step in STEPS:
        truncate(data_file(copied / "checkpoints" / str(step)))
    for attempt in (lambda: sslax.load(copied), lambda: goes_on(copied, made)):
        with pytest.raises(InputError, match=r"holds no checkpoint that can be used: step 12 \(.*; step 4 ") as raised:
            attempt()
        assert "\n" not in str(raised.value)
    # No checkpoint was moved, and no line of metrics was lost.
    assert {path.name for path in (copied / "checkpoints").iterdir()} == {"4", "8", "12"}
    assert len(RunDir(copied, to_dict(made[1])).metrics()) == 3


def test_a_missing_checkpoints_folder_stops_the_run(made, copied):
    shutil.rmtree(copied / "checkpoints")
    with pytest.raises(
        InputError, match="holds no checkpoint, but the run reached step 12 and wrote its first at step 4"
    ):
        goes_on(copied, made)
    with pytest.raises(InputError, match="holds no checkpoint"):
        sslax.load(copied)


def test_a_file_in_place_of_the_checkpoints_folder_stops_the_run(made, copied):
    shutil.rmtree(copied / "checkpoints")
    (copied / "checkpoints").write_text("")
    for attempt in (lambda: sslax.load(copied), lambda: goes_on(copied, made)):
        with pytest.raises(InputError, match=r"cannot be used for checkpoints: (Not a directory|File exists)\."):
            attempt()


def test_a_run_that_ended_before_its_first_checkpoint_starts_again_and_says_so(made, tmp_path):
    run = RunDir(tmp_path / "run", to_dict(made[1]))
    run.begin(facts(tiny.dataset()))
    run.append({"step": 2, "loss": 1.0, "seconds": 1.0})
    (run.checkpoints / "4.orbax-checkpoint-tmp").mkdir(parents=True)
    told = []
    assert int(goes_on(tmp_path / "run", made, told).step) == 0
    assert told == [{"restarted": 2}]
    assert run.metrics() == []


def test_the_newest_and_the_best_checkpoints_are_kept(made, tmp_path):
    checkpoints = Checkpoints(tmp_path / "kept", keep=2)
    for step, knn in enumerate([None, 0.5, 0.9, 0.9, None, 0.7, None], 1):
        assert checkpoints.is_best(knn) == (step in (2, 3))
        checkpoints.save(moved(made[3], step), knn=knn)
    assert checkpoints.steps() == [4, 6, 7]
    checkpoints.close()
    # Reopened, it still knows the best; a damaged checkpoint does not compete.
    checkpoints = Checkpoints(tmp_path / "kept", keep=1)
    assert not checkpoints.is_best(0.9)
    assert checkpoints.is_best(0.91)
    checkpoints.save(moved(made[3], 8))
    assert checkpoints.steps() == [4, 8]
    checkpoints.close()
    (tmp_path / "kept" / "4" / "digest.json").unlink()
    checkpoints = Checkpoints(tmp_path / "kept", keep=1)
    assert checkpoints.is_best(0.1)
    checkpoints.close()
