"""The web application: `python -m uvicorn backend.main:app`."""

import logging

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.responses import Response

from backend import database, health
from backend.metrics import Measure, exposition
from backend.routes import router
from backend.settings import settings

app = FastAPI(title="ShikshaSetu", version=settings().version)
app.add_middleware(Measure, version=settings().version)
app.include_router(router)
log = logging.getLogger(__name__)


@app.exception_handler(DBAPIError)
@app.exception_handler(PoolTimeout)
async def without_database(request: Request, error: Exception) -> JSONResponse:
    """A database that is away is no fault of this program: who asked may ask again. Any
    other error stays one, and answers 500."""
    if not database.away(error):
        raise error
    # What the driver says, never the statement: its values are the users'.
    reason = " ".join(str(getattr(error, "orig", error)).split())
    log.warning("503 for %s %s: %s", request.method, request.url.path, reason)
    return JSONResponse({"detail": "the database is not there, try again"}, 503, {"Retry-After": "10"})


@app.get("/health")
@app.get("/api/v1/status")
def healthy() -> JSONResponse:
    ok, report = health.report()
    return JSONResponse(report, status_code=200 if ok else 503)


@app.get("/version")
def version() -> dict:
    return {"version": settings().version}


@app.get("/metrics", include_in_schema=False)
def metrics() -> Response:
    return exposition()
