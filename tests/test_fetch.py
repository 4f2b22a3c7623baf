"""Fetching: whatever the network does, the right file or one clear message and nothing half-written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from edgepose import api, download, fetch
from edgepose.cli import main
from edgepose.errors import EdgeposeError
from edgepose.fetch import Source
from edgepose.inputs import start_model, teacher_model
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.weights import is_here

CONTENT = bytes(range(256)) * 12_000  # 3 MB
SHA = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Site:
    """What the server has, and how it behaves. drops: bytes after which each connection breaks."""

    files: dict[str, bytes] = field(default_factory=lambda: {"/w.pth": CONTENT})
    drops: list[int] = field(default_factory=list)
    ranges: bool = True
    lengths: bool = True
    status: int = 200
    redirect: str = ""
    asked: list[str] = field(default_factory=list)  # the Range of each request
    url: str = ""


@pytest.fixture
def site() -> Iterator[Site]:
    state = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            state.asked.append(wanted)
            content = state.files.get(self.path)
            if state.redirect:
                self.send_response(302)
                self.send_header("Location", state.redirect)
                self.end_headers()
                return
            if state.status != 200 or content is None:
                self.send_error(state.status if state.status != 200 else 404)
                return
            start = int(wanted[6:-1]) if wanted and state.ranges else 0
            if start >= len(content) and start:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            if state.lengths:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            stop = start + state.drops.pop(0) if state.drops else len(content)
            self.wfile.write(content[start:stop])

        def log_message(self, *_: Any) -> None:
            """Tests are silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EDGEPOSE_OFFLINE", raising=False)
    monkeypatch.setattr("edgepose.download.time.sleep", lambda _: None)


def get(site: Site, name: str = "/w.pth", sha256: str | None = SHA, **more: Any) -> Path:
    return fetch.fetch(Source(site.url + name, sha256), **more)


def final_files(tmp_path: Path) -> list[str]:
    """What looks finished in the cache."""
    files = [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.name != ".lock"]
    return sorted(p.name for p in files if not p.name.endswith(fetch.PART))


def test_fetched_once_then_read_from_the_disk(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int, int]] = []
    path = get(site, report=lambda *values: seen.append(values))
    assert path.read_bytes() == CONTENT
    assert seen[-1][1:] == (3, 3)
    assert "w.pth" in seen[-1][0]
    monkeypatch.setenv("EDGEPOSE_OFFLINE", "1")
    assert get(site) == path
    assert site.asked == [""]


def test_a_broken_connection_continues_where_it_stopped(site: Site) -> None:
    site.drops = [1_000_000, 500_000]
    assert get(site).read_bytes() == CONTENT
    assert site.asked == ["", "bytes=1000000-", "bytes=1500000-"]


def test_a_stopped_download_is_told_and_continues_next_time(site: Site, tmp_path: Path) -> None:
    site.drops = [1_000_000, 0, 0, 0]
    with pytest.raises(EdgeposeError, match=r"stopped after 1\.0 MB") as raised:
        get(site)
    assert "continues" in raised.value.fix
    assert final_files(tmp_path) == []
    assert get(site).read_bytes() == CONTENT
    assert site.asked[-1] == "bytes=1000000-"


def test_a_server_without_ranges_sends_it_all_again(site: Site) -> None:
    site.ranges, site.drops = False, [1_000_000]
    assert get(site).read_bytes() == CONTENT
    assert site.asked == ["", "bytes=1000000-"]


def test_a_part_of_another_version_is_not_kept(site: Site) -> None:
    site.files["/w.pth"], site.drops = b"x" * 2_000_000, [1_500_000, 0, 0, 0]
    with pytest.raises(EdgeposeError, match="stopped"):
        get(site)
    site.files["/w.pth"] = CONTENT
    assert get(site).read_bytes() == CONTENT
    site.files["/v.pth"], site.drops = CONTENT + b"y" * 9, [len(CONTENT) + 5, 0, 0, 0]
    with pytest.raises(EdgeposeError, match="stopped"):
        get(site, "/v.pth")
    site.files["/v.pth"] = CONTENT  # shorter than the part: the server answers 416
    assert get(site, "/v.pth").read_bytes() == CONTENT


def test_a_whole_part_needs_no_byte_more(site: Site, tmp_path: Path) -> None:
    path = get(site)
    path.rename(path.with_name("w.pth.part"))
    assert get(site).read_bytes() == CONTENT
    assert site.asked == ["", f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("lengths", [True, False])
def test_a_wrong_hash_leaves_nothing(site: Site, tmp_path: Path, lengths: bool) -> None:
    site.lengths = lengths
    with pytest.raises(EdgeposeError, match="is not the file that was asked for") as raised:
        get(site, sha256="0" * 64)
    assert SHA in raised.value.problem
    assert list((tmp_path / "cache").rglob("w.pth*")) == []


def test_a_file_changed_in_the_cache_is_fetched_again(site: Site) -> None:
    path = get(site)
    path.write_bytes(b"rotten")
    assert get(site).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("name", "ok"),
    [
        (f"hrnet_w48_mpii_256x256-{SHA[:8]}_20200812.pth", True),
        (f"resnet18-{SHA[:8]}.pth", True),
        ("hrnet_w48_mpii_256x256-92cab7bd_20200812.pth", False),
    ],
)
def test_the_prefix_in_a_name_is_checked_and_a_pin_advised(site: Site, name: str, ok: bool) -> None:
    site.files[f"/{name}"] = CONTENT
    said: list[str] = []
    if not ok:
        with pytest.raises(EdgeposeError, match=r"expected 92cab7bd\.\.\."):
            get(site, f"/{name}", None)
        return
    assert get(site, f"/{name}", None, warn=said.append).read_bytes() == CONTENT
    assert len(said) == 1
    assert f"pin it with sha256: {SHA}" in said[0]
    get(site, f"/{name}", SHA, warn=said.append)
    assert len(said) == 1


@pytest.mark.parametrize(
    ("location", "sha256", "part"),
    [
        ("https://host/w.pth", None, "has no sha256"),
        ("https://host/run-20240131.pth", None, "has no sha256"),
        ("https://host/w.pth", "92cab7bd", "64 hex digits"),
        ("http://host/w.pth", SHA, "http:// is not supported"),
        ("ftp://host/w.pth", SHA, "ftp:// is not supported"),
        ("https:///w.pth", SHA, "no host"),
        ("file://host/w.pth", None, "another machine"),
        ("nowhere/w.pth", None, "there is no nowhere"),
    ],
)
def test_sources_that_are_refused(location: str, sha256: str | None, part: str) -> None:
    with pytest.raises(EdgeposeError, match=part):
        fetch.fetch(Source(location, sha256))


def test_paths_and_file_urls_are_checked_too(tmp_path: Path) -> None:
    path = tmp_path / "a b.pth"
    path.write_bytes(CONTENT)
    for location in (str(path), path.as_uri()):
        assert fetch.fetch(Source(location)) == path
        assert fetch.fetch(Source(location, SHA)) == path
        with pytest.raises(EdgeposeError, match="is not the file"):
            fetch.fetch(Source(location, "1" * 64))
    assert not (tmp_path / "cache").exists()


def test_answers_other_than_the_file(site: Site, tmp_path: Path) -> None:
    with pytest.raises(EdgeposeError, match="answers 404"):
        get(site, "/other.pth")
    site.status = 503
    with pytest.raises(EdgeposeError, match="answers 503"):
        get(site)
    assert len(site.asked) == 1 + download.ATTEMPTS
    site.status, site.redirect = 200, "ftp://host/w.pth"
    with pytest.raises(EdgeposeError, match="redirects to ftp"):
        get(site)
    with pytest.raises(EdgeposeError, match="stopped after"):
        fetch.fetch(Source("http://127.0.0.1:9/w.pth", SHA))
    assert final_files(tmp_path) == []


def test_offline(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_OFFLINE", "1")
    with pytest.raises(EdgeposeError, match="EDGEPOSE_OFFLINE is set"):
        get(site)
    assert site.asked == []


def test_a_full_disk(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr("edgepose.download.shutil.disk_usage", lambda _: usage)
        with pytest.raises(EdgeposeError, match="needs 3 MB more") as raised:
            get(site)
    assert "EDGEPOSE_CACHE" in raised.value.fix
    with monkeypatch.context() as patch:

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr("edgepose.fetch.os.replace", refuse)
        with pytest.raises(EdgeposeError, match="No space left"):
            get(site)
    assert final_files(tmp_path) == []
    assert get(site).read_bytes() == CONTENT


def test_the_least_recently_used_leave(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE_GB", "0.0065")  # two of three files of 3 MB
    site.files |= {"/a.pth": CONTENT, "/b.pth": CONTENT, "/c.pth": CONTENT}
    for when, name in enumerate(("/a.pth", "/b.pth"), start=1):
        entry = get(site, name).parent / fetch.ENTRY
        os.utime(entry, (when, when))
    get(site, "/a.pth")  # used again
    get(site, "/c.pth")
    assert {entry.name for entry in fetch.entries()} == {"a.pth", "c.pth"}
    monkeypatch.setenv("EDGEPOSE_CACHE_GB", "0.001")
    with pytest.raises(EdgeposeError, match="may hold"):
        get(site, "/b.pth")
    monkeypatch.setenv("EDGEPOSE_CACHE_GB", "lots")
    with pytest.raises(EdgeposeError, match="EDGEPOSE_CACHE_GB is 'lots'"):
        get(site, "/b.pth")


# ---- through the command line ------------------------------------------------------------------


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_cache_lists_and_clears(site: Site, tmp_path: Path) -> None:
    assert "0.0 MB of" in run("cache", "list").output
    get(site)
    site.files["/part.pth"], site.drops = CONTENT, [1_000_000, 0, 0, 0]
    with pytest.raises(EdgeposeError):
        get(site, "/part.pth")
    listed = json.loads(run("cache", "list", "--json").stdout)
    by_name = {entry["name"]: entry for entry in listed["entries"]}
    assert by_name["w.pth"]["sha256"] == SHA
    assert by_name["w.pth"]["url"] == f"{site.url}/w.pth"
    assert by_name["w.pth"]["bytes"] == len(CONTENT)
    assert by_name["part.pth.part"]["sha256"] is None
    text = run("cache", "list").output
    assert SHA[:12] in text
    assert "not whole" in text
    assert "4.1 MB removed" in run("cache", "clear").output
    assert json.loads(run("cache", "list", "--json").stdout)["entries"] == []


RECIPE = """\
version: 1
name: tiny
data: {source: synthetic, train: 8, val: 4, calibration: 8, frame_px: 64}
student: {arch: hrnet_w4, input_hw: [32, 32], checkpoint: "%s", sha256: "%s"}
teacher: {checkpoint: "%s", sha256: "%s"}
stages: {distill: {steps: 1, batch_size: 2}}
"""


@pytest.fixture
def weights(site: Site, tmp_path: Path) -> tuple[str, str]:
    """The URL and hash of a checkpoint in MMPose's layout."""
    spec = ModelSpec("hrnet_w4", 16, (32, 32), "mpii16")
    tensors = PoseModel.fresh(spec, seed=0).tensors
    named = {("head." if k.startswith("final") else "backbone.") + k: v for k, v in tensors.items()}
    torch.save({"state_dict": named}, tmp_path / "m.pth")
    site.files["/m.pth"] = (tmp_path / "m.pth").read_bytes()
    return f"{site.url}/m.pth", hashlib.sha256(site.files["/m.pth"]).hexdigest()


def test_a_recipe_with_urls(site: Site, weights: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE % (weights * 2))
    plan = run("compress", "--recipe", path, "--dry-run", "--json")
    assert plan.exit_code == 0, plan.output
    assert site.asked == []
    assert json.loads(plan.stdout)["to_fetch"] == [weights[0], weights[0]]
    recipe = api.read_recipe(path)
    assert recipe.teacher is not None
    data = api.open_data("synthetic")
    said: list[str] = []
    student = start_model(recipe, data, warn=said.append)
    quiet = {"report": lambda *_: None, "warn": said.append}
    teacher = teacher_model(recipe, recipe.teacher, data, **quiet)  # type: ignore[arg-type]
    assert site.asked == [""]
    assert student.sha256 == teacher.sha256
    assert teacher.spec.input_hw == (32, 32)
    assert teacher.spec.domain == "photographs"
    assert said == []
    assert is_here(Source(*weights))


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("http://127.0.0.1", "http://other", ["http:// is not supported"]),
        ('", sha256: "', '", color: BGR, x: "', ["unknown key", "tiny.yaml:4"]),
        ('m.pth", sha256', 'm.pth", color: blue, sha256', ["'RGB'"]),
        (', sha256: "', ', sha256: "x', ["64 hex digits"]),
        (', checkpoint: "', ', skeleton: "', ["unknown skeleton"]),
    ],
)
def test_bad_recipes(
    weights: tuple[str, str], tmp_path: Path, old: str, new: str, parts: list[str]
) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text((RECIPE % (weights * 2)).replace(old, new, 1))
    result = run("compress", "--recipe", path, "--dry-run")
    assert result.exit_code == 2, result.output
    for part in parts:
        assert part in result.output


def test_eval_and_load_take_checkpoint_files(weights: tuple[str, str], tmp_path: Path) -> None:
    bare = run("eval", weights[0], "--sha256", weights[1])
    assert bare.exit_code == 2
    assert "--skeleton" in bare.output
    size = run("eval", tmp_path / "m.pth", "--skeleton", "mpii16", "--input", "32")
    assert size.exit_code == 2
    assert "height x width" in size.output
    wrong = run("eval", tmp_path / "m.pth", "--skeleton", "coco17", "--input", "32x32")
    assert wrong.exit_code == 2
    assert "finds 16 joints, coco17 has 17" in wrong.output
    for subject in (weights[0], tmp_path / "m.pth"):
        model = api.load(subject, skeleton="mpii16", input_hw=(32, 64), sha256=weights[1])
        assert isinstance(model, PoseModel)
        assert model.spec.arch == "hrnet_w4"
        assert model.spec.heatmap_hw == (8, 16)
