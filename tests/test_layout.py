"""The layout of the library: order of imports, who may import flax and orbax, documented public functions."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "sslax").rglob("*.py"))

# A folder may import folders of earlier ranks. Folders of one rank may not import each other, except as listed in ALSO.
RANKS = [
    {"errors", "checks", "numerics", "files", "compilation"},
    {"networks"},
    {"losses", "augment", "evaluation", "optim", "export", "processes"},
    {"data"},
    {"config"},
    {"report"},
    {"methods"},
    {"recipes"},
    {"runs"},
    {"training"},
    {"finetuning"},
    {"cli"},
]
ALSO: dict[str, set[str]] = {
    "checks": {"errors", "numerics"},
    "files": {"errors"},
    "compilation": {"errors"},
    "numerics": {"checks"},
}


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
def test_imports_follow_the_order_of_the_folders(path):
    own = room(path)
    if own in ("__init__", "__main__"):
        return
    rank = next(i for i, rooms in enumerate(RANKS) if own in rooms)
    allowed = set().union(*RANKS[:rank], {own}, ALSO.get(own, set()))
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "sslax" and len(parts) > 1 and any(parts[1] in rooms for rooms in RANKS):
            assert parts[1] in allowed, f"{own} imports {name}"
        assert parts[0] != "experiments"


def test_no_two_files_import_each_other():
    """There are no import cycles of any length, in the library and in the scripts."""
    files = [*FILES, *sorted((ROOT / "experiments").rglob("*.py"))]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}
    graph = {}
    for name, path in names.items():
        found = {module for module in imports(path) if module in names}
        # `from sslax.augment import color` depends on the file; the package is only its folder.
        graph[name] = {module for module in found if not any(other.startswith(f"{module}.") for other in found)} - {
            name
        }
    left = dict(graph)
    while free := [name for name, found in left.items() if not found & left.keys()]:
        for name in free:
            del left[name]
    assert not left, sorted(left)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_networks_import_flax_and_only_checkpoints_imports_orbax(path):
    roots = {name.split(".")[0] for name in imports(path, typing_too=True)}
    if room(path) != "networks":
        assert "flax" not in roots
    if path.name != "checkpoints.py":
        assert "orbax" not in roots
    if room(path) == "losses":
        assert roots <= {"jax", "jaxtyping", "sslax", "math", "numpy", "functools", "collections", "typing"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_public_functions_and_classes_are_documented(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree) or not tree.body
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path.name}: {node.name}"
