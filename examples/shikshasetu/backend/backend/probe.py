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
    """Beat rewrites its schedule file as it goes; a minute is its slowest tick."""
    path = os.environ.get("BEAT_SCHEDULE", "/tmp/beat")
    ages = [time.time() - os.stat(name).st_mtime for name in (path, path + ".db", path + ".dat") if os.path.exists(name)]
    if not ages:
        return f"{path} is not there"
    return "" if min(ages) < 240 else f"{path} was last written {min(ages):.0f} s ago"


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
