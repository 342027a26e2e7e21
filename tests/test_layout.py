"""What the layout promises: imports point one way, flax and orbax stay in their rooms, public functions are documented."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "sslax").rglob("*.py"))

# A room may import the rooms below it; those of one rank do not know each other, but for what is named in ALSO.
RANKS = [
    {"errors"},
    {"files", "checks", "numerics", "processes", "compilation"},
    {"losses", "augment", "networks", "optim", "data", "evaluation", "config"},
    {"methods", "export"},
    {"training"},
    {"report"},
]
# The checks of a configuration ask the rooms whose fields they check: what a patch or a view measures is known there.
ALSO: dict[str, set[str]] = {"processes": {"errors"}, "config": {"networks", "augment"}}


def room(path):
    return path.relative_to(ROOT / "sslax").with_suffix("").parts[0]


def imports(path, typing_too=False):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    checked = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in checked and not typing_too:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path):
    own = room(path)
    if own == "__init__":
        return
    rank = next(i for i, rooms in enumerate(RANKS) if own in rooms)
    allowed = set().union(*RANKS[:rank], {own}, ALSO.get(own, set()))
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "sslax" and len(parts) > 1 and any(parts[1] in rooms for rooms in RANKS):
            assert parts[1] in allowed, f"{own} imports {name}"
        assert parts[0] != "experiments"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_flax_and_orbax_stay_in_their_rooms(path):
    roots = {name.split(".")[0] for name in imports(path, typing_too=True)}
    if room(path) != "networks":
        assert "flax" not in roots
    if path.name != "checkpoints.py":
        assert "orbax" not in roots
    if room(path) == "losses":
        assert roots <= {"jax", "jaxtyping", "sslax", "math", "numpy", "functools", "collections"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_public_functions_and_classes_are_documented(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree) or not tree.body
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path.name}: {node.name}"
