"""The example tower EfficientNet-Lite: installed from outside the tree, equal to a plain computation by lukemelas' names."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import save_file
from tests.factories.efficientnet_lite import features
from tests.factories.models import IMAGES_ONLY, TEXTS, recipe
from tests.models.test_plugins import ROOT, install
from torch import Tensor

from medmvl import plugins
from medmvl.errors import RecipeError
from medmvl.models.assemble import assemble
from medmvl.models.catalogue import catalogue


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tower")
    return install(shutil.copytree(ROOT / "examples/efficientnet_lite", folder / "source"), folder / "site")


@pytest.fixture
def tower(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module of the installed plug-in; forgotten after the test."""
    monkeypatch.syspath_prepend(str(site))
    plugins.installed.cache_clear()
    from medmvl_efficientnet_lite import tower as module

    yield module
    monkeypatch.undo()
    plugins.installed.cache_clear()
    for name in [name for name in sys.modules if name.startswith("medmvl_efficientnet_lite")]:
        del sys.modules[name]


def randomised(module: torch.nn.Module) -> Mapping[str, Tensor]:
    """Weights that keep activations alive, batch statistics included."""
    torch.manual_seed(0)
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
            tensor.copy_(0.5 + torch.rand_like(tensor))
        elif tensor.ndim == 1:
            tensor.copy_(0.1 * torch.randn_like(tensor))
    return module.state_dict()


@pytest.mark.parametrize(
    ("variant", "size", "cells"),
    [("lite0", (64, 64), None), ("lite1", (65, 47), None), ("lite2", (33, 70), (1, 2))],
)
def test_features_equal_a_plain_computation(
    tower: Any, variant: str, size: tuple[int, int], cells: tuple[int, int] | None
) -> None:
    levels = (3, 5, 8)
    config = tower.EfficientNetLiteConfig(variant=variant, levels=levels, cells=cells)
    encoder = tower.EfficientNetLite(config).eval()
    weights = randomised(encoder)
    pixels = torch.randn(2, 3, *size)
    with torch.no_grad():
        found = encoder(pixels)
        maps = features(weights, pixels)
    grid = encoder.part_config.grid(size)
    assert found.grid == grid == (1, *(cells or maps[8].shape[2:]))
    wanted = torch.cat([F.adaptive_avg_pool2d(maps[level], grid[1:]) for level in levels], 1)
    torch.testing.assert_close(found.streams[0], wanted.flatten(2).mT, atol=1e-4, rtol=1e-4)
    assert encoder.part_config.widths == (wanted.shape[1],)
    assert wanted.std() > 0.05


def test_a_recipe_names_the_folder_that_get_leaves(tower: Any, tmp_path: Path) -> None:
    encoder = tower.EfficientNetLite(tower.EfficientNetLiteConfig(variant="lite1"))
    weights = dict(randomised(encoder)) | {"_fc.weight": torch.ones(3, 3)}
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "encoder.json").write_text(json.dumps({"type": "efficientnet_lite", "variant": "lite1"}))
    parts = {**IMAGES_ONLY, "image_encoder": {"type": "efficientnet_lite", "path": str(tmp_path), "levels": [5]},
             "image_connector": {"type": "mlp"}, "image_processor": {"size": [64, 64]}}  # fmt: skip
    model, _ = assemble(recipe("qwen2", **parts), texts=TEXTS)
    loaded: Any = model.image_encoder
    assert loaded.part_config.variant == "lite1" and "path" not in loaded.part_config.to_dict()
    assert torch.equal(loaded.state_dict()["_blocks.3._bn1.bias"], weights["_blocks.3._bn1.bias"])
    assert not hasattr(loaded, "_conv_head"), "what lies after the last level is left out"
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(RecipeError, match=r"model\.safetensors does not fit efficientnet_lite"):
        assemble(recipe("qwen2", **parts), texts=TEXTS)
    (tmp_path / "encoder.json").unlink()
    with pytest.raises(RecipeError, match="medmvl pretrained get efficientnet-lite0"):
        assemble(recipe("qwen2", **parts), texts=TEXTS)


def test_without_the_plug_in_its_name_is_unknown(tmp_path: Path) -> None:
    parts = {**IMAGES_ONLY, "image_encoder": {"type": "efficientnet_lite", "path": str(tmp_path)}}
    with pytest.raises(
        RecipeError, match=r"unknown type 'efficientnet_lite'\. Known: .*package is installed"
    ):
        assemble(recipe("qwen2", **parts), texts=TEXTS)


def test_the_catalogue_counts_it(tower: Any) -> None:
    row = next(entry for entry in catalogue(None, None, 64) if entry.name == "efficientnet_lite")
    assert row.source == "medmvl-efficientnet-lite 0.1.0"
    assert row.parameters is not None and 3.3e6 < row.parameters < 3.5e6, (
        "EfficientNet-Lite0 without its classifier"
    )
