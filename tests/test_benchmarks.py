"""Benchmarks run by hand only; that the names they import exist, today and in the build they compare with, is checked here."""

import ast
import re
import subprocess
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.factories.scripts import load_script

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))
BEFORE = load_script("benchmarks/both_builds.py").BEFORE


def imports(node: ast.AST, choices: tuple[str, ...] = ()) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Module and name of each import from the package below `node`, and the conditions above it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ImportFrom) and (child.module or "").split(".")[0] == "medmvl":
            yield from ((str(child.module), alias.name, choices) for alias in child.names)
        inner = (*choices, ast.unparse(child.test)) if isinstance(child, ast.If) else choices
        yield from imports(child, inner)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.stem))
def test_what_a_benchmark_imports_exists(script: Path) -> None:
    for module, name, choices in imports(ast.parse(script.read_text())):
        if not any("before" in choice for choice in choices):
            assert hasattr(import_module(module), name) or find_spec(f"{module}.{name}"), (module, name)


@pytest.mark.parametrize(
    "script", [script for script in SCRIPTS if re.search("^(import|from) both_builds", script.read_text(), re.MULTILINE)],
    ids=lambda script: str(script.stem),
)  # fmt: skip
def test_what_both_sides_import_exists_in_the_earlier_build(script: Path) -> None:
    """The sides' imports are inside of functions; what one side alone imports is below a condition."""
    if subprocess.run(
        ["git", "cat-file", "-e", BEFORE], cwd=ROOT, capture_output=True, check=False
    ).returncode:
        pytest.skip(f"this clone has no history back to {BEFORE}")
    sides = [node for node in ast.parse(script.read_text()).body if isinstance(node, ast.FunctionDef)]
    for module, name, choices in (found for side in sides for found in imports(side)):
        assert choices or was_there(module, name), f"{module}.{name} is not in {BEFORE}"


def was_there(module: str, name: str) -> bool:
    """Whether the earlier build has the name in that module, or as a module of that package."""
    path = f"src/{module.replace('.', '/')}"
    for file in (f"{path}.py", f"{path}/__init__.py"):
        shown = subprocess.run(
            ["git", "show", f"{BEFORE}:{file}"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if shown.returncode == 0 and name in shown.stdout:
            return True
    inside = subprocess.run(
        ["git", "cat-file", "-e", f"{BEFORE}:{path}/{name}.py"], cwd=ROOT, capture_output=True, check=False
    )
    return inside.returncode == 0
