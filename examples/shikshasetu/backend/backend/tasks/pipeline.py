"""The steps that turn a text into a lesson."""

import socket
import time

from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from backend.database import transaction
from backend.tasks.celery_app import app

# One statement, so that a second run of a job is seen and not hidden.
FINISH = text(
    "INSERT INTO job_results (job_id, worker) VALUES (:job, :worker) "
    "ON CONFLICT (job_id) DO UPDATE SET runs = job_results.runs + 1, worker = EXCLUDED.worker, finished_at = now()"
)


# A database that is away for a while loses no job: it is tried again after a second,
# then two, four and so on, a minute at most, for a quarter of an hour. With Celery's jitter
# each wait would be anything between none and that: half of it in all.
UNTIL_IT_IS_BACK = {"autoretry_for": (OperationalError, PoolTimeout), "retry_backoff": True, "retry_backoff_max": 60, "retry_jitter": False, "max_retries": 20}


# Without a result in Redis, which nobody reads: the row is the result. Whoever wants one
# listens for it, and when Redis is away waits twenty seconds before saying so.
@app.task(name="pipeline.process", ignore_result=True, **UNTIL_IT_IS_BACK)
def process(job: str, seconds: float) -> str:
    """Takes so many seconds and writes its job down once."""
    time.sleep(seconds)
    with transaction() as session:
        session.execute(FINISH, {"job": job, "worker": socket.gethostname()})
    return job


@app.task(name="default.echo")
def echo(value: str) -> str:
    """Gives back what it was given: shows that the whole way works."""
    return value
