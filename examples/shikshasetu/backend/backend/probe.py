"""The healthchecks of the containers: `python -m backend.probe api|worker|beat|backup`.
Ends with 0 when the unit is well, else with 1 and the reason."""

import json
import os
import socket
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


def worker() -> str:
    from backend.tasks.celery_app import app

    name = "celery@" + socket.gethostname()
    answers = app.control.inspect([name], timeout=5).ping()
    return "" if answers and name in answers else f"{name} does not answer a ping"


def beat() -> str:
    """The clock leaves a mark each time it looks, every 20 s at the latest."""
    path = os.environ.get("BEAT_TICK", "/tmp/beat-tick")
    if not os.path.exists(path):
        return f"{path} is not there: beat has not looked at the clock yet"
    age = time.time() - os.stat(path).st_mtime
    return "" if age < 90 else f"beat looked at the clock {age:.0f} s ago"


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
