"""Published 3D encoders are told by their tensors, written as folders, and named by recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from medmvl.atomic_files import write_json
from medmvl.errors import RecipeError, UserError
from medmvl.exchange import encoders
from medmvl.exchange.formats import read_checkpoint
from medmvl.exchange.imported import Components, ImportedEncoder, write_folder
from medmvl.models.assemble import assemble
from tests.factories.exchange import m3d_clip
from tests.factories.models import TEXTS, VOLUMES_ONLY, recipe, tiny

M3D = {"img_size": [8, 16, 16], "patch_size": [4, 8, 8], "in_channels": 1, "hidden_size": 12, "num_layers": 2,
       "num_heads": 2, "mlp_dim": 24}  # fmt: skip


def test_a_published_encoder_becomes_a_folder_that_a_recipe_names(tmp_path: Path) -> None:
    source = tmp_path / "m3d"
    source.mkdir()
    write_json(source / "config.json", M3D)
    tensors = m3d_clip() | {"language_encoder.x": torch.randn(3), "logit_scale": torch.tensor(1.0)}
    torch.save(tensors, source / "pytorch_model.bin")
    name, imported = read_checkpoint(source, Components())
    assert name == "encoder" and isinstance(imported, ImportedEncoder)
    assert any("28 values" in note for note in imported.notes)
    write_folder(imported.save, tmp_path / "encoder")
    assert sorted(path.name for path in (tmp_path / "encoder").iterdir() if path.name[0] != ".") == [
        "SHA256SUMS",
        "encoder.json",
        "model.safetensors",
    ]
    parts: dict[str, Any] = {**VOLUMES_ONLY, "volume_encoder": {"type": "vit3d", "path": str(tmp_path / "encoder")},
              "volume_connector": {"type": "linear"}, "volume_processor": {"size": [8, 16, 16]}}  # fmt: skip
    model, _ = assemble(recipe("qwen2", **parts), texts=TEXTS)
    loaded = model.volume_encoder
    assert loaded is not None
    found: dict[str, Any] = loaded.state_dict()
    assert torch.equal(found["vit.class_token"], tensors["vision_encoder.cls_token"])
    assert loaded(torch.randn(1, 1, 8, 16, 16)).streams[0].shape == (1, 8, 12)


def test_missing_tensors_are_listed_and_nothing_is_left(tmp_path: Path) -> None:
    tensors = m3d_clip()
    del tensors["vision_encoder.blocks.1.norm2.bias"]
    save_file(tensors, tmp_path / "model.safetensors")
    write_json(tmp_path / "config.json", M3D)
    with pytest.raises(ValueError, match=r"blocks\.1\.norm2\.bias"):
        encoders.read(tmp_path, Components())


def test_wrong_shapes_are_listed(tmp_path: Path) -> None:
    save_file(m3d_clip(), tmp_path / "model.safetensors")
    write_json(tmp_path / "config.json", M3D | {"mlp_dim": 36})
    with pytest.raises(UserError, match=r"of wrong shape.*instead of"):
        encoders.read(tmp_path, Components())


def test_tensors_of_no_known_encoder_are_refused_with_what_is_known(tmp_path: Path) -> None:
    save_file({"a.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"m3d-clip.*medm-clip.*ct-clip.*merlin.*med3dvlm"):
        encoders.read(tmp_path, Components())
    with pytest.raises(UserError, match="none of the checkpoints that can be imported"):
        read_checkpoint(tmp_path, Components())


def test_a_folder_of_another_encoder_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "encoder.json", {"type": "resnet3d"})
    with pytest.raises(RecipeError, match="holds a 'resnet3d', not a 'vit3d'"):
        tiny("qwen2", volume_encoder={"type": "vit3d", "path": str(tmp_path)})
