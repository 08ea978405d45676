"""The 3D ResNet: with the middle of its kernels only, it is transformers' 2D ResNet on every slice."""

from __future__ import annotations

import pytest
import torch
from tests.factories.encoders import hf_vision
from tests.factories.parts import randomise
from transformers import ResNetConfig, ResNetModel

from medmvl.errors import RecipeError
from medmvl.models.encoders import build_image_encoder, build_volume_encoder
from medmvl.models.encoders.resnet3d import merlin_settings, merlin_weights

SETTINGS = {"type": "resnet3d", "num_blocks": [1, 2, 1, 2], "width": 4}


def torchvision_name(name):
    """The name of a tensor of transformers' ResNet in torchvision's, which Merlin keeps."""
    name = name.replace("embedder.embedder.convolution", "conv1").replace(
        "embedder.embedder.normalization", "bn1"
    )
    name = name.replace("shortcut.convolution", "downsample.0").replace(
        "shortcut.normalization", "downsample.1"
    )
    for index in range(4):
        name = name.replace(f"encoder.stages.{index}.layers", f"layer{index + 1}")
    for index in range(3):
        name = name.replace(f"layer.{index}.convolution", f"conv{index + 1}")
        name = name.replace(f"layer.{index}.normalization", f"bn{index + 1}")
    return name


@pytest.fixture(scope="module")
def resnet2d():
    """A 2D bottleneck ResNet of transformers with moved weights and running statistics."""
    torch.manual_seed(0)
    model = ResNetModel(
        ResNetConfig(
            embedding_size=4, hidden_sizes=[16, 32, 64, 128], depths=[1, 2, 1, 2], layer_type="bottleneck"
        )
    )
    randomise(model)
    model.train()
    for _ in range(3):
        model(torch.randn(4, 3, 48, 40))
    return model.eval()


def inflated(model):
    """Merlin's start: 2D kernels in the middle of 3D ones."""
    weights = {}
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 4:
            depth = 3 if tensor.shape[-1] > 1 else 1
            kernel = torch.zeros(*tensor.shape[:2], depth, *tensor.shape[2:])
            kernel[:, :, depth // 2] = tensor
            tensor = kernel
        weights[f"encode_image.i3_resnet.{torchvision_name(name)}"] = tensor
    return weights | {
        "encode_image.i3_resnet.classifier.bias": torch.zeros(2),
        "encode_text.x": torch.zeros(1),
    }


@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_a_volume_of_equal_slices_gives_the_2d_features_in_every_layer(resnet2d, stage):
    weights = inflated(resnet2d)
    encoder = build_volume_encoder(merlin_settings(weights, stage=stage)).eval()
    encoder.load_state_dict(merlin_weights(weights, encoder.part_config))
    image = torch.randn(2, 3, 45, 40)
    features = encoder(image.unsqueeze(2).repeat(1, 1, 19, 1, 1))
    expected = resnet2d(image, output_hidden_states=True).hidden_states[stage]
    depth, height, width = features.grid
    assert (height, width) == expected.shape[2:] and depth == -(-19 // 2**stage)
    layers = features.streams[0].transpose(1, 2).reshape(2, -1, *features.grid)
    torch.testing.assert_close(layers, expected.unsqueeze(2).expand_as(layers), rtol=1e-3, atol=1e-4)


def test_slices_of_other_depths_are_seen():
    encoder = build_volume_encoder({**SETTINGS, "stage": 1}).eval()
    volume = torch.zeros(1, 3, 8, 16, 16)
    marked = volume.clone()
    marked[0, :, 4, 8, 8] = 100.0
    changed = (
        (encoder(marked).streams[0] - encoder(volume).streams[0])
        .abs()
        .sum(-1)
        .reshape(encoder.grid(8, 16, 16))
    )
    assert (changed.sum(dim=(1, 2)) > 0).tolist() == [True] * 4


def test_merlins_volumes_give_490_tokens_of_2048():
    config = build_volume_encoder({"type": "resnet3d", "num_blocks": [1, 1, 1, 1]}).part_config
    assert config.grid((160, 224, 224)) == (10, 7, 7) and config.widths == (2048,)
    assert type(config)().num_blocks == (3, 8, 36, 3)


def test_grey_volumes_are_repeated_and_layers_lie_at_their_slices():
    encoder = build_volume_encoder(SETTINGS).eval()
    grey, mm = torch.randn(1, 1, 33, 32, 32), 5.0 * torch.arange(33.0).unsqueeze(0)
    features = encoder(grey, mm)
    assert features.grid == (3, 1, 1) and features.positions_mm.tolist() == [[0.0, 80.0, 160.0]]
    torch.testing.assert_close(features.streams[0], encoder(grey.repeat(1, 3, 1, 1, 1)).streams[0])


def statistics_after(**changes):
    """How the running statistics look before and after a training step, and the features in training and after it."""
    encoder = build_volume_encoder({**SETTINGS, **changes})
    before = {name: tensor.clone() for name, tensor in encoder.named_buffers()}
    volume = torch.randn(2, 1, 32, 64, 64)
    trained = encoder.train()(volume).streams[0]
    equal = all(torch.equal(tensor, before[name]) for name, tensor in encoder.named_buffers())
    return encoder, equal, trained, encoder.eval()(volume).streams[0]


def test_running_statistics_stay_while_the_weights_of_the_norms_are_trained():
    encoder, equal, trained, evaluated = statistics_after()
    assert equal
    torch.testing.assert_close(trained, evaluated)
    trained.square().sum().backward()
    assert encoder.bn1.weight.grad.any() and encoder.layer4[0].bn3.bias.grad.any()
    encoder.train()(torch.zeros(1, 1, 16, 32, 32))  # one value a channel, as an idle part has


def test_from_scratch_the_statistics_of_batches_are_used_where_asked():
    _, equal, trained, evaluated = statistics_after(batch_statistics=True)
    assert not equal and not torch.allclose(trained, evaluated)
    frozen = build_volume_encoder({**SETTINGS, "batch_statistics": True}).requires_grad_(False).train()
    assert not any(module.training for module in frozen.modules())


def test_slices_and_pairs_keep_the_statistics_of_their_encoders():
    for settings in ({"type": "slices"}, {"type": "volume_and_slices", "volume": SETTINGS}):
        for moves in (False, True):
            image = build_image_encoder({**hf_vision("resnet"), "batch_statistics": moves})
            model = torch.nn.ModuleList([image, build_volume_encoder(settings, image)]).train()
            assert model[1].part_config.moves_batch_statistics == moves
            norms = [m for m in image.modules() if isinstance(m, torch.nn.BatchNorm2d)]
            assert {norm.training for norm in norms} == {moves}
            assert not any(m.training for m in model[1].modules() if isinstance(m, torch.nn.BatchNorm3d))


def test_missing_tensors_are_listed(resnet2d):
    weights = inflated(resnet2d)
    del weights["encode_image.i3_resnet.layer2.1.bn3.running_var"]
    config = build_volume_encoder({**SETTINGS, "stage": 2}).part_config
    with pytest.raises(RecipeError, match=r"missing 1 tensors: layer2\.1\.bn3\.running_var"):
        merlin_weights(weights, config)
