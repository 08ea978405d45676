"""Places for large bodies and uploads while they arrive; nobody holds more than half of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable


class Places:
    """Limit on the requests of one type that are served at a time.

    Args:
        count: for all clients; one of them may hold half, rounded up.
    """

    def __init__(self, count: int) -> None:
        self._count, self._share = count, (count + 1) // 2
        self._held: Counter[str] = Counter()

    def take(self, client: str) -> Callable[[], None] | None:
        """Take a place; the result gives it back, once. None where there is none for this client."""
        if self._held.total() >= self._count or self._held[client] >= self._share:
            return None
        self._held[client] += 1
        held = True

        def release() -> None:
            nonlocal held
            if held:
                self._held[client] -= 1
                self._held += Counter()  # forgets clients that hold none
            held = False

        return release
