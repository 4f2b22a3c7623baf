"""The commands of the runner: info, build, run, race, interleave; for a host far away: start, status, stop.

    python3 edgepose-device.pyz info
    python3 edgepose-device.pyz build --artifact DIR
    python3 edgepose-device.pyz run --artifact DIR [--pack FILE] [--quick]
    python3 edgepose-device.pyz race --artifact DIR --pack FILE [--max-drop 0.5]
    python3 edgepose-device.pyz interleave --artifact DIR --other DIR

The answer is one line of JSON on standard output; {"error": {"problem", "fix"}} with exit code 2.
A folder of a host's own (`--root`) holds files/<sha256>, engines/ and jobs/<id>/. One benchmark runs
on a board at a time: who measures holds the lock, which the system takes back if the process dies.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
import traceback
from typing import Any, Callable, Dict, List, Optional, Tuple

from .command_line import make_parser
from .errors import DeviceError
from .files import sha256_file
from .lock import take_lock
from .receive import answer

RESULTS = ("result.json", "joints.npz", "model.f64", "end_to_end.f64", "log.txt")
QUICK = {"calls": 100, "seconds": 1.0, "warmup": 10, "max_warmup": 60}
_SAFE_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


def _write_state(folder: str, state: Dict[str, Any]) -> None:
    """Atomic, but not forced to the disk: it is written while times are taken."""
    path = os.path.join(folder, "state.json")
    with open(path + ".new", "w", encoding="utf-8") as stream:
        json.dump(state, stream)
    os.replace(path + ".new", path)


def _read_state(folder: str) -> Dict[str, Any]:
    try:
        with open(os.path.join(folder, "state.json"), encoding="utf-8") as stream:
            state: Dict[str, Any] = json.load(stream)
    except (OSError, ValueError):
        return {"status": "unknown"}
    return state


def _alive(folder: str) -> bool:
    """Whether the job's process still holds its own lock."""
    try:
        descriptor = os.open(os.path.join(folder, "alive"), os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _job_folder(root: str, identity: str) -> str:
    if not _SAFE_ID.fullmatch(identity):
        raise DeviceError("{!r} is no job".format(identity), fix="use the id that start was given")
    return os.path.join(os.path.expanduser(root), "jobs", identity)


def start(root: str, identity: str, job_file: str, *, lock: str) -> Dict[str, Any]:
    """Begin a job in a process of its own; asking twice for one id begins it once."""
    folder = _job_folder(root, identity)
    if os.path.exists(os.path.join(folder, "state.json")):
        return status(root, identity)
    os.makedirs(folder, exist_ok=True)
    alive = os.open(os.path.join(folder, "alive"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(alive)
        return {"status": "starting"}  # an earlier, cut off call is about to
    board = take_lock(lock, who="job {} since {}".format(identity, time.strftime("%F %T")))
    _write_state(folder, {"status": "running", "phase": "start", "done": 0, "total": 1})
    # Replacing standard output also frees the connection, which else stays open as long as we do.
    with open(os.path.join(folder, "log.txt"), "wb") as log:
        subprocess.Popen(
            [sys.executable, *_self(), "work", "--root", root, "--job", identity, "--file", job_file],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=os.path.abspath(os.sep),
            pass_fds=(alive, board), start_new_session=True,
        )  # fmt: skip
    return {"status": "running"}


def _self() -> List[str]:
    """How to call this runner again: as the file that it is in, or as a module."""
    here = os.path.abspath(sys.argv[0])
    if os.path.isfile(here) and os.path.basename(here) != "runner.py":
        return [here]
    return ["-m", __name__]


def _lay_out(root: str, folder: str, files: Dict[str, str]) -> str:
    """The artifact's folder, from files that are named by their hash."""
    artifact = os.path.join(folder, "artifact")
    for name, digest in files.items():
        path = os.path.normpath(os.path.join(artifact, name))
        source = os.path.join(root, "files", os.path.basename(digest))
        if not path.startswith(artifact + os.sep) or not os.path.isfile(source):
            raise DeviceError(
                "the file {} did not arrive on the board".format(name),
                fix="run the benchmark again",
            )
        if sha256_file(source) != os.path.basename(digest):
            os.unlink(source)  # else it would count as there, and never be sent again
            raise DeviceError(
                "the file {} was changed on the board".format(name),
                fix="run the benchmark again: it is sent anew",
            )
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.exists(path):
            os.symlink(os.path.abspath(source), path)
    return artifact


def do_work(root: str, identity: str, job_file: str) -> int:
    """What `start` begins. The end is written to state.json whatever happens."""
    root = os.path.expanduser(root)
    folder = _job_folder(root, identity)
    last_s, last_phase = 0.0, ""

    def report(phase: str, done: int, total: int) -> None:
        nonlocal last_s, last_phase
        now = time.monotonic()
        if phase != last_phase or now - last_s >= 1:
            last_s, last_phase = now, phase
            _write_state(
                folder, {"status": "running", "phase": phase, "done": done, "total": total}
            )

    end: Dict[str, Any] = {"status": "finished"}
    try:
        from .work import Job, work

        with open(os.path.join(root, "files", os.path.basename(job_file)), encoding="utf-8") as f:
            asked = json.load(f)
        artifact = _lay_out(root, folder, asked.pop("files"))
        pack = asked.pop("pack", None)
        pack = None if pack is None else os.path.join(root, "files", os.path.basename(pack))
        job = Job(artifact=artifact, pack=pack, engines=os.path.join(root, "engines"), **asked)
        work(job, folder, report=report)
    except DeviceError as error:
        end = {"status": "failed", "error": {"problem": error.problem, "fix": error.fix}}
    except MemoryError:
        end = {
            "status": "failed",
            "error": {
                "problem": "the board has not enough memory",
                "fix": "close other programs there",
            },
        }
    except Exception as error:
        traceback.print_exc()
        end = {
            "status": "failed",
            "error": {
                "problem": "the runner broke: {}: {}".format(type(error).__name__, error),
                "fix": "report it with {} of the board".format(os.path.join(folder, "log.txt")),
            },
        }
    sys.stdout.flush()
    _write_state(folder, end)
    return 0


def status(
    root: str, identity: str, *, wait_s: float = 0.0, seen: str = "", poll_s: float = 0.25
) -> Dict[str, Any]:
    """The state; waits until its phase is another than `seen`, or the time is over. It sleeps
    meanwhile: asking all the time would slow what is measured."""
    folder = _job_folder(root, identity)
    until = time.monotonic() + wait_s
    while True:
        alive = _alive(folder)  # before the state: an end is written before the process ends
        state = _read_state(folder)
        if state["status"] == "running" and not alive:
            state = {"status": "died"}
        if state["status"] != "running" or time.monotonic() >= until:
            break
        if seen and state.get("phase") != seen:
            break
        time.sleep(poll_s)
    if state["status"] in ("finished", "failed", "died"):
        state["results"] = {
            name: {"size": os.path.getsize(path), "sha256": sha256_file(path)}
            for name in RESULTS
            for path in [os.path.join(folder, name)]
            if os.path.exists(path)
        }
    return state


def stop(root: str, identity: str) -> Dict[str, Any]:
    """Ask a job to end; it does so between two calls."""
    folder = _job_folder(root, identity)
    if os.path.isdir(folder):
        with open(os.path.join(folder, "stop"), "w", encoding="utf-8"):
            return {"status": "stopping"}
    return {"status": "unknown"}


def clean(root: str, *, lock: str) -> Dict[str, Any]:
    """Remove what a host has put here: files, engines and jobs; the folder too if it is then empty."""
    descriptor = take_lock(lock, who="cleaning")
    try:
        root = os.path.expanduser(root)
        for name in ("files", "engines", "jobs"):
            shutil.rmtree(os.path.join(root, name), ignore_errors=True)
        if os.path.isdir(root) and not os.listdir(root):
            os.rmdir(root)
    finally:
        os.close(descriptor)
    return {"cleaned": root, "left": os.listdir(root) if os.path.isdir(root) else []}


def info() -> Dict[str, Any]:
    """The board and its runtimes."""
    from .board import read_board
    from .geometry import resampler
    from .runtimes import find_runtimes

    runtimes = [
        {"name": item.name, "version": item.version, "why_not": item.why}
        for item in find_runtimes()
    ]
    return {**read_board(), "runtimes": runtimes, "resampler": resampler()[1]}


def _run(options: argparse.Namespace) -> Dict[str, Any]:
    from .work import Job, work

    folder = os.path.abspath(options.out)
    os.makedirs(folder, exist_ok=True)
    plan: Dict[str, Any] = dict(QUICK) if options.quick else {}
    for name in ("batch", "calls", "seconds", "warmup", "max_warmup"):
        if getattr(options, name) is not None:
            plan[name] = getattr(options, name)
    form, dla = _form(options, folder)
    job = Job(
        artifact=options.artifact, pack=options.pack, runtime=options.runtime, form=form, dla=dla,
        threads=options.threads, engines=options.engines or os.path.join(folder, "engines"),
        stand_in=options.stand_in, **plan,
    )  # fmt: skip
    descriptor = take_lock(options.lock, who="run in {}".format(folder))
    try:
        return work(job, folder, report=lambda phase, done, total: None)
    finally:
        os.close(descriptor)


def _form(options: argparse.Namespace, folder: str) -> Tuple[str, Optional[int]]:
    """The form that was asked for; "kept" is the one that a race in `folder` kept."""
    from .race import KEPT, kept_form

    if options.form == KEPT:
        return kept_form(options.artifact, folder)
    return options.form, options.dla


def _race(options: argparse.Namespace) -> Dict[str, Any]:
    from .race import race

    folder = os.path.abspath(options.out)
    os.makedirs(folder, exist_ok=True)
    words = ["--runtime", options.runtime, "--lock", options.lock]
    for name in ("threads", "calls", "seconds"):
        if getattr(options, name) is not None:
            words += ["--" + name, str(getattr(options, name))]
    for name in ("quick", "stand_in"):
        words += ["--" + name.replace("_", "-")] if getattr(options, name) else []
    return race(
        os.path.abspath(options.artifact), os.path.abspath(options.pack), folder,
        runner=[sys.executable, *_self()], options=words, max_drop=options.max_drop,
        dla=None if options.dla < 0 else options.dla,
    )  # fmt: skip


def _interleave(options: argparse.Namespace) -> Dict[str, Any]:
    from .interleave import Turns, interleave

    folder = os.path.abspath(options.out)
    os.makedirs(folder, exist_ok=True)
    descriptor = take_lock(options.lock, who="interleave in {}".format(folder))
    try:
        return interleave(
            [options.artifact, options.other], folder,
            turns=Turns(options.rounds, options.block_seconds), threads=options.threads,
            batch=options.batch or 1, runtime=options.runtime,
        )  # fmt: skip
    finally:
        os.close(descriptor)


def _build(options: argparse.Namespace) -> Dict[str, Any]:
    from .contract import load_contract
    from .runtimes import open_engine

    engines = os.path.join(os.path.abspath(options.out), "engines")
    form, dla = _form(options, os.path.abspath(options.out))
    engine = open_engine(
        load_contract(options.artifact),
        engines=engines,
        runtime=options.runtime,
        form=form,
        dla=dla,
    )
    try:
        return {
            "runtime": engine.runtime, "executor": engine.description, "build": engine.build,
            "layers": engine.layers,
        }  # fmt: skip
    finally:
        engine.close()


def main(words: Optional[List[str]] = None) -> int:
    """Run one command; 0, or 2 with the error as JSON."""
    o = make_parser().parse_args(words)
    if o.command == "work":
        return do_work(o.root, o.job, o.file)
    commands: Dict[str, Callable[[], Dict[str, Any]]] = {
        "info": info,
        "build": lambda: _build(o),
        "run": lambda: _run(o),
        "race": lambda: _race(o),
        "interleave": lambda: _interleave(o),
        "start": lambda: start(o.root, o.job, o.file, lock=o.lock),
        "status": lambda: status(o.root, o.job, wait_s=o.wait, seen=o.seen),
        "stop": lambda: stop(o.root, o.job),
        "clean": lambda: clean(o.root, lock=o.lock),
    }
    try:
        answer(commands[o.command]())
    except DeviceError as error:
        answer({"error": {"problem": error.problem, "fix": error.fix}})
        return 2
    except OSError as error:
        problem = "{}: {}".format(error.filename or "the board", error.strerror or error)
        answer({"error": {"problem": problem, "fix": "check the folder and its free space"}})
        return 2
    return 0
