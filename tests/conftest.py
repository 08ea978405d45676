"""What all tests share: offline, few threads, and the folder of real scans where it is present."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")  # no test depends on how fast a machine is

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
if "MEDMVL_CACHE" not in os.environ:  # no test leaves anything in the cache of who runs it
    os.environ["MEDMVL_CACHE"] = tempfile.mkdtemp(prefix="medmvl-tests-")
    atexit.register(shutil.rmtree, os.environ["MEDMVL_CACHE"], ignore_errors=True)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of small real scans; tests that use it skip where it is absent."""
    folder = os.environ.get("MEDMVL_TEST_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MEDMVL_TEST_DATA does not name a folder with real scans")
    return Path(folder)


@pytest.fixture(scope="session")
def msiip_medmvl_checkpoints() -> Path:
    """The folder of small checkpoints of MSIIP/MedM-VL with their outputs; tests that use it skip where it is absent."""
    folder = os.environ.get("MEDMVL_TEST_CHECKPOINTS", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MEDMVL_TEST_CHECKPOINTS does not name a folder with checkpoints")
    return Path(folder)
