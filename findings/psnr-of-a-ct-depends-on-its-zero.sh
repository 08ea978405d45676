#!/usr/bin/env bash
# scikit-image guesses the range of a PSNR from the number type and from the sign of the smallest value.
# Expected by a user: adding 1024 to both images (Hounsfield units or stored numbers of one CT) changes no PSNR, as no difference changes.
# Seen: 6.02 dB less: int16 with any negative value has a range of 65535, int16 without has 32767. The same scan cropped to the inside of the body
# can lose the 6 dB too. Both ranges are far above a CT's, so all are 18 to 24 dB higher than with data_range=4095. Floats above 1 are refused.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q scikit-image==0.26.0 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
import numpy as np, skimage
from skimage.metrics import peak_signal_noise_ratio

rng = np.random.default_rng(0)
scan = rng.integers(-1000, 1500, (64, 64)).astype(np.int16)
denoised = (scan + rng.integers(-25, 26, scan.shape)).astype(np.int16)
PAIRS = {
    "Hounsfield units, int16": (scan, denoised),
    "plus 1024, int16": (scan + np.int16(1024), denoised + np.int16(1024)),
    "plus 1024, uint16": ((scan + 1024).astype(np.uint16), (denoised + 1024).astype(np.uint16)),
}
seen = {name: float(peak_signal_noise_ratio(*pair)) for name, pair in PAIRS.items()}
given = {name: float(peak_signal_noise_ratio(*pair, data_range=4095)) for name, pair in PAIRS.items()}
print(f"scikit-image {skimage.__version__}; expected: one number")
for name in PAIRS:
    print(f"{name}: {seen[name]:.2f} dB, with data_range=4095 {given[name]:.2f} dB")
hounsfield, shifted, unsigned = seen.values()
as_described = abs(hounsfield - shifted - 20 * np.log10(65535 / 32767)) < 0.01 and abs(hounsfield - unsigned) < 0.01
as_described &= max(given.values()) - min(given.values()) < 1e-9
raise SystemExit(0 if as_described else 1)
PYTHON
