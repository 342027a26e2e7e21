"""docs/architecture.md matches the imports and docstrings of the code."""

from experiments import architecture


def test_the_page_is_up_to_date():
    text = (architecture.ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert text == architecture.page(), "python -m experiments.architecture writes it anew"


def test_folders_are_ordered_by_what_they_need():
    needs = {"a": {"b", "c"}, "b": {"c"}, "c": set()}
    assert architecture.ordered(needs) == ["c", "b", "a"]
    assert architecture.reduced(needs) == {"a": {"b"}, "b": {"c"}, "c": set()}
