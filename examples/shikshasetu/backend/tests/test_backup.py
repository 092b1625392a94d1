import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from backend import backup


@pytest.fixture
def keeper(tmp_path, monkeypatch):
    """A keeper whose pg_dump and pg_restore are fakes that can be told to fail."""
    for name in ("bin", "dumps", "metrics"):
        (tmp_path / name).mkdir()
    fakes = {
        "pg_dump": 'while [ "$1" != --file ]; do shift; done; echo content > "$2"; exit ${DUMP_EXIT:-0}',
        "pg_restore": "exit ${RESTORE_EXIT:-0}",
    }
    for name, body in fakes.items():
        path = tmp_path / "bin" / name
        path.write_text("#!/bin/sh\n" + body + "\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("BACKUP_DIR", str(tmp_path / "dumps"))
    monkeypatch.setenv("METRICS_DIR", str(tmp_path / "metrics"))
    return backup.Keeper.of_environment()


def old(keeper, days):
    dump = keeper.folder / f"old-{days:03}.dump"
    dump.write_text("x")
    dump.with_suffix(".json").write_text("{}")
    os.utime(dump, (time.time() - days * backup.DAY,) * 2)
    return dump


def test_a_proven_dump_is_kept_and_told(keeper):
    assert backup.complaint() == "there is no proven backup yet"
    dump = keeper.take()
    manifest = json.loads(dump.with_suffix(".json").read_text())
    assert manifest["bytes"] == dump.stat().st_size and len(manifest["sha256"]) == 64
    assert backup.METRIC in (keeper.metrics / "shiksha_backup.prom").read_text()
    assert keeper.age() < 5
    assert backup.complaint() == ""


@pytest.mark.parametrize("fault", ["DUMP_EXIT", "RESTORE_EXIT"])
def test_a_dump_that_fails_is_no_backup(keeper, monkeypatch, fault):
    kept = [old(keeper, days) for days in (30, 20, 10, 9)]
    monkeypatch.setenv(fault, "1")
    with pytest.raises(RuntimeError, match="ended with 1"):
        keeper.take()
    assert all(dump.exists() for dump in kept), "older dumps stay"
    assert not list(keeper.folder.glob("*.part"))
    assert not (keeper.metrics / "shiksha_backup.prom").exists()
    assert "h old" in backup.complaint()


def test_seven_days_are_kept_and_never_less_than_three(keeper):
    young, older = [old(keeper, days) for days in (1, 6)], [old(keeper, days) for days in (8, 30)]
    keeper.take()
    assert all(dump.exists() for dump in young)
    assert not any(dump.exists() for dump in older)
    for dump in young:
        os.utime(dump, (time.time() - 100 * backup.DAY,) * 2)
    keeper.take()
    assert len(keeper.proven()) >= 3


def test_a_first_dump_that_is_large_is_waited_for_by_nobody(keeper):
    def begun(seconds, idle):
        part = keeper.folder / (time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() - seconds)) + ".part")
        part.write_text("half")
        os.utime(part, (time.time() - idle,) * 2)
        told = backup.complaint()
        part.unlink()
        return told

    missing = "there is no proven backup yet"
    assert begun(60, 1) == missing, "a release waits for a small one"
    assert begun(3600, 5) == "", "it grows"
    assert begun(3600, 900) == "", "it is read back"
    assert begun(3600, 3500) == missing, "it hangs"
    assert begun(7200, 6000) == missing
    (keeper.folder / "x.part").write_text("not ours")
    assert backup.complaint() == missing
    old(keeper, 3)
    assert begun(3600, 5) == "", "an older one is no worse than none"
    assert "h old" in begun(60, 1)


def test_a_dump_that_was_cut_short_later_is_told(keeper):
    dump = keeper.take()
    dump.write_text("")
    assert "has 0 bytes and had 8 when it was proven" in backup.complaint()


def test_what_a_killed_run_left_is_no_backup(keeper):
    (keeper.folder / "20200101T000000Z.part").write_text("half")
    (keeper.folder / "20200102T000000Z.dump").write_text("without a manifest")
    assert keeper.proven() == []
    keeper.take()
    assert not list(keeper.folder.glob("*.part"))


@pytest.mark.parametrize("slow", ["pg_dump", "pg_restore"])
def test_a_unit_that_is_told_to_stop_ends_its_dump(keeper, slow):
    fake = keeper.folder.parent / "bin" / slow
    fake.write_text(f"#!/bin/sh\necho half > {keeper.folder}/20200101T000000Z.part; exec sleep 60\n")
    argv, root = [sys.executable, "-m", "backend.backup"], Path(__file__).parent.parent
    with subprocess.Popen(argv, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as unit:
        began = time.time()
        while not (keeper.folder / "20200101T000000Z.part").exists():
            assert time.time() - began < 20
            time.sleep(0.05)
        told = time.time()
        unit.send_signal(signal.SIGTERM)
        _, said = unit.communicate(timeout=20)
    assert time.time() - told < 10, "the grace is 30 s"
    assert unit.returncode == 0
    assert f"told to stop while {slow} ran" in said
    assert keeper.proven() == []
