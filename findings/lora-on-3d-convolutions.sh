#!/usr/bin/env bash
# LoRA of peft on nn.Conv3d: what was trained is not always what is merged, and the commonest kernel cannot be merged at all.
# Expected: merge_and_unload() gives the same outputs as the adapted layer, as it does for Linear and Conv2d.
# Seen: 3x3x3 and 1x3x3 kernels are right. A pointwise 1x1x1 kernel (skip connections, projections) and a 1x1x3 one train and answer,
# then fail at the merge, since their first two sides are taken for a 2D pointwise kernel. With padding_mode "reflect" or "replicate"
# the adapter pads with zeros while it is trained, so the merged layer answers something else, without a word.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 peft==0.21.2 transformers==5.23.0 accelerate==1.15.0 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON' 2>errors.txt || { tail -3 errors.txt; exit 1; }
import peft, torch
from peft import LoraConfig, get_peft_model
from torch import nn


def merge(layer, *size):
    """Largest difference between the adapted and the merged layer; or what the merge said."""
    torch.manual_seed(0)
    adapted = get_peft_model(nn.Sequential(layer), LoraConfig(target_modules=["0"], r=2, init_lora_weights=False)).eval()
    pixels = torch.randn(1, 4, *size)
    with torch.no_grad():
        before = adapted(pixels)
        try:
            return round(float((before - adapted.merge_and_unload()(pixels)).abs().max()), 3)
        except RuntimeError as error:
            return f"RuntimeError: {error}"


volume = (5, 6, 7)
seen = {
    "Conv2d 1x1": merge(nn.Conv2d(4, 8, 1), 6, 7),
    "Conv3d 3x3x3": merge(nn.Conv3d(4, 8, 3, padding=1), *volume),
    "Conv3d 1x3x3": merge(nn.Conv3d(4, 8, (1, 3, 3)), *volume),
    "Conv3d 1x1x1": merge(nn.Conv3d(4, 8, 1), *volume),
    "Conv3d 1x1x3": merge(nn.Conv3d(4, 8, (1, 1, 3)), *volume),
    "Conv3d 3x3x3, padding reflect": merge(nn.Conv3d(4, 8, 3, padding=1, padding_mode="reflect"), *volume),
    "Conv3d 3x3x3, padding replicate": merge(nn.Conv3d(4, 8, 3, padding=1, padding_mode="replicate"), *volume),
}
print(f"peft {peft.__version__}, torch {torch.__version__}; expected 0.0 everywhere")
for name, value in seen.items():
    print(f"{name}: {value}")
right, refused, other = list(seen.values())[:3], list(seen.values())[3:5], list(seen.values())[5:]
as_described = all(v == 0.0 for v in right) and all(isinstance(v, str) for v in refused)
as_described &= all(isinstance(v, float) and v > 0.1 for v in other)
raise SystemExit(0 if as_described else 1)
PYTHON
