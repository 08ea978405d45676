"""The documentation is true: its commands parse, its links and paths exist, its reference is made from the code."""

import re
import shlex
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from medmvl.cli.main import VERBS, LazyVerb
from medmvl.models.known_sizes import llm_config
from medmvl.training.recipe_files import load_recipe, parse_recipe, recipe_names
from tests.factories.scripts import load_script

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
GENERATED = {"reference/cli.md", "reference/recipe.md", "reference/samples.md"}


def commands(page: Path) -> Iterator[list[str]]:
    """The `medmvl` and `make` commands of a page's bash blocks, as words."""
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if "medmvl" in words:
                yield words[words.index("medmvl") :]
            elif words and words[0] == "make":
                yield words


EVERY_COMMAND = [(page, words) for page in PAGES for words in commands(page)]


def identify(value: Any) -> str:
    return value.name if isinstance(value, Path) else " ".join(value[:3])


@pytest.mark.parametrize(("page", "words"), EVERY_COMMAND, ids=identify)
def test_printed_commands_exist_with_their_options(page: Path, words: list[str]) -> None:
    program, verb, *rest = words
    if program == "make":
        assert re.search(rf"^{verb}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    command = LazyVerb(verb, VERBS[verb]).load()
    if hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    options = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    used = {word.split("=")[0] for word in rest if word.startswith("--")}
    assert used <= options
    if verb == "train":
        assert rest[0] in recipe_names() or rest[0].endswith(".yaml")


PRINTED_TRAININGS = [words for _, words in EVERY_COMMAND if words[:2] == ["medmvl", "train"]]


@pytest.mark.parametrize("words", PRINTED_TRAININGS, ids=" ".join)
def test_printed_overrides_make_a_valid_recipe(words: list[str]) -> None:
    """What a page changes on the command line exists, and a dry run without weights knows the LLM that it names."""
    if words[2] not in recipe_names():
        return
    recipe = load_recipe(words[2], [word for word in words[3:] if "=" in word and not word.startswith("--")])
    if "--dry-run" in words and recipe.model.init is None and (name := recipe.model.llm.path) is not None:
        assert llm_config(name) is not None


def test_recipes_on_the_pages_are_valid(tmp_path: Path) -> None:
    blocks = [
        (page, yaml.safe_load(block))
        for page in PAGES
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    ]
    whole = [
        (page, block)
        for page, block in blocks
        if {"model", "stages"} <= set(block) and "extends" not in block
    ]
    assert len(whole) >= 2
    for page, block in whole:
        assert parse_recipe(block, str(page)).stages
    derived = [block for _, block in blocks if block.get("extends") in recipe_names()]
    assert len(derived) >= 2
    for block in derived:
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(block))
        assert load_recipe(str(tmp_path / "recipe.yaml")).stages


def test_no_page_asks_a_model_about_the_patients_it_was_trained_on() -> None:
    """The recipes train on phantoms of their own seed; what a page writes to ask about has another."""
    recipes = Path(str(files("medmvl") / "recipes")).rglob("*.yaml")
    trained = {yaml.safe_load(recipe.read_text(encoding="utf-8")).get("seed", 0) for recipe in recipes}
    made = [words for _, words in EVERY_COMMAND if words[:2] == ["medmvl", "phantoms"]]
    assert made and all("--seed" in words for words in made)
    assert not trained & {int(words[words.index("--seed") + 1]) for words in made}


def test_the_pages_show_every_verb() -> None:
    assert {words[1] for _, words in EVERY_COMMAND if words[0] == "medmvl"} == set(VERBS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
    for path in re.findall(r"`((?:src|tests|examples|benchmarks|docs)/[\w./-]+)", text):
        assert (ROOT / path).exists(), path


def test_the_tree_of_the_readme_is_the_tree() -> None:
    tree = re.search(
        r"```text\nsrc/medmvl/\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert tree is not None
    named = re.findall(r"^( *)(\w+)/ ", tree.group(1), re.MULTILINE)
    rooms = {name for indent, name in named if indent}
    found = {
        path.name for path in (ROOT / "src/medmvl").iterdir() if path.is_dir() and path.name[0] not in "._"
    }
    assert rooms == found
    for indent, name in named:
        assert (ROOT / name).is_dir() or indent


def test_the_reference_is_made_from_the_code() -> None:
    pages = {name: page() for name, page in load_script("docs/reference/generate.py").PAGES.items()}
    assert set(pages) == GENERATED
    for name, page in pages.items():
        written = (ROOT / "docs" / name).read_text(encoding="utf-8")
        assert written == page.rstrip() + "\n", f"docs/{name} is out of date; run: make reference"
    assert all(f"## `medmvl {verb}" in pages["reference/cli.md"] for verb in VERBS)
    for key in ("`stages`", "`image_encoder`", "`learning_rate`"):
        assert key in pages["reference/recipe.md"]
    for key in ("`messages`", "`days_before_current`", "`patient`"):
        assert key in pages["reference/samples.md"]


def test_every_key_of_a_recipe_and_of_a_sample_is_explained() -> None:
    from medmvl.schema import Sample
    from medmvl.training.recipe import Recipe

    unexplained = [
        f"{title}.{key}"
        for schema in (Recipe.model_json_schema(), Sample.model_json_schema())
        for title, part in ({schema["title"]: schema} | schema.get("$defs", {})).items()
        for key, value in part.get("properties", {}).items()
        if not value.get("description")
    ]
    assert not unexplained


def test_the_navigation_names_every_page_and_no_other() -> None:
    def leaves(node: Any) -> Iterator[str]:
        for child in node.values() if isinstance(node, dict) else node:
            if isinstance(child, str):
                yield child
            else:
                yield from leaves(child)

    named = set(leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert named == written | GENERATED


def test_the_drawing_of_the_rooms_is_the_import_contract() -> None:
    """A layer per line, lowest last; brackets mark a layer that may be absent."""
    contract = (ROOT / ".importlinter").read_text(encoding="utf-8")
    layers = re.search(r"containers =\n    medmvl\nlayers =\n((?:    .+\n)+)", contract)
    drawing = re.search(
        r"```text\n(.*?)```",
        (ROOT / "docs/explanation/architecture.md").read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert layers is not None and drawing is not None
    assert drawing.group(1).split() == re.sub(r"[()]", "", layers.group(1)).split()
