"""Which run a command takes when it is told none."""

from __future__ import annotations

import os
from pathlib import Path

from edgepose.newest import newest_artifact
from edgepose.target import load_target


def test_a_run_that_was_killed_while_it_was_written_is_not_the_newest(tmp_path: Path) -> None:
    for age, name in enumerate([".tmp-abc", "20260102-000000", "20260101-000000"]):
        artifact = tmp_path / "tiny" / name / "artifacts" / "host"
        artifact.mkdir(parents=True)
        (artifact / "artifact.json").write_text("{}")
        report = tmp_path / "tiny" / name / "report.json"
        report.write_text("{}")
        os.utime(report, (1000 - age, 1000 - age))
    found = newest_artifact(tmp_path, load_target("host"))
    assert found == tmp_path / "tiny" / "20260102-000000" / "artifacts" / "host"
