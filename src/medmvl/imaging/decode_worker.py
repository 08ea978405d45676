"""The decoding process: compressed frames in, stored values into shared memory. A script of its own; see decode_pool.

A codec written in C may end its process on damaged bytes; nothing else is lost here. It imports NumPy, pydicom and the codecs,
never this package, and starts in under half a second. Messages are JSON after a length of four bytes, on one socket:

    in   {"path": [...]}                                    once: where modules are found
    out  {"ready": true, "cpu": 0.4}                         seconds of CPU that the start took
    in   {"slot": 0, "requests": [...]}                     with a descriptor where the memory of the slot is new
    out  {"slot": 0, "answers": [{"frames": [...]} | {"error": ...}], "cpu": 0.1}
"""

from __future__ import annotations

import contextlib
import functools
import json
import mmap
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

NOT_NEEDED = ("requests", "tqdm", "ssl")
"""What pydicom imports to download its samples: half of its time to start."""
MARK = struct.Struct("<q")
"""At the start of a slot's memory: the request that is being decoded, -1 before the first."""
ALIGNMENT = 64
CPU_SECONDS, CPU_SECONDS_PER_MEGAPIXEL = 10.0, 1.0
SPARE_BYTES, BYTES_PER_DECODED, BYTES_PER_ENCODED = 2**28, 24, 4
"""Memory that one request may take: codecs hold samples in 32 bit, some of them several times."""
_JPEG_SIZES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}


class OtherSizeError(Exception):
    """A stream claims another size than the header."""


def main() -> None:
    """Serve until the other end of the socket closes."""
    connection, lifeline = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    _end_with_parent(lifeline)
    greeting, _ = receive(connection)
    sys.path[:] = greeting["path"]
    sys.modules.update(dict.fromkeys(NOT_NEEDED))  # type: ignore[arg-type]
    import numpy
    import pydicom.pixels

    assert numpy and pydicom.pixels  # imported before the terminal is cut off: a failure here is shown
    send(connection, {"ready": True, "cpu": time.process_time()})
    _cut_off_terminal()
    memory: dict[int, mmap.mmap] = {}
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            message, descriptor = receive(connection)
            slot = message["slot"]
            if descriptor is not None:
                memory[slot] = mmap.mmap(descriptor, 0)
                os.close(descriptor)
            began = time.process_time()
            answers = _answers(message["requests"], memory[slot])
            send(connection, {"slot": slot, "answers": answers, "cpu": time.process_time() - began})


def _end_with_parent(lifeline: int) -> None:
    """End with the parent even within a codec; leave no core with a patient's pixels; the parent decides about signals."""
    import fcntl
    import resource

    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if hasattr(fcntl, "F_SETOWN") and hasattr(os, "O_ASYNC"):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())  # SIGIO, whose default ends the process,
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)  # when the writing end closes


def _cut_off_terminal() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


def send(connection: socket.socket, message: dict[str, Any], descriptor: int | None = None) -> None:
    """Send one message, with a file descriptor where one is given."""
    body = json.dumps(message).encode()
    data = struct.pack("<I", len(body)) + body
    if descriptor is None:
        connection.sendall(data)
        return
    sent = socket.send_fds(connection, [data], [descriptor])
    connection.sendall(data[sent:])


def receive(connection: socket.socket) -> tuple[dict[str, Any], int | None]:
    """Wait for one message and the descriptor that may come with it.

    Raises:
        EOFError: the other end has closed.
    """
    head, descriptors, _, _ = socket.recv_fds(connection, 4, 1)
    head += _exactly(connection, 4 - len(head)) if head else b""
    if not head:
        raise EOFError
    body = _exactly(connection, struct.unpack("<I", head)[0])
    return json.loads(body), (descriptors[0] if descriptors else None)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = connection.recv(min(count - len(data), 2**20))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


def _answers(requests: list[dict[str, Any]], memory: mmap.mmap) -> list[dict[str, Any]]:
    answers, at = [], ALIGNMENT
    for number, request in enumerate(requests):
        MARK.pack_into(memory, 0, number)
        _limit(request)
        answer, at = _answer(request, memory, at)
        answers.append(answer)
    signal.setitimer(signal.ITIMER_PROF, 0)
    return answers


def _limit(request: dict[str, Any]) -> None:
    """Give one request its seconds of CPU (SIGPROF ends the process) and its memory."""
    import resource

    options = request["options"]
    pixels = options["rows"] * options["columns"] * len(request["indices"])
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS + CPU_SECONDS_PER_MEGAPIXEL * pixels / 1e6)
    with contextlib.suppress(OSError, ValueError):
        with open("/proc/self/statm") as file:  # noqa: PTH123
            used = int(file.read().split()[0]) * mmap.PAGESIZE
        decoded = request["frame_bytes"] * (request["frames"] if request["whole_file"] else 1)
        most = used + SPARE_BYTES + BYTES_PER_DECODED * decoded + BYTES_PER_ENCODED * request["encoded_bytes"]
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _answer(request: dict[str, Any], memory: mmap.mmap, at: int) -> tuple[dict[str, Any], int]:
    """Decode one request to `memory` from `at` on; return the answer and where the next one begins."""
    import numpy as np

    frames = []
    try:
        for array, photometric in decode(request):
            if at + array.nbytes > len(memory):
                return {"error": "other shape"}, at
            np.frombuffer(memory, array.dtype, array.size, at).reshape(array.shape)[:] = array
            frames.append([at, array.dtype.str, list(array.shape), photometric])
            at += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
    except OtherSizeError as error:
        return {"error": "other size", "found": error.args[0]}, at
    except MemoryError:
        return {"error": "memory"}, at
    except ImportError:
        return {"error": "no codec"}, at
    except BaseException:  # noqa: BLE001  a codec raises what it likes on damaged bytes; one written in Rust no Exception
        return {"error": "damaged"}, at
    return {"frames": frames}, at


def decode(request: dict[str, Any]) -> Iterator[tuple[Any, str]]:
    """Yield stored values of each frame asked for, `(rows, columns[, samples])`, and their photometric interpretation."""
    import pydicom.pixels

    options = request["options"]
    if request["whole_file"]:
        for encoded in _encoded_frames(request):
            _check_size(encoded, options)
        found = _whole_file(request["path"], _identity(request["path"]), request["dtype"])
        for index in request["indices"]:
            yield found[index], ""
        return
    decoder = pydicom.pixels.get_decoder(request["syntax"])
    for encoded in _encoded_frames(request):
        _check_size(encoded, options)
        frame = pydicom.encaps.encapsulate([encoded], has_bot=False)
        array, about = next(decoder.iter_array(frame, indices=[0], **options))
        yield array, about["photometric_interpretation"]


def _check_size(encoded: bytes, options: dict[str, Any]) -> None:
    size = stream_size(encoded)
    if size is not None and size != (options["rows"], options["columns"]):
        raise OtherSizeError(list(size))


def _encoded_frames(request: dict[str, Any]) -> Iterator[bytes]:
    """Yield the compressed bytes of each frame asked for; reading goes on in the file that was open last."""
    source = (request["path"], _identity(request["path"]), request["offset"], request["frames"])
    if request["spans"] is not None:
        yield from _spans(request)
        return
    in_hand: _OpenFile | None = getattr(_last, "file", None)
    for index in request["indices"]:
        if in_hand is None or in_hand.source != source or in_hand.next > index:
            in_hand = _OpenFile(source)
        yield in_hand.frame(index)
    _last.file = None if in_hand is None or in_hand.next >= request["frames"] else in_hand


def _identity(path: str) -> tuple[int, ...]:
    about = os.stat(path)  # noqa: PTH116  (pathlib costs more to import than the rest)
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns


def _spans(request: dict[str, Any]) -> Iterator[bytes]:
    """Read the frames where the Extended Offset Table says they are (PS3.3 C.7.6.3.1.8), counted from the first fragment."""
    with open(request["path"], "rb") as stream:  # noqa: PTH123
        stream.seek(request["offset"] + 4)
        start = request["offset"] + 8 + int.from_bytes(stream.read(4), "little")
        for offset, length in request["spans"]:
            stream.seek(start + offset)
            item = stream.read(8)
            if item[:4] != b"\xfe\xff\x00\xe0" or length > request["encoded_bytes"]:
                raise ValueError("no frame begins where the offset table says")
            yield stream.read(length)


class _OpenFile:
    """The compressed frames of one file, in order."""

    def __init__(self, source: tuple[str, tuple[int, ...], int, int]) -> None:
        from pydicom.encaps import generate_frames

        self.source, self.next = source, 0
        path, _, offset, frames = source
        with open(path, "rb") as stream:  # noqa: PTH123
            stream.seek(offset)
            data = stream.read()
        self._frames: Iterator[bytes] = generate_frames(data, number_of_frames=frames)

    def frame(self, index: int) -> bytes:
        """Go on to a frame and return it."""
        for found in self._frames:
            self.next += 1
            if self.next > index:
                return found
        raise ValueError("the file holds fewer frames than it claims")


_last = threading.local()


@functools.lru_cache(maxsize=1)
def _whole_file(path: str, identity: tuple[int, ...], dtype: str) -> Any:
    """JPEG Extended of more than 8 bits by GDCM itself; pydicom's plugins refuse it or get it wrong."""
    import gdcm
    import numpy as np

    reader = gdcm.ImageReader()
    reader.SetFileName(path)
    if not reader.Read():
        raise ValueError("GDCM cannot read the file")
    image = reader.GetImage()
    columns, rows = image.GetDimension(0), image.GetDimension(1)
    data = image.GetBuffer().encode("utf-8", errors="surrogateescape")
    return np.frombuffer(data, dtype).reshape(-1, rows, columns)


def stream_size(encoded: bytes) -> tuple[int, int] | None:
    """Return rows and columns that a JPEG, JPEG-LS or JPEG 2000 stream claims, or None for what it is not."""
    if encoded[:4] == b"\xff\x4f\xff\x51" and len(encoded) >= 24:
        right, bottom, left, top = struct.unpack(">4I", encoded[8:24])
        return bottom - top, right - left
    at = 2
    while encoded[:2] == b"\xff\xd8" and at + 9 <= len(encoded):
        if encoded[at] != 0xFF:
            return None
        if encoded[at + 1] in _JPEG_SIZES:
            rows, columns = struct.unpack(">HH", encoded[at + 5 : at + 9])
            return rows, columns
        padding = encoded[at + 1] == 0xFF
        at += 1 if padding else 2 + int.from_bytes(encoded[at + 2 : at + 4], "big")
    return None


if __name__ == "__main__":
    main()
