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

The library is a stack of folders. A folder imports only folders above it in this table, and no two files import each other;
tests check both. `python -m experiments.architecture` reads the table and the graph from the code and writes this page.
"""

BATCH = """## The path of a batch

1. `data/sources.py` finds the source by its name (`folder:PATH`). `data/folder.py` lists the files. `data/picture.py` decodes
   each into a square uint8 canvas, upright and opaque, and stores the original aspect ratio with it.
2. A dataset that fits in memory is kept on the devices (`data/feed.py`); a larger one is decoded ahead of the step
   (`data/stream.py`). Both give the same batches, in an order that depends only on the seed and the epoch.
3. `training/loop.py` runs the steps. The compiled step (`training/step.py`) gathers the batch, and the method computes its
   views (`methods/simclr.py`, with the recipe in `augment/views.py`).
4. The method's loss runs the networks (`networks/`) and the loss function (`losses/`). The optimiser (`optim.py`) applies the
   gradient, and `after_update` updates the targets.
5. The loop writes metrics to the run's folder (`runs/run_dir.py`). It checks the features for collapse (`training/watch.py`),
   evaluates them with kNN (`training/quality.py`, `evaluation/knn.py`), and saves the state (`runs/checkpoints.py`).
6. At the end, `cli/pretrain.py` writes the table of accuracies and the report (`report/`).
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
    table = ["| folder or file | purpose | imports |", "|---|---|---|", *rows]
    legend = "An arrow points to an imported folder. Arrows that follow from other arrows are left out."
    drawing = ["```mermaid", "graph TD", *arrows, "```", "", legend]
    return "\n".join([HEAD, *table, "", *drawing, "", BATCH])


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="python -m experiments.architecture")
    terminal.run_script(lambda: write_atomically(expanded(options.page), page()), compiles=False)


if __name__ == "__main__":
    main()
