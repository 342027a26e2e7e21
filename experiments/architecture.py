"""Write docs/architecture.md: the purpose of each folder, the folders that it imports, and the path of a batch.

`python -m experiments.architecture`. The graph and the sentences come from the imports and docstrings of the code.
"""

import ast
import dataclasses
import pathlib
from collections.abc import Iterable

import tyro

from sslax.cli import terminal
from sslax.files import expanded, write_atomically

ROOT = pathlib.Path(__file__).resolve().parents[1]

HEAD = """# Architecture

The library is a stack of folders. Each needs only folders that stand above it in this table, and a test holds the order; no
two files import each other. The table and the drawing are read from the code: `python -m experiments.architecture` writes
this page.
"""

BATCH = """## The way of a batch

1. `data/sources.py` finds the source by its name (`folder:PATH`); `data/folder.py` lists the files, `data/picture.py` decodes
   one into a square uint8 canvas, upright and opaque, with its true aspect ratio beside it.
2. A set that fits lives on the devices (`data/feed.py`); others are decoded ahead of the step (`data/stream.py`). Both give the
   same batches, in an order that is a function of the seed and the epoch.
3. `training/loop.py` asks for steps. Inside the compiled step (`training/step.py`) the batch is gathered, and the method
   makes its views (`methods/simclr.py`, by the recipe in `augment/views.py`).
4. The method's loss runs the networks (`networks/`) and the loss itself (`losses/`); the gradient goes to the optimiser
   (`optim.py`), and `after_update` moves targets.
5. Back in the loop, metrics go to the run's folder (`runs/run_dir.py`), the collapse watch looks at the features
   (`training/watch.py`), kNN judges them (`training/quality.py`, `evaluation/knn.py`), and the state is saved
   (`runs/checkpoints.py`).
6. `cli/pretrain.py` ends with the table of accuracies and the page (`report/`).
"""


@dataclasses.dataclass(frozen=True)
class Options:
    """The page on the architecture."""

    page: str = "docs/architecture.md"
    """The page."""


def modules(tree: ast.Module) -> Iterable[str]:
    """The modules that a file imports, except under `TYPE_CHECKING`."""
    skipped = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "sslax":
            yield from (f"sslax.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def folders(root: pathlib.Path = ROOT) -> tuple[dict[str, str], dict[str, set[str]]]:
    """The first docstring sentence of each folder or single file of sslax, and the others that it imports."""
    said: dict[str, str] = {}
    needs: dict[str, set[str]] = {}
    for path in sorted((root / "sslax").rglob("*.py")):
        place = path.relative_to(root / "sslax").with_suffix("").parts
        name = place[0]
        if name in ("__init__", "__main__"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if place[1:] in ((), ("__init__",)):
            text = " ".join((ast.get_docstring(tree) or "").split("\n\n")[0].split())
            said[name] = text.split(". ")[0].rstrip(".") + "."
        found = {module.split(".")[1] for module in modules(tree) if module.startswith("sslax.")}
        needs[name] = needs.get(name, set()) | found - {name}
    # Names of the package itself, such as its version, are not folders.
    return said, {name: found & said.keys() for name, found in needs.items()}


def ordered(needs: dict[str, set[str]]) -> list[str]:
    """The folders in topological order: each after all that it needs."""
    left, order = dict(needs), list[str]()
    while left:
        free = sorted(name for name, found in left.items() if not found & left.keys())
        assert free, sorted(left)
        order += free
        for name in free:
            del left[name]
    return order


def reduced(needs: dict[str, set[str]]) -> dict[str, set[str]]:
    """The needs without those that follow from others (a transitive reduction), to keep the drawing readable."""

    def below(name: str) -> set[str]:
        return needs[name].union(*(below(other) for other in needs[name]))

    return {
        name: {one for one in found if not any(one in below(other) for other in found - {one})}
        for name, found in needs.items()
    }


def page(root: pathlib.Path = ROOT) -> str:
    """The whole page."""
    said, needs = folders(root)
    order = ordered(needs)
    rows = [
        f"| `{name}` | {said[name]} | {', '.join(f'`{other}`' for other in order if other in needs[name]) or '–'} |"
        for name in order
    ]
    arrows = [f"    {name} --> {other}" for name, found in reduced(needs).items() for other in sorted(found)]
    table = ["| | what it is for | needs |", "|---|---|---|", *rows]
    legend = "An arrow points to what is needed; what follows from other arrows is left out."
    drawing = ["```mermaid", "graph TD", *arrows, "```", "", legend]
    return "\n".join([HEAD, *table, "", *drawing, "", BATCH])


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="python -m experiments.architecture")
    terminal.run_script(lambda: write_atomically(expanded(options.page), page()), compiles=False)


if __name__ == "__main__":
    main()
