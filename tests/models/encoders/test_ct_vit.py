"""CT-ViT: a second, naive computation under the published names and shapes is the reference."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from medmvl.errors import RecipeError
from medmvl.models.encoders import build_volume_encoder
from medmvl.models.encoders.ct_vit import ct_clip_settings, ct_clip_weights

WIDTH, HEADS, HEAD, PATCH, HIDDEN = 24, 2, 6, (2, 4, 3), 64
SIZE, GRID = (6, 8, 12), (3, 2, 4)


def checkpoint(seed=0):
    """CT-CLIP's tensors with names and shapes as published, small; also some of what is not read."""
    shapes: dict[str, tuple[int, ...]] = {"to_patch_emb.1.weight": (24,), "to_patch_emb.1.bias": (24,),
        "to_patch_emb.2.weight": (WIDTH, 24), "to_patch_emb.2.bias": (WIDTH,),
        "to_patch_emb.3.weight": (WIDTH,), "to_patch_emb.3.bias": (WIDTH,),
        "spatial_rel_pos_bias.net.0.0.weight": (WIDTH, 2), "spatial_rel_pos_bias.net.0.0.bias": (WIDTH,),
        "spatial_rel_pos_bias.net.1.0.weight": (WIDTH, WIDTH), "spatial_rel_pos_bias.net.1.0.bias": (WIDTH,),
        "spatial_rel_pos_bias.net.2.weight": (HEADS, WIDTH), "spatial_rel_pos_bias.net.2.bias": (HEADS,),
        "vq._codebook.embed": (1, 11, WIDTH), "vq._codebook.cluster_size": (1, 11), "to_pixels.0.bias": (24,),
        "to_patch_emb_first_frame.1.weight": (12,)}  # fmt: skip
    for kind, count in (("enc_spatial", 2), ("enc_temporal", 3), ("dec_spatial", 1)):
        shapes[f"{kind}_transformer.norm_out.gamma"] = (WIDTH,)
        shapes[f"{kind}_transformer.norm_out.beta"] = (WIDTH,)
        for i in range(count):
            layer = {"0.dsconv.weight": (WIDTH, 1, 3, 3, 3), "0.dsconv.bias": (WIDTH,), "1.norm.gamma": (WIDTH,),
                "1.norm.beta": (WIDTH,), "1.context_norm.gamma": (WIDTH,), "1.null_kv": (HEADS, 0, HEAD),
                "1.to_q.weight": (HEADS * HEAD, WIDTH), "1.to_kv.weight": (2 * HEADS * HEAD, WIDTH),
                "1.q_scale": (HEAD,), "1.k_scale": (HEAD,), "1.to_out.weight": (WIDTH, HEADS * HEAD),
                "3.0.weight": (WIDTH,), "3.0.bias": (WIDTH,), "3.1.weight": (2 * HIDDEN, WIDTH),
                "3.4.weight": (WIDTH, HIDDEN)}  # fmt: skip
            shapes |= {f"{kind}_transformer.layers.{i}.{name}": shape for name, shape in layer.items()}
    generator = torch.Generator().manual_seed(seed)
    weights = {
        f"visual_transformer.{name}": torch.zeros(shape) if name.endswith("beta")
        else 0.4 * torch.randn(shape, generator=generator)
        for name, shape in shapes.items()
    }  # fmt: skip
    codes = "visual_transformer.vq._codebook.embed"
    return {**weights, codes: F.normalize(weights[codes], dim=-1), "to_visual_latent.weight": torch.zeros(2)}


def norm(x, gain, bias=0.0):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt() * gain + bias


def naive(weights, volume):
    """The tokens before the codebook `(D, H, W, width)` of one volume, element by element where it matters."""
    w = {name.removeprefix("visual_transformer."): tensor for name, tensor in weights.items()}
    (depth, rows, columns), (pd, ph, pw) = GRID, PATCH
    tokens = torch.zeros(*GRID, WIDTH)
    for d in range(depth):
        for r in range(rows):
            for c in range(columns):
                cut = volume[d * pd : (d + 1) * pd, r * ph : (r + 1) * ph, c * pw : (c + 1) * pw].flatten()
                x = norm(cut, w["to_patch_emb.1.weight"], w["to_patch_emb.1.bias"])
                x = w["to_patch_emb.2.weight"] @ x + w["to_patch_emb.2.bias"]
                tokens[d, r, c] = norm(x, w["to_patch_emb.3.weight"], w["to_patch_emb.3.bias"])
    places = [(r, c) for r in range(rows) for c in range(columns)]
    bias = torch.zeros(HEADS, len(places), len(places))
    net = "spatial_rel_pos_bias.net"
    for i, (r, c) in enumerate(places):
        for j, (s, t) in enumerate(places):
            distance = torch.tensor([math.copysign(math.log(abs(x) + 1), x) for x in (r - s, c - t)])
            for k in (0, 1):
                distance = w[f"{net}.{k}.0.weight"] @ distance + w[f"{net}.{k}.0.bias"]
                distance = torch.where(distance > 0, distance, 0.1 * distance)
            bias[:, i, j] = w[f"{net}.2.weight"] @ distance + w[f"{net}.2.bias"]
    sequences = tokens.reshape(depth, rows * columns, WIDTH)
    for i in range(2):
        sequences = layer(w, f"enc_spatial_transformer.layers.{i}", sequences, bias)
    sequences = norm(sequences, w["enc_spatial_transformer.norm_out.gamma"])
    sequences = sequences.reshape(depth, rows * columns, WIDTH).transpose(0, 1).contiguous()
    for i in range(3):
        sequences = layer(w, f"enc_temporal_transformer.layers.{i}", sequences, torch.zeros(HEADS, 1, 1))
    sequences = norm(sequences, w["enc_temporal_transformer.norm_out.gamma"])
    return sequences.transpose(0, 1).reshape(*GRID, WIDTH)


def layer(w, name, x, bias):
    # the convolution reads the tokens in the order of memory, whichever way the sequences run
    kernel, volume = w[f"{name}.0.dsconv.weight"][:, 0], x.reshape(*GRID, WIDTH)
    padded = torch.zeros(GRID[0] + 2, GRID[1] + 2, GRID[2] + 2, WIDTH)
    padded[2:, 1:-1, 1:-1] = volume
    convolved = torch.zeros_like(volume)
    for a in range(3):
        for b in range(3):
            for c in range(3):
                shifted = padded[a : a + GRID[0], b : b + GRID[1], c : c + GRID[2]]
                convolved = convolved + shifted * kernel[:, a, b, c]
    x = x + (convolved + w[f"{name}.0.dsconv.bias"]).reshape(x.shape)
    query = norm(x, w[f"{name}.1.norm.gamma"]) @ w[f"{name}.1.to_q.weight"].T
    key, value = (x @ w[f"{name}.1.to_kv.weight"].T).chunk(2, dim=-1)
    heads = []
    for h in range(HEADS):
        q, k, v = (part[..., h * HEAD : (h + 1) * HEAD] for part in (query, key, value))
        q = q / q.norm(dim=-1, keepdim=True) * w[f"{name}.1.q_scale"]
        k = k / k.norm(dim=-1, keepdim=True) * w[f"{name}.1.k_scale"]
        heads.append((8 * q @ k.transpose(1, 2) + bias[h]).softmax(-1) @ v)
    x = x + torch.cat(heads, dim=-1) @ w[f"{name}.1.to_out.weight"].T
    inner = norm(x, w[f"{name}.3.0.weight"], w[f"{name}.3.0.bias"]) @ w[f"{name}.3.1.weight"].T
    gelu = inner[..., HIDDEN:] * 0.5 * (1 + torch.erf(inner[..., HIDDEN:] / math.sqrt(2)))
    return x + (gelu * inner[..., :HIDDEN]) @ w[f"{name}.3.4.weight"].T


def imported(weights, **changes):
    encoder = build_volume_encoder({**ct_clip_settings(weights, PATCH), **changes})
    encoder.load_state_dict(ct_clip_weights(weights, encoder.part_config))
    return encoder.eval()


def test_the_tokens_are_those_of_the_naive_computation():
    weights = checkpoint()
    encoder, volumes = imported(weights, codebook_size=None), torch.randn(2, 1, *SIZE)
    features = encoder(volumes)
    assert features.grid == GRID
    for index in range(2):
        expected = naive(weights, volumes[index, 0]).reshape(-1, WIDTH)
        torch.testing.assert_close(features.streams[0][index], expected, rtol=1e-3, atol=1e-4)


def test_the_codebook_gives_the_code_nearest_in_angle():
    weights = checkpoint()
    volume = torch.randn(1, 1, *SIZE)
    codes = weights["visual_transformer.vq._codebook.embed"][0]
    expected = [
        max(codes, key=lambda code: float(code @ token))
        for token in naive(weights, volume[0, 0]).reshape(-1, WIDTH)
    ]
    encoder = imported(weights)
    torch.testing.assert_close(encoder(volume).streams[0][0], torch.stack(expected))
    torch.testing.assert_close(
        encoder.train()(volume).streams[0][0], torch.stack(expected), rtol=1e-4, atol=1e-5
    )


def test_settings_are_read_from_the_shapes():
    settings = ct_clip_settings(checkpoint(), PATCH)
    assert settings == {
        "type": "ct_vit", "patch_size": [2, 4, 3], "in_channels": 1, "width": WIDTH, "num_spatial_layers": 2,
        "num_depth_layers": 3, "num_heads": HEADS, "head_width": HEAD, "codebook_size": 11,
    }  # fmt: skip
    with pytest.raises(RecipeError, match=r"24 voxels per patch, which patches of \(2, 5, 3\) do not fill"):
        ct_clip_settings(checkpoint(), (2, 5, 3))


def test_the_defaults_are_those_published():
    config = build_volume_encoder(
        {"type": "ct_vit", "num_spatial_layers": 1, "num_depth_layers": 1}
    ).part_config
    assert config.grid((240, 480, 480)) == (24, 24, 24) and config.widths == (512,)


def test_missing_tensors_are_listed():
    weights = checkpoint()
    del weights["visual_transformer.enc_temporal_transformer.layers.1.3.4.weight"]
    config = build_volume_encoder(ct_clip_settings(weights, PATCH)).part_config
    with pytest.raises(RecipeError, match=r"missing 1 tensors: enc_temporal_transformer\.layers\.1\.3\.4"):
        ct_clip_weights(weights, config)
