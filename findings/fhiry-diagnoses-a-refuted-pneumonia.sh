#!/usr/bin/env bash
# Records in FHIR turned into text for language models by fhiry (FlattenFhir, "Convert FHIR Bundles/Resources to Text for LLMs"): a pneumonia that was
# refuted, an allergy to contrast medium that was refuted, a troponin below 0.04 ng/mL, a kidney function above 60, a nodule of 40 mm that was entered
# in error, and one of 4 mm. All are valid (fhir.resources), and the elements that say so are modifiers in FHIR, which no reader may leave out
# (verificationStatus, comparator, status). Expected by a user: the statement, or nothing. Seen: "Pneumonia was diagnosed", an allergy "was reported",
# a troponin of 0.04 and a kidney function of 60, as if measured, a nodule of 40 mm. A coded value, such as "negative", is "Value: unknown".
# Nothing is said. What to do: leave out refuted and erroneous resources before, and write signs into valueString.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile fhiry==5.2.2 fhir.resources==8.3.0 numpy==2.4.6 pandas==3.1.1
cd "$folder" && venv/bin/python - <<'PYTHON'
import re
from importlib.metadata import version

from fhir.resources.R4B import get_fhir_model_class
from fhiry import FlattenFhir

SNOMED, LOINC, HL7 = "http://snomed.info/sct", "http://loinc.org", "http://terminology.hl7.org/CodeSystem/"
PATIENT = {"reference": "Patient/1"}


def coded(system, code, display):
    return {"coding": [{"system": system, "code": code, "display": display}]}


def measured(status, code, display, value):
    return {"resourceType": "Observation", "id": "1", "status": status, "code": coded(LOINC, code, display), "subject": PATIENT,
            "effectiveDateTime": "2026-03-01"} | value


def stated(kind, code, display, reference):
    terms = HL7 + ("condition-ver-status" if kind == "Condition" else "allergyintolerance-verification")
    return {"resourceType": kind, "id": "1", "code": coded(SNOMED, code, display), reference: PATIENT, "onsetDateTime": "2026-03-01",
            "verificationStatus": coded(terms, "refuted", "Refuted")}


def quantity(value, unit, **more):
    return {"valueQuantity": {"value": value, "unit": unit} | more}


cases = {  # what the resource says: resource, end of the text as seen
    "pneumonia refuted": (stated("Condition", "233604007", "Pneumonia", "subject"), "Pneumonia was diagnosed"),
    "allergy refuted": (stated("AllergyIntolerance", "293637006", "Allergy to contrast media", "patient"), "allergy was reported"),
    "troponin < 0.04 ng/mL": (measured("final", "10839-9", "Troponin I", quantity(0.04, "ng/mL", comparator="<")), "Value: 0.04 ng/mL."),
    "GFR > 60 mL/min": (measured("final", "33914-3", "GFR", quantity(60, "mL/min", comparator=">")), "Value: 60 mL/min."),
    "nodule, entered in error": (measured("entered-in-error", "21889-1", "Size", quantity(40, "mm")), "Value: 40 mm."),
    "nodule of 4 mm": (measured("final", "21889-1", "Size", quantity(4, "mm")), "Value: 4 mm."),
    "PD-L1 negative": (measured("final", "85147-4", "PD-L1", {"valueCodeableConcept": coded(SNOMED, "260385009", "Negative")}), "Value: unknown."),
}
print(f"fhiry {version('fhiry')}, fhir.resources {version('fhir.resources')}")
for name, (resource, part) in cases.items():
    get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    text = FlattenFhir(resource).flattened
    print(f"{name}: seen {text!r}")
    assert part in text and not re.search("refuted|error|[<>]|negative", text, re.IGNORECASE)
PYTHON
