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


@pytest.mark.parametrize(
    ("prefix", "said", "expected"),
    [("visual_encoder.model.encode_image.i3_resnet.", None, "astra_chest"), ("encode_image.i3_resnet.", None, "merlin"),
     ("", "astra_chest", "astra_chest")],
)  # fmt: skip
def test_merlins_network_brings_the_preprocessing_of_its_origin(
    tmp_path: Path, prefix: str, said: str | None, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    from medmvl.models.encoders.resnet3d import ResNet3D, ResNet3DConfig

    network = ResNet3D(ResNet3DConfig(num_blocks=(1, 1, 1, 1), width=4))
    source = tmp_path / "encoder.pt"
    torch.save(
        {"state_dict": {f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}}, source
    )
    _, imported = read_checkpoint(source, Components(convention=said))
    assert any(f"convention {expected}" in note for note in imported.notes)
    assert any("--convention" in note for note in imported.notes) is (expected == "merlin")
    folder = tmp_path / "encoder"
    write_folder(imported.save, folder)
    parts: dict[str, Any] = {**VOLUMES_ONLY, "volume_encoder": {"type": "resnet3d", "path": str(folder)},
              "volume_connector": {"type": "linear"},
              "volume_processor": {"path": str(folder), "size": [32, 64, 64]}}  # fmt: skip
    _, processor = assemble(recipe("qwen2", **parts), texts=TEXTS)
    settings = processor.volume_processor
    assert settings is not None
    assert (settings.convention, settings.input_axcodes, settings.size) == (
        expected,
        ("S", "R", "A"),
        (32, 64, 64),
    )
    assert not caplog.records
    assemble(recipe("qwen2", **parts | {"volume_processor": {"size": [32, 64, 64]}}), texts=TEXTS)
    assert "was trained with another preprocessing" in caplog.text


def test_a_convention_that_is_not_known_for_an_encoder_is_refused(tmp_path: Path) -> None:
    save_file(m3d_clip(), tmp_path / "model.safetensors")
    write_json(tmp_path / "config.json", M3D)
    with pytest.raises(UserError, match="'merlin' is none of those known for M3D-CLIP"):
        encoders.read(tmp_path, Components(convention="merlin"))


def test_a_folder_without_preprocessing_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"has no volume_processor\.json"):
        assemble(recipe("qwen2", **VOLUMES_ONLY | {"volume_processor": {"path": str(tmp_path)}}), texts=TEXTS)
