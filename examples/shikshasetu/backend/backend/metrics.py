"""What Prometheus sees of the API. One process serves one unit, so the counters
need no sharing between processes."""

import time

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUESTS = Counter("http_requests_total", "Answers, by method, route and status.", ["method", "route", "status"])
DURATION = Histogram(
    "http_request_duration_seconds",
    "Seconds from the request to the end of its answer.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)
BUSY = Gauge("http_requests_in_progress", "Requests under way.")
INFO = Gauge("shikshasetu_build_info", "1, with the version as its label.", ["version"])


class Measure:
    """Counts each answer and names its version. Routes are labelled by their
    pattern, never by the path: a stranger must not make new series."""

    def __init__(self, app: ASGIApp, version: str):
        self.app, self.version = app, version.encode("latin-1", "replace")
        INFO.labels(version).set(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, began = 500, time.perf_counter()

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", []).append((b"x-release", self.version))
            await send(message)

        BUSY.inc()
        try:
            await self.app(scope, receive, named)
        finally:
            BUSY.dec()
            route = getattr(scope.get("route"), "path", "none")
            REQUESTS.labels(scope["method"], route, status).inc()
            DURATION.labels(scope["method"], route).observe(time.perf_counter() - began)


def exposition() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
