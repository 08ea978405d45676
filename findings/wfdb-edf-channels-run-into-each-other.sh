#!/usr/bin/env bash
# Two channels at 100 Hz (oxygen saturation and an ECG) as a WFDB record, converted to EDF by wfdb_to_edf of wfdb, with 10, 2 and 25 seconds.
# Expected by a user: the same samples, the last data record filled up at most. Seen: blocks of ten seconds are announced, always one more than
# there are whole ones, and a part of a block is written without room between the channels. Ten seconds become twenty, the second half at the lowest
# number of the format (-327.68 %, -163.84 mV). With 2 seconds the samples of the ECG follow in the channel of saturation, and the ECG is a flat
# line at -163.84 mV; with 25 seconds so for the last five. The header says it all the same, pyEDFlib and edfio read it without a word, and both see
# the same. What to do: write EDF with pyEDFlib or edfio.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-deps wfdb==4.3.1 pyEDFlib==0.1.42 edfio==0.4.18 numpy==2.4.6 \
  fsspec==2026.9.0 pandas==3.1.1 python-dateutil==2.9.0.post0 six==1.17.0
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
import contextlib, io
from importlib.metadata import version

import edfio, numpy as np, pyedflib, wfdb
from wfdb.io.convert.edf import wfdb_to_edf

print(*(f"{name} {version(name)}" for name in ("wfdb", "pyEDFlib", "edfio")))


def converted(seconds):
    """The two channels written, and those read from the EDF."""
    written = np.stack([np.resize([95.0, 97, 96, 98], seconds * 100), np.resize([0.5, -1, 0, 1], seconds * 100)], 1)
    wfdb.wrsamp("record", fs=100, units=["%", "mV"], sig_name=["SpO2", "II"], p_signal=written, fmt=["16", "16"],
                adc_gain=[100.0, 200.0], baseline=[0, 0])
    assert np.allclose(wfdb.rdrecord("record").p_signal, written)
    with contextlib.redirect_stdout(io.StringIO()):
        wfdb_to_edf("record")
    with pyedflib.EdfReader("record.edf") as file:
        found = [file.readSignal(k) for k in (0, 1)]
    assert all(np.allclose(ours, other.data) for ours, other in zip(found, edfio.read_edf("record.edf").signals))
    return written.T, found


for seconds, length in ((10, 20), (2, 10), (25, 30)):
    (saturation, ecg), (found_saturation, found_ecg) = converted(seconds)
    end, whole = seconds * 100, seconds // 10 * 1000
    print(f"{seconds} s written, {len(found_ecg) / 100:g} s read; saturation after the end {found_saturation[end:end + 4].round(2)}, "
          f"ECG in the last block {found_ecg[whole:whole + 4].round(2)}")
    assert len(found_ecg) == len(found_saturation) == length * 100
    assert np.allclose(found_saturation[:end], saturation) and np.allclose(found_ecg[:whole], ecg[:whole])
    assert np.allclose(found_ecg[whole:], -163.84)
    if end == whole:
        assert np.allclose(found_saturation[end:], -327.68)
    else:  # the ECG, in hundredths of the other channel's steps
        assert np.allclose(found_saturation[end:end + end - whole], ecg[whole:] * 200 / 100)
PYTHON
