"""The Celery application: `celery -A backend.tasks.celery_app worker`."""

from celery import Celery
from kombu import Queue

from backend.settings import redis_url
from backend.tasks import broker  # noqa: F401 (it takes the place of kombu's own)

# dead_letter has no consumer: what lies there is for a person to look at.
CONSUMED = ("default", "pipeline", "ocr", "ml_gpu", "ml_cpu")
DEAD_LETTER = "dead_letter"

# Seconds. The stop_grace_period of a worker and Redis's visibility time-out are
# longer, so a task under way neither dies with its worker nor is given out twice
# (but one that was under way when Redis went away is).
LONGEST_TASK = 600

app = Celery("shikshasetu", include=["backend.tasks.pipeline", "backend.tasks.beat"])
app.conf.update(
    broker_url=redis_url(),
    result_backend=redis_url(),
    result_expires=3600,
    task_default_queue="default",
    task_queues=[Queue(name) for name in CONSUMED],
    task_routes={
        "pipeline.*": {"queue": "pipeline"},
        "ocr.*": {"queue": "ocr"},
        "ml.gpu.*": {"queue": "ml_gpu"},
        "ml.cpu.*": {"queue": "ml_cpu"},
    },
    # A task is done when it has ended, not when it was handed out: one whose
    # worker was killed comes back. One at a time, so that little has to.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_soft_time_limit=LONGEST_TASK - 30,
    task_time_limit=LONGEST_TASK,
    broker_transport_options={"visibility_timeout": 3 * LONGEST_TASK},
    broker_connection_retry_on_startup=True,
    # The exporter counts tasks by these events.
    worker_send_task_events=True,
    task_send_sent_event=True,
    beat_schedule={"heartbeat": {"task": "beat.heartbeat", "schedule": 60.0, "options": {"expires": 55}}},
)
