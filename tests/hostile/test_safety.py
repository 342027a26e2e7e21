"""Nothing that is loaded can run code: no source of the package or of the scripts uses what could."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = sorted(path for room in ("sslax", "experiments") for path in (ROOT / room).rglob("*.py"))

# Modules whose files are programs, or that read such files.
MODULES = {
    "pickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "yaml",
    "code",
    "runpy",
    "imp",
}
BUILTINS = {"eval", "exec", "compile", "__import__"}
# The rival of the benchmarks is torch, whose files are pickles and whose hub is programs.
CALLS = {"os.system", "os.popen", "importlib.import_module", "torch.load", "torch.jit.load", "torch.hub.load"}
# Files that import by names of a table of their own, and of nothing that was loaded.
TABLES = {"sslax/__init__.py", "sslax/cli/main.py", "sslax/data/formats.py"}
# What reads NumPy's files takes pickles where it is not told otherwise, or may be told to.
ARRAYS = {"np.load", "numpy.load", "np.lib.format.read_array", "jnp.load"}


def dangers(source):
    """What in a source could run what it loads, in words."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"import {name}" for name in names if name.split(".")[0] in MODULES]
            if isinstance(node, ast.ImportFrom) and node.module in ("torch", "torch.hub", "numpy"):
                found += [f"{node.module}.{alias.name}" for alias in node.names if alias.name in ("load", "hub")]
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        options = {option.arg: ast.unparse(option.value) for option in node.keywords}
        # With weights_only, torch unpickles tensors and containers alone.
        weights = name == "torch.load" and options.get("weights_only") == "True"
        if (name in BUILTINS or name in CALLS) and not weights:
            found.append(name)
        if name in ARRAYS and options.get("allow_pickle") != "False":
            found.append(f"{name} without allow_pickle=False")
        if options.get("allow_pickle", "False") != "False" or options.get("shell", "False") != "False":
            found.append(f"{name} with {options}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_runs_what_it_loads(path):
    allowed = {"importlib.import_module"} if path.relative_to(ROOT).as_posix() in TABLES else set()
    assert set(dangers(path.read_text(encoding="utf-8"))) <= allowed


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from torch import load",
        "from numpy import load",
        "torch.load(path)",
        "import yaml.constructor",
        "eval(text)",
        "exec(text, {})",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.save(path, x, allow_pickle=True)",
        "subprocess.run(text, shell=True)",
        "importlib.import_module(name)",
    ],
)
def test_what_could_run_code_is_found(source):
    assert dangers(source)
