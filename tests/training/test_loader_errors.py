"""Errors of a data loader's processes are told as where the training reads by itself."""

import os
import signal
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset

from medmvl.errors import AmbiguousSourceError, Choice, SampleError, UserError
from medmvl.training.loader_errors import (
    LONGEST_TEMPORARY_FOLDER,
    check_temporary_folder,
    plain_loader_errors,
)


class Failing(Dataset[int]):
    def __init__(self, fail: Callable[[], object]) -> None:
        self.fail = fail

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        self.fail()
        return index


def of_two_lines() -> None:
    try:
        raise UserError("a: the inner one")
    except UserError as error:
        raise SampleError("sample 'b':\n  the outer one") from error


def not_allowed() -> None:
    raise PermissionError(13, "Permission denied", "/there")


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def of_several_images() -> None:
    raise AmbiguousSourceError("a: the file holds 2 frames", Choice("frame", 2), " (in order)")


@pytest.mark.parametrize("fail", [of_two_lines, not_allowed, of_several_images])
def test_the_message_is_that_of_the_process_itself(fail: Callable[[], object]) -> None:
    with pytest.raises((UserError, OSError)) as here:
        fail()
    with pytest.raises(UserError) as caught, plain_loader_errors():
        list(DataLoader(Failing(fail), num_workers=1))
    assert str(caught.value) == str(here.value)
    assert isinstance(caught.value, SampleError) == isinstance(here.value, SampleError)


def test_a_killed_process_is_told_with_what_to_do() -> None:
    with pytest.raises(UserError, match=r"\(Killed\).*num_workers.*same command"), plain_loader_errors():
        list(DataLoader(Failing(killed), num_workers=1))


def test_errors_of_this_process_pass() -> None:
    for error in (UserError("mine"), RuntimeError("a bug"), ValueError("Caught cold")):
        with pytest.raises(type(error)) as caught, plain_loader_errors():
            raise error
        assert caught.value is error


def test_a_temporary_folder_too_long_for_sockets_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = len("/pymp-12345678/listener-12345678")
    with tempfile.TemporaryDirectory(dir="/tmp") as root:
        for length in (LONGEST_TEMPORARY_FOLDER, LONGEST_TEMPORARY_FOLDER + 1):
            folder = root.ljust(len(root) + 1, "/").ljust(length, "x")
            monkeypatch.setattr(tempfile, "tempdir", folder)
            Path(folder).mkdir()
            fits = length == LONGEST_TEMPORARY_FOLDER
            with socket.socket(socket.AF_UNIX) as listener:
                address = folder + "/" + "y" * (inside - 1)
                if fits:
                    listener.bind(address)
                else:
                    with pytest.raises(OSError, match="too long"):
                        listener.bind(address)
            check_temporary_folder(0)
            if fits:
                check_temporary_folder(2)
            else:
                with pytest.raises(UserError, match="set TMPDIR to a shorter path"):
                    check_temporary_folder(2)
