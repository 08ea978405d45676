"""What `/metrics` reports to Prometheus: counts, times and queues; never words, pixels or names."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Metrics:
    """The figures of one server."""

    def __init__(self, waiting: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "medmvl_requests", "Requests by route and status", ["route", "status"], registry=self.registry
        )
        self.tokens = Counter("medmvl_tokens", "Tokens by kind", ["kind"], registry=self.registry)
        self.seconds = Histogram(
            "medmvl_answer_seconds", "Seconds from question to complete answer", registry=self.registry,
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
        )  # fmt: skip
        self.first = Histogram(
            "medmvl_first_token_seconds", "Seconds from question to first piece of text",
            registry=self.registry, buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
        )  # fmt: skip
        Gauge("medmvl_waiting", "Questions not answered yet", registry=self.registry).set_function(waiting)

    def text(self) -> bytes:
        """The figures as Prometheus reads them."""
        return bytes(generate_latest(self.registry))


class CountRequests:
    """ASGI middleware that counts requests by route and status.

    Plain ASGI on purpose: with Starlette's own base class in front, a route does not learn that its client has left.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and note how it was answered."""

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                path = getattr(scope.get("route"), "path", "other")
                self.metrics.requests.labels(path, str(message["status"])).inc()
            await send(message)

        await self.app(scope, receive, noting if scope["type"] == "http" else send)
