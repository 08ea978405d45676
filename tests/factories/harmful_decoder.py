"""A decoding process whose codec does harm where a file's name asks for it, as a real one may on damaged bytes."""

import os
import runpy
import sys
import time
from pathlib import Path

worker = runpy.run_path(os.environ["MEDMVL_TEST_WORKER"], run_name="decode_worker")
decode = worker["decode"]


def harmful(request):
    name = Path(request["path"]).name
    if "abort" in name:
        os.write(2, b"terminate called after throwing an instance of 'SECRETIVE^PATIENT'\n")
        os.abort()
    if "hang" in name:
        while True:
            time.process_time()
    if "sleep" in name:
        time.sleep(600)
    if "greedy" in name:
        bytearray(2**32)
    if "chatty" in name:
        os.write(1, b"SECRETIVE^PATIENT\n")
        os.write(2, b"SECRETIVE^PATIENT\n")
    return decode(request)


worker["_answer"].__globals__.update(decode=harmful, CPU_SECONDS=0.3)
if "broken-start" in os.environ.get("MEDMVL_TEST_HARM", ""):
    sys.exit("this worker cannot start")
worker["main"]()
