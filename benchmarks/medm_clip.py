"""MedM-CLIP's volume encoder, frozen: today's build beside the commit before (295bc4a) and the predecessor's layers.

The claim: at most 1 / 1.4 of the time of the build before, and at most 0.8 of that of the predecessor, whose encoder is
torch's own `TransformerEncoderLayer` one after another. All sides hold the same random weights and encode the same volume in
evaluation mode without gradients. The floor is 2 FLOPs per weight and token, and 4 per pair of tokens and feature.

    python benchmarks/medm_clip.py [--repeats 3] [--layers 12]
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from both_builds import in_turns, print_table

SETTINGS: dict[str, Any] = {"type": "medm_clip", "size": [32, 256, 256], "patch_size": [4, 16, 16]}


def predecessor(encoder: Any, layers: int) -> Any:
    """What the predecessor computes, with the encoder's own weights: patches, positions, torch's layers."""
    import torch
    from torch import nn

    kept = nn.ModuleList(
        nn.TransformerEncoderLayer(768, 12, 3072, dropout=0.0, batch_first=True) for _ in range(layers)
    ).eval()
    kept.load_state_dict(encoder.layers.state_dict())

    def encode(volume: Any) -> Any:
        voxels = volume.unfold(2, 4, 4).unfold(3, 16, 16).unfold(4, 16, 16)  # b c d h w pd ph pw
        voxels = voxels.permute(0, 2, 3, 4, 6, 7, 5, 1).reshape(len(volume), -1, 4 * 16 * 16)
        tokens = encoder.patch_embedding(voxels)
        tokens = (
            torch.cat([encoder.class_token.expand(len(tokens), -1, -1), tokens], 1)
            + encoder.position_embedding
        )
        for layer in kept:
            tokens = layer(tokens)
        return tokens[:, 1:]

    return encode


def measure(side: str, layers: int) -> dict[str, float]:
    """CPU and wall seconds of one volume, and what came out."""
    import torch

    from medmvl.models.encoders import build_volume_encoder

    torch.set_num_threads(1)
    torch.manual_seed(0)
    encoder = build_volume_encoder({**SETTINGS, "num_layers": layers}).eval()
    volume = torch.randn(1, 1, 32, 256, 256)
    encode = predecessor(encoder, layers) if side == "predecessor" else lambda v: encoder(v).streams[0]
    with torch.no_grad():
        encode(volume)
        cpu, wall = time.process_time(), time.perf_counter()
        found = encode(volume)
    return {
        "cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall,
        "output": found.abs().mean().item(),
    }  # fmt: skip


def main() -> None:
    """Measure the sides in turns and print ratios and floor."""
    parser = argparse.ArgumentParser(description="MedM-CLIP's encoder, beside two others")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--side", choices=("before", "predecessor", "now"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, options.layers)))
        return
    sides = ("before", "predecessor", "now")
    found = in_turns(__file__, sides, options.repeats, ["--layers", str(options.layers)])
    print_table(found, ("cpu_s", "wall_s"))
    tokens, width = 2049, 768
    flops = options.layers * (2 * 12 * width**2 * tokens + 4 * tokens**2 * width)
    print(f"floor: {flops / 1e9:.0f} GFLOP")


if __name__ == "__main__":
    main()
