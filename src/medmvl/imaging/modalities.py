"""Codes of modalities: the defined terms of Modality (0008,0060) in DICOM PS3.3, C.7.3.1.1.1, current and retired."""

from __future__ import annotations

from medmvl.errors import ReadError

_LISTED = """
AR ASMT AU BDUS BI BMD CFM CR CT CTPROTOCOL DG DMS DOC DX ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL IVOCT IVUS KER KO LEN LS
M3D MG MR NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT PA PLAN POS PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTINTENT RTPLAN
RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA XAPROTOCOL XC
AS CD CF CP CS DD DF DM DS EC FA FS LP MA MS OPR SC ST VF
"""
CODES = frozenset(_LISTED.split())
SPOKEN = {
    "MRI": "MR", "NMR": "MR", "PET": "PT", "SPECT": "NM", "XRAY": "DX or CR", "RX": "DX or CR", "CXR": "DX or CR",
    "RADIOGRAPH": "DX or CR", "ULTRASOUND": "US", "MAMMOGRAPHY": "MG", "MAMMOGRAM": "MG", "ANGIOGRAPHY": "XA",
    "FLUOROSCOPY": "RF", "FUNDUS": "OP", "ENDOSCOPY": "ES", "PATHOLOGY": "SM", "HISTOLOGY": "SM",
}  # fmt: skip
"""What people say, in capitals and without signs, and the code."""


def known_modality(said: str) -> str:
    """Return the code, such as "CT" for "ct".

    Raises:
        ReadError: for anything else, with the code that may be meant.
    """
    code = said.strip().upper()
    if code in CODES:
        return code
    plain = "".join(sign for sign in code if sign.isalpha())
    meant = SPOKEN.get(plain, "CT" if plain.startswith(("CT", "COMPUTEDTOM", "CBCT")) else None)
    hint = (
        f"write {meant}" if meant else "expected a code of DICOM, such as CT, MR, PT, NM, DX, CR, MG, US, XA"
    )
    raise ReadError(f"modality {said!r} is not known; {hint}")
