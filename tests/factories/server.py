"""A real server on a free port of this machine, in a thread of the test's own process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def running(app: Any, header_seconds: float = 20.0) -> Iterator[str]:
    """Serve `app` and give its address; stop gracefully afterwards."""
    import uvicorn

    from medmvl.serving.connections import StoppingServer, protocol_with

    protocol = protocol_with(header_seconds)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", http=protocol)
    server = StoppingServer(config, app.state.server.stop)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        assert not thread.is_alive()
