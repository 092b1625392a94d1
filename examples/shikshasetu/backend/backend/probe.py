"""The healthchecks of the containers: `python -m backend.probe api|worker|beat|backup`.
Ends with 0 when the unit is well, else with 1 and the reason."""

import json
import os
import sys
import time
import urllib.error
import urllib.request


def api() -> str:
    try:
        with urllib.request.urlopen("http://127.0.0.1:8000/health", timeout=4) as answer:
            report = json.load(answer)
    except urllib.error.HTTPError as error:
        return f"/health answers {error.code}: {error.read(300)!r}"
    return "" if report.get("status") == "healthy" and report.get("database") == "connected" else f"/health says {report}"


def mark(path: str, longest: float, what: str) -> str:
    """What is wrong with the mark that a program leaves while it works."""
    if not os.path.exists(path):
        return f"{path} is not there yet, which is left by {what}"
    age = time.time() - os.stat(path).st_mtime
    return "" if age < longest else f"{what} was {age:.0f} s ago"


def worker() -> str:
    """The worker leaves a mark every two seconds or so while it asks the broker for tasks, busy
    or not. To ask it for a ping instead would start all of Celery for each healthcheck."""
    return mark(os.environ.get("WORKER_TICK", "/tmp/worker-tick"), 30, "the worker's last question to the broker")


def beat() -> str:
    """The clock leaves a mark each time it looks, every 20 s at the latest."""
    return mark(os.environ.get("BEAT_TICK", "/tmp/beat-tick"), 90, "beat's last look at the clock")


def backup() -> str:
    from backend import backup as keeper

    return keeper.complaint()


def main(argv: list[str]) -> int:
    checks = {"api": api, "worker": worker, "beat": beat, "backup": backup}
    if len(argv) != 2 or argv[1] not in checks:
        print("say which: " + ", ".join(checks), file=sys.stderr)
        return 2
    try:
        wrong = checks[argv[1]]()
    except Exception as error:  # a check that breaks has not passed
        wrong = f"{type(error).__name__}: {error}"
    if wrong:
        print(wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
