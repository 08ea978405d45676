"""Libraries that read files say nothing while they do, and speak as before afterwards."""

import logging

import pytest

from medmvl.imaging.silence import silent_libraries


@pytest.mark.parametrize(
    "name", ["pydicom", "pydicom.a.module.of.its.own", "nibabel.global", "PIL.TiffImagePlugin"]
)
def test_records_are_dropped_within_and_kept_after(name: str, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger(name)
    with silent_libraries(), silent_libraries():
        logger.warning("NAME^OF A PATIENT")
    logger.warning("spoken")
    assert [record.getMessage() for record in caplog.records] == ["spoken"]


def test_no_level_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of level clears the cache of every logger of the process: that takes a millisecond with torch loaded."""
    monkeypatch.setattr(logging.Logger, "setLevel", lambda *_: pytest.fail("a level was set"))
    with silent_libraries():
        pass
