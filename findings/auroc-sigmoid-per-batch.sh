#!/usr/bin/env bash
# torchmetrics decides in each call of update() whether scores are logits: a sigmoid is applied where any of THAT batch lies outside [0, 1].
# Expected by a user: the area under the curve does not depend on how the scores were cut into batches.
# Seen: logits that rank perfectly score 1.0 in one batch and less in batches of one (as large volumes are evaluated), since a logit of 0.9
# stays 0.9 while one of 1.5 becomes 0.82. The same for average precision. Probabilities, or logits through a sigmoid first, are safe.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 torchmetrics==1.9.0 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
import torch, torchmetrics
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision, MultilabelAUROC

logits = torch.tensor([-2.0, -1.0, 0.2, 0.6, 0.9, 1.5, 3.0])
truth = torch.tensor([0, 0, 0, 0, 0, 1, 1])


def score(metric, scores, truth, size):
    for at in range(0, len(scores), size):
        metric.update(scores[at : at + size], truth[at : at + size])
    return round(float(metric.compute()), 4)


def both(make, scores, truth):
    return score(make(), scores, truth, len(scores)), score(make(), scores, truth, 1)


pairs = torch.stack([logits, logits], dim=1), torch.stack([truth, truth], dim=1)
seen = {
    "BinaryAUROC of logits": both(BinaryAUROC, logits, truth),
    "BinaryAveragePrecision of logits": both(BinaryAveragePrecision, logits, truth),
    "MultilabelAUROC of logits": both(lambda: MultilabelAUROC(num_labels=2), *pairs),
    "BinaryAUROC after a sigmoid": both(BinaryAUROC, logits.sigmoid(), truth),
}
print(f"torchmetrics {torchmetrics.__version__}; positives have the two largest logits; expected 1.0 everywhere")
for name, (whole, single) in seen.items():
    print(f"{name}: one batch {whole}, batches of one {single}")
*wrong, right = seen.values()
raise SystemExit(0 if right == (1.0, 1.0) and all(whole == 1.0 and single < 1.0 for whole, single in wrong) else 1)
PYTHON
