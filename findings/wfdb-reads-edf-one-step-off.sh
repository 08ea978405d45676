#!/usr/bin/env bash
# Vital signs in EDF, read by wfdb (wfdb.io.convert.edf.read_edf, which MIMIC and PhysioNet users have at hand): oxygen saturation in whole per cent
# (0 to 100 as 0 to 100), a temperature in steps of 0.1 degree and an ECG of 16 bits. Expected by a user: the numbers of the file, as EDF maps
# digital minimum and maximum to the physical ones. Seen: every sample is one step of its channel too low, so a saturation of 90 % is 89 % and 38.0
# degrees are 37.9 (limits of hypoxia and of fever); the finer the steps, the less it shows. Nothing is said. pyEDFlib and edfio, two independent
# readers, agree with each other and with the values written. What to do: read EDF with one of those.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-deps wfdb==4.3.1 pyEDFlib==0.1.42 edfio==0.4.18 numpy==2.4.6 \
  fsspec==2026.9.0 pandas==3.1.1 python-dateutil==2.9.0.post0 six==1.17.0
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
from importlib.metadata import version

import edfio, numpy as np, pyedflib
from wfdb.io.convert.edf import read_edf

print(*(f"{name} {version(name)}" for name in ("wfdb", "pyEDFlib", "edfio")))
CHANNELS = {  # name: (unit, physical range, digital range, values)
    "SpO2": ("%", (0, 100), (0, 100), [97, 90, 89, 100]),
    "Temp": ("degC", (30, 45), (0, 150), [36.6, 38.0, 37.2, 40.1]),
    "ECG II": ("mV", (-3.2768, 3.2767), (-32768, 32767), [-0.1, 0, 1.2, 0.3]),
}
STEPS = {"SpO2": 1, "Temp": 0.1, "ECG II": 0.0001}
for name, (unit, physical, digital, values) in CHANNELS.items():
    signal = edfio.EdfSignal(np.resize(np.array(values, float), 100), 100, label=name, physical_dimension=unit,
                             physical_range=physical, digital_range=digital)
    edfio.Edf([signal]).write("a.edf")
    with pyedflib.EdfReader("a.edf") as file:
        by_pyedflib = file.readSignal(0)[:4]
    by_edfio = edfio.read_edf("a.edf").signals[0].data[:4]
    by_wfdb = read_edf("a.edf").p_signal[:4, 0]
    print(f"{name} in {unit}: written {values}, pyEDFlib {by_pyedflib.round(4).tolist()}, edfio {by_edfio.round(4).tolist()}, "
          f"wfdb {by_wfdb.round(4).tolist()}")
    assert np.allclose(by_pyedflib, values, atol=1e-6) and np.allclose(by_edfio, values, atol=1e-6)
    assert np.allclose(np.array(values) - by_wfdb, STEPS[name], rtol=1e-3)
PYTHON
