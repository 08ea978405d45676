"""Plug-ins: the example package, truly installed, trains and reloads; names that clash, lie or are missing are errors."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.factories.training import ALL_FULL, MODEL, recipe, stage

from medmvl import plugins
from medmvl.errors import RecipeError, UserError
from medmvl.models.assemble import assemble, load, preprocessor_of
from medmvl.models.catalogue import catalogue
from medmvl.models.configuration import MedMVLConfig
from medmvl.models.connectors import parse_connector_config
from medmvl.models.encoders import parse_image_encoder_config
from medmvl.training.recipe import Recipe
from medmvl.training.recipe_files import load_recipe
from medmvl.training.run import load_sources, train, training_texts

ROOT = Path(__file__).parents[2]
IMAGES = {key: value for key, value in MODEL.items() if not key.startswith("volume")}
WITH_PLUGINS = {
    **IMAGES,
    "image_encoder": {"type": "small_cnn", "width": 16, "num_layers": 3},
    "image_connector": {"type": "gated"},
}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder into which pip installed the example package, offline, with its metadata."""
    folder = tmp_path_factory.mktemp("plugin")
    return install(shutil.copytree(ROOT / "examples/plugin", folder / "source"), folder / "site")


def install(source: Path, site: Path) -> Path:
    """What `pip install` makes of a folder, elsewhere than in this environment."""
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", str(site)]
    command = [sys.executable, "-m", "pip", "install", *options, str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return site


@pytest.fixture
def known(monkeypatch):
    """Call it with folders whose packages are to be found; forgotten after the test."""

    def found_in(*folders):
        for folder in folders:
            monkeypatch.syspath_prepend(str(folder))
        plugins.installed.cache_clear()

    yield found_in
    monkeypatch.undo()
    plugins.installed.cache_clear()
    for name in [name for name in sys.modules if name.startswith("medmvl_example")]:
        del sys.modules[name]


def write_images(folder: Path, count: int) -> Path:
    """Grey images, and a question about each."""
    lines = []
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 255, (20, 20)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        content = [{"type": "image", "image": f"{number}.png"}, {"type": "text", "text": "Is it large?"}]
        messages = [{"role": "user", "content": content}, {"role": "assistant", "content": "Yes."}]
        lines.append(json.dumps({"id": str(number), "messages": messages}))
    (folder / "images.jsonl").write_text("\n".join(lines))
    return folder / "images.jsonl"


def package(folder: Path, name: str, group: str, *entries: str) -> Path:
    """Metadata of an installed package that offers something."""
    info = folder / f"{name}-2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *entries]))
    return folder


def files_of_the_page() -> dict[str, str]:
    """The files that the how-to page tells a newcomer to write."""
    page = (ROOT / "docs/how-to/add-a-connector.md").read_text(encoding="utf-8")
    return dict(re.findall(r'```\w+ title="([^"]+)"\n(.*?)```', page, re.DOTALL))


def test_the_page_shows_the_example_and_it_is_short():
    part = "medmvl_example/gated.py"
    assert files_of_the_page()[part] == (ROOT / "examples/plugin" / part).read_text()
    assert len(files_of_the_page()[part].splitlines()) <= 40


def test_who_follows_the_page_word_for_word_has_a_connector(known, tmp_path):
    for name, text in files_of_the_page().items():
        file = tmp_path / "mine" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    known(install(tmp_path / "mine", tmp_path / "site"))
    tests: dict[str, Any] = {}
    exec(compile((tmp_path / "mine/test_gated.py").read_text(), "test_gated.py", "exec"), tests)
    (test,) = [value for name, value in tests.items() if name.startswith("test_")]
    test()
    wanted = load_recipe("quickstart", ["model.volume_connector={type: gated}"])
    parts = preprocessor_of(wanted.model).parts
    assert parts.configs()["volume_connector"] == {"type": "gated", "bias": True}
    assert [entry.source for entry in catalogue() if entry.name == "gated"] == ["medmvl-example 0.1.0"]


def test_an_installed_package_trains_a_step_and_is_recorded(site, known, tmp_path, monkeypatch):
    known(site)
    monkeypatch.setenv("MEDMVL_CACHE", str(tmp_path / "cache"))
    parts = {name: mode for name, mode in ALL_FULL.items() if not name.startswith("volume")}
    document = recipe(stage(max_steps=1, parts=parts), model=WITH_PLUGINS)
    document["data"] = {"train": [{"path": str(write_images(tmp_path, 4))}]}
    wanted = Recipe.model_validate(document)
    folder = train(wanted, tmp_path / "run")
    recorded = {"image_encoder": "medmvl-example 0.1.0", "image_connector": "medmvl-example 0.1.0"}
    assert json.loads((folder / "config.json").read_text())["plugins"] == recorded
    versions = json.loads((tmp_path / "run/versions.json").read_text())
    assert versions["medmvl-example"] == "0.1.0"
    model, processor = load(folder)
    assert type(model.image_connector).__module__ == "medmvl_example.gated"
    sources = load_sources(wanted, tmp_path / "cache")
    started, _ = assemble(wanted.model, texts=training_texts(wanted, sources), seed=wanted.seed)
    for part in ("image_connector", "image_encoder"):
        for name, weight in getattr(started, part).named_parameters():
            assert not torch.equal(weight, getattr(model, part).get_parameter(name)), (
                f"{name} was not trained"
            )
    assert processor.tokens_of("image") == 4


def test_a_plug_in_is_imported_only_when_it_is_named(site, known):
    known(site)
    parse_connector_config({"type": "linear"})
    assert "medmvl_example.gated" not in sys.modules
    assert parse_connector_config({"type": "gated"}).num_tokens((1, 3, 3)) == 9
    assert "medmvl_example.gated" in sys.modules
    assert "medmvl_example.small_cnn" not in sys.modules


def test_slices_go_through_an_encoder_of_a_plug_in_and_both_are_recorded(site, known):
    known(site)
    settings = {"type": "slices", "encoder": {"type": "small_cnn", "width": 8, "num_layers": 2}}
    config = MedMVLConfig(
        llm={"model_type": "qwen2"}, volume_encoder=settings, volume_connector={"type": "gated"}
    )
    assert config.plugins == {
        "volume_connector": "medmvl-example 0.1.0",
        "volume_encoder.encoder": "medmvl-example 0.1.0",
    }


def test_an_unknown_name_lists_what_is_built_in_and_what_is_installed(site, known):
    known(site)
    with pytest.raises(
        RecipeError, match=r"did you mean 'gated'\? Known: linear, .*gated \(medmvl-example 0.1.0\)"
    ):
        parse_connector_config({"type": "gatd"})
    with pytest.raises(RecipeError, match=r"unknown key 'biass'; did you mean 'bias'"):
        parse_connector_config({"type": "gated", "biass": True})
    with pytest.raises(RecipeError, match=r"image encoder: unknown type 'gated'.*small_cnn"):
        parse_image_encoder_config({"type": "gated"})


def test_a_model_whose_package_is_missing_names_it(site, known):
    known(site)
    saved = MedMVLConfig(llm={"model_type": "qwen2"}, image_encoder={"type": "small_cnn"},
                         image_connector={"type": "gated"}).to_dict()  # fmt: skip
    sys.path.remove(str(site))
    plugins.installed.cache_clear()
    with pytest.raises(RecipeError, match=r"made with plug-ins: .*image_encoder from medmvl-example 0.1.0"):
        MedMVLConfig.from_dict(saved)


def test_a_name_that_is_built_in_is_an_error(known, tmp_path):
    known(package(tmp_path, "clash", "medmvl.connectors", "mlp = json:loads"))
    with pytest.raises(UserError, match=r"clash 2.0 offers 'mlp' \(medmvl.connectors\), which is built in"):
        parse_connector_config({"type": "mlp"})
    assert parse_connector_config({"type": "linear"}).type == "linear"


def test_two_packages_with_one_name_are_an_error(known, tmp_path):
    first = package(tmp_path / "a", "first", "medmvl.connectors", "mine = json:loads")
    second = package(tmp_path / "b", "second", "medmvl.connectors", "mine = json:dumps")
    known(first, second)
    with pytest.raises(UserError, match=r"(first|second) 2.0 and (first|second) 2.0 both offer 'mine'"):
        parse_connector_config({"type": "mine"})


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("mine = no_such_module:Part", "broken 2.0 offers 'mine'.*cannot be imported"),
        ("mine = json:no_such_name", "cannot be imported"),
        ("mine = json:loads", "is no part: an nn.Module with a `Config`"),
        ("mine = medmvl.models.connectors.linear:Linear", "says type = 'linear'; both names must be equal"),
    ],
)
def test_what_a_package_offers_must_be_a_part(known, tmp_path, entry, message):
    known(package(tmp_path, "broken", "medmvl.connectors", entry))
    with pytest.raises(UserError, match=message):
        parse_connector_config({"type": "mine"})
