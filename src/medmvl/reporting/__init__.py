"""Reports about folders of studies: find, ask, and write tables, FHIR and DICOM SR, all marked as unverified machine output.

Only `identity.py` reads who the patient is, and what it reads goes into FHIR and SR alone.
"""
