"""The house: imports stay light and point one way, the Auto classes know ours, pins and public names hold."""

import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

import medmvl
from medmvl import auto_classes

ROOT = Path(__file__).parent.parent


def python(script: str) -> str:
    """Output of a script run in an interpreter of its own."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "package",
    ["medmvl", "medmvl.imaging", "medmvl.schema", "medmvl.phantoms", "medmvl.tasks", "medmvl.rewards"],
)
def test_light_rooms_import_neither_torch_nor_transformers(package: str) -> None:
    """The import contract reads the sources; this runs them."""
    assert python(f"import sys, {package}; print({{'torch', 'transformers'}} & set(sys.modules))") == "set()"


def test_a_recipe_is_checked_without_torch(tmp_path: Path) -> None:
    """A wrong key is told at once, not after seconds of imports; nor are the libraries of scans needed for it."""
    (tmp_path / "wrong.yaml").write_text("extends: quickstart\nseeed: 1\n")
    code = f"""
import sys
from medmvl.cli.main import main
try:
    main(["train", {str(tmp_path / "wrong.yaml")!r}])
except SystemExit as ended:
    print(ended.code, {{"torch", "transformers", "pydicom", "nibabel"}} & set(sys.modules))"""
    assert python(code) == "2 set()"


@pytest.mark.parametrize(
    "order",
    [
        "import medmvl, transformers",
        "import transformers, medmvl",
        "from transformers import AutoModel; import medmvl",
    ],
)
def test_auto_classes_know_ours_whatever_is_imported_first(order: str) -> None:
    script = f"""
{order}
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
config = CONFIG_MAPPING["medmvl"]
print(config is medmvl.MedMVLConfig)
print(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[config] is medmvl.MedMVLForConditionalGeneration)
print(PROCESSOR_MAPPING[config] is medmvl.MedMVLProcessor)
"""
    assert python(script).split() == ["True"] * 3


def test_the_finder_leaves_other_imports_and_the_modules_loader_alone() -> None:
    script = """
import medmvl
from transformers.models.auto import configuration_auto
print(type(configuration_auto.__loader__).__name__, type(configuration_auto.__spec__.loader).__name__)
"""
    assert python(script) == "SourceFileLoader SourceFileLoader"


def test_registrations_name_modules_that_exist() -> None:
    """transformers may move its Auto classes; then the registration would silently never happen."""
    from importlib.util import find_spec

    for module in auto_classes.REGISTRATIONS:
        assert find_spec(module) is not None


@pytest.mark.parametrize("name", list(medmvl.PUBLIC_NAMES))
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(medmvl, name) is not None
    assert name in dir(medmvl)


def test_nothing_but_public_names_is_listed() -> None:
    assert set(dir(medmvl)) == {"__version__", *medmvl.PUBLIC_NAMES}


def test_an_unknown_public_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match="MedMVLConfig"):
        medmvl.MedMVLConfg  # noqa: B018


def test_every_requirement_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    pins = re.findall(r"^([\w.-]+)==[\w.]+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    normalised = {re.sub(r"[-_.]+", "-", pin).lower() for pin in pins}
    for requirement in requirements:
        name = re.split(r"[<>=\[;]", requirement)[0].strip()
        assert re.sub(r"[-_.]+", "-", name).lower() in normalised, f"{requirement} has no pin"


def test_pins_are_plain_versions() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)


def test_the_version_is_the_one_of_the_changelog_the_citation_and_the_metadata() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == medmvl.__version__
    assert f"## {medmvl.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"\nversion: {medmvl.__version__}\n" in (ROOT / "CITATION.cff").read_text()
