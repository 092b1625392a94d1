"""The web application: `python -m uvicorn backend.main:app`."""

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.responses import Response

from backend import health
from backend.metrics import Measure, exposition
from backend.routes import router
from backend.settings import settings

app = FastAPI(title="ShikshaSetu", version=settings().version)
app.add_middleware(Measure, version=settings().version)
app.include_router(router)


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
