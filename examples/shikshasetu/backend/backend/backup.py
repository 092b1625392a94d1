"""The unit postgres_backup: a proven dump each day, seven days kept.

A dump counts only after it was read back whole. Older dumps go only after a
newer one was proven, and the newest three always stay."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from calendar import timegm
from dataclasses import dataclass
from pathlib import Path
from threading import Event

DAY = 86_400
KEEP_AT_LEAST = 3
# Seconds. A dump that takes longer is not waited for when it is the first one.
LARGE = 300
METRIC = "shiksha_backup_last_success_timestamp_seconds"

# Set when the unit is told to stop.
stop = Event()
# The program that runs now.
running: subprocess.Popen | None = None


@dataclass(frozen=True)
class Keeper:
    folder: Path
    # Where node_exporter's textfile collector looks.
    metrics: Path
    every: float
    keep_days: float

    @staticmethod
    def of_environment() -> "Keeper":
        return Keeper(
            folder=Path(os.environ.get("BACKUP_DIR", "/backups")),
            metrics=Path(os.environ.get("METRICS_DIR", "/metrics")),
            every=float(os.environ.get("BACKUP_EVERY_SECONDS", DAY)),
            keep_days=float(os.environ.get("BACKUP_KEEP_DAYS", "7")),
        )

    def proven(self) -> list[Path]:
        """The dumps that were proven, the newest last. The manifest is written last."""
        dumps = [path for path in self.folder.glob("*.dump") if path.with_suffix(".json").exists()]
        return sorted(dumps, key=lambda path: path.stat().st_mtime)

    def damage(self) -> str:
        """What happened to the newest proven dump since; empty when it is as long as it was."""
        dump = self.proven()[-1]
        proven = json.loads(dump.with_suffix(".json").read_text()).get("bytes")
        found = dump.stat().st_size
        return "" if found == proven else f"{dump.name} has {found} bytes and had {proven} when it was proven"

    def under_way(self) -> bool:
        """Whether a dump is being taken that is large: it was begun minutes ago, and it still
        grows, or is read back, which takes no longer than to write it."""
        for part in self.folder.glob("[0-9]*Z.part"):
            try:
                began = timegm(time.strptime(part.stem, "%Y%m%dT%H%M%SZ"))
                written = part.stat().st_mtime
            except (OSError, ValueError):
                continue  # it has just become a dump, or it is not ours
            now = time.time()
            if now - began > LARGE and now - written < LARGE + max(0, written - began):
                return True
        return False

    def age(self) -> float:
        """Seconds since the newest proven dump; infinite without one."""
        dumps = self.proven()
        return time.time() - dumps[-1].stat().st_mtime if dumps else float("inf")

    def take(self) -> Path:
        """Dumps, proves and keeps. Raises, and leaves the older dumps, when any of it fails."""
        name = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        part, final = self.folder / (name + ".part"), self.folder / (name + ".dump")
        self._sweep()
        try:
            _run("pg_dump", "--format=custom", "--no-password", "--file", str(part))
            # A listing passes on a dump that was cut short; reading it all does not.
            _run("pg_restore", "--exit-on-error", "--file", os.devnull, str(part))
            manifest = {"sha256": _sum(part), "bytes": part.stat().st_size, "taken": name}
            _sync(part)
            part.rename(final)
        finally:
            part.unlink(missing_ok=True)
        _write(final.with_suffix(".json"), json.dumps(manifest) + "\n")
        self._expire()
        self._tell()
        return final

    def _sweep(self) -> None:
        """Takes away what a killed run left."""
        for part in self.folder.glob("*.part"):
            part.unlink(missing_ok=True)

    def _expire(self) -> None:
        oldest = time.time() - self.keep_days * DAY
        for dump in self.proven()[:-KEEP_AT_LEAST]:
            if dump.stat().st_mtime < oldest:
                dump.unlink()
                dump.with_suffix(".json").unlink()

    def _tell(self) -> None:
        last = self.proven()[-1].stat().st_mtime
        text = f"# HELP {METRIC} When the newest proven backup was taken.\n# TYPE {METRIC} gauge\n{METRIC} {last:.0f}\n"
        _write(self.metrics / "shiksha_backup.prom", text)


def _run(*argv: str) -> None:
    """Runs a program; the connection is in libpq's own variables, never in argv."""
    global running
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        if stop.is_set():  # while it was being started
            running.terminate()
        _, told = running.communicate()
    if running.returncode == 0:
        return
    if stop.is_set():
        raise RuntimeError(f"the unit was told to stop while {argv[0]} ran; the next unit begins anew")
    raise RuntimeError(f"{argv[0]} ended with {running.returncode}: {told.strip()[-2000:]}")


def _end(*_: object) -> None:
    """Ends what runs too: a dump that goes on would be killed with the unit a grace later."""
    stop.set()
    if running:
        running.terminate()


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, text: str) -> None:
    """All of it or nothing: readers never see half a file."""
    fresh = path.with_name(path.name + ".part")
    fresh.write_text(text)
    _sync(fresh)
    fresh.rename(path)
    _sync(path.parent)


def complaint() -> str:
    """The healthcheck: empty when the newest proven dump is not older than two hours past its
    time, or while one is taken that is so large that a release that waits for it would give up."""
    keeper = Keeper.of_environment()
    age = keeper.age()
    if age == float("inf"):
        return "" if keeper.under_way() else "there is no proven backup yet"
    if age < keeper.every + 7200:
        return keeper.damage()
    return "" if keeper.under_way() else f"the newest proven backup is {age / 3600:.0f} h old"


def main() -> int:
    keeper = Keeper.of_environment()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, _end)
    # A new release starts a new unit: it takes a dump only when one is due.
    wait = max(0.0, keeper.every - keeper.age()) if keeper.proven() else 0.0
    while not stop.wait(wait):
        try:
            print("kept", keeper.take(), flush=True)
            wait = keeper.every
        except (RuntimeError, OSError) as error:
            print("NO BACKUP:", error, file=sys.stderr, flush=True)
            wait = min(300.0, keeper.every)
    return 0


if __name__ == "__main__":
    sys.exit(main())
