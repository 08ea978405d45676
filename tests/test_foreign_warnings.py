"""What other libraries tell about things nobody here uses is kept back, and nothing else of theirs."""

import logging

import pytest

import medmvl  # noqa: F401  (keeps the messages back)


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("torchao", "Failed to load /x/_C_mxfp8.so: Could not load this library", False),
        ("torchao", "The weights could not be quantized", True),
        ("torchao.kernel.intmm", "Warning: Detected no triton, on systems without Triton", False),
        ("torch.utils._pytree", "<enum 'KernelPreference'> is an Enum subclass and is now natively", False),
        ("torch.utils._pytree", "a class is registered twice", True),
    ],
)
def test_only_known_messages_are_kept_back(
    name: str, text: str, shown: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, name):
        logging.getLogger(name).warning(text)
    assert (text in caplog.text) is shown
