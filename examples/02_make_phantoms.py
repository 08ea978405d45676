"""Make a synthetic patient: a CT in Hounsfield units, an X-ray of the same chest, questions, answers and boxes.

Phantoms are not medicine: they have exact truth, which real scans do not.

    python examples/02_make_phantoms.py
"""

import numpy as np

from medmvl.phantoms import draw_xray, iter_patient_samples, make_patient, render_ct

patient = make_patient(seed=0, index=1, preset="quickstart")
print(
    patient.pseudonym,
    "has",
    [f"{finding.finding_type} ({finding.place})" for finding in patient.findings] or "nothing",
)

ct = render_ct(patient)
xray = draw_xray(patient)
print(ct)
print(xray.image)
print("air is", np.percentile(ct.array, 1).round(), "HU, the densest voxel", ct.array.max(), "HU")

for sample in list(iter_patient_samples(patient))[:6]:
    question, answer = sample.messages[0].text, sample.messages[-1].text
    print(f"[{sample.language}] {question} -> {answer}")

again = render_ct(make_patient(seed=0, index=1, preset="quickstart"))
assert np.array_equal(ct.array, again.array), "the same seed gives the same patient"
