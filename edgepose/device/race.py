"""The forms of one artifact against each other: each built, scored and timed, the fastest good one kept.

Each runs in a process of its own, so that a builder that crashes costs one form and not the race.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

import numpy as np

from .contract import load_contract
from .engine_settings import forms_of, may_use_dla
from .errors import DeviceError
from .files import sha256_file, write_atomic
from .pack import read_pack
from .receive import MARK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .contract import Contract

RACE = "race.json"
KEPT = "kept"
_BUILD_TIMEOUT_S = 4 * 3600


@dataclass(frozen=True)
class Entrant:
    """A form and where it runs: dla is a DLA core, None the GPU."""

    form: str
    dla: Optional[int] = None

    @property
    def label(self) -> str:
        return self.form if self.dla is None else "{}@dla{}".format(self.form, self.dla)


def entrants(contract: Contract, *, dla: Optional[int] = 0) -> List[Entrant]:
    """Every form, the counted one first; those that may use a DLA on that core as well."""
    found = []
    for form in forms_of(contract):
        found.append(Entrant(form))
        if dla is not None and may_use_dla(contract, form):
            found.append(Entrant(form, dla))
    return found


def entry(entrant: Entrant, **found: Any) -> Dict[str, Any]:
    """What a race says of one form; `found`: what was measured, or why it was not."""
    empty = {
        "executor": None, "stand_in": False, "build_seconds": None, "build_cached": False,
        "p50_ms": None, "p90_ms": None, "score": None, "kept": False, "why": "",
    }  # fmt: skip
    return {"form": entrant.form, "dla": entrant.dla, **empty, **found}


def choose(entries: Sequence[Dict[str, Any]], *, max_drop: float) -> Optional[int]:
    """Index of the fastest entry whose score is at most `max_drop` points below the counted form's
    (below the best, where the counted form, the first entry, did not run); None: there is none.

    Sets `kept` and `why` of every entry that was measured.
    """
    ran = [i for i, e in enumerate(entries) if e["p50_ms"] is not None and e["score"] is not None]
    if not ran:
        return None
    base = entries[0]["score"] if 0 in ran else max(entries[i]["score"] for i in ran)
    whose = "the counted form's" if 0 in ran else "the best one's"
    good = [i for i in ran if entries[i]["score"] >= base - max_drop - 1e-9]
    best = min(good, key=lambda i: (entries[i]["p50_ms"], i))
    for i in ran:
        drop = base - entries[i]["score"]
        if i == best:
            why = "the fastest of {} within {:g} points".format(len(good), max_drop)
        elif i in good:
            why = "{:.2f} times as slow".format(entries[i]["p50_ms"] / entries[best]["p50_ms"])
        else:
            why = "{:.2f} points below {}, {:g} are allowed".format(drop, whose, max_drop)
        entries[i].update(kept=i == best, why=why)
    return best


def pckh(
    image_xy: NDArray[Any],
    *,
    true_xy: NDArray[Any],
    annotated: NDArray[np.bool_],
    head_px: NDArray[Any],
    uncounted: Sequence[int] = (),
) -> float:
    """Percent of the labelled joints within half a head size, every joint weighing alike.

    image_xy, true_xy: (N, J, 2) image px; annotated: (N, J); head_px: (N,), nan: unknown
    Raises DeviceError where nothing can be scored.
    """
    counted = annotated & np.isfinite(head_px)[:, None]
    counted[:, list(uncounted)] = False
    if not counted.any():
        raise DeviceError(
            "the evaluation pack has no labels with head sizes",
            fix="race with `edgepose bench --race --device`, which knows other metrics",
        )
    distance = np.linalg.norm(image_xy - true_xy, axis=2)
    right = (distance <= 0.5 * head_px[:, None]) & counted
    return float(100.0 * right.sum() / counted.sum())


def race(
    artifact: str,
    pack: str,
    out: str,
    *,
    runner: List[str],
    options: List[str],
    max_drop: float,
    dla: Optional[int] = 0,
) -> Dict[str, Any]:
    """Run every form of `artifact` with `runner` (the words that call this program); writes
    out/race.json, with what `--form kept` then runs.

    options: further words of `run`. Raises DeviceError where no form could be measured.
    """
    contract = load_contract(artifact)
    labels = read_pack(pack)
    entries = []
    for entrant in entrants(contract, dla=dla):
        folder = os.path.join(out, "race-" + entrant.label.replace("@", "-"))
        try:
            said = _run_alone(runner, artifact, pack, folder, out, entrant, options)
            with np.load(os.path.join(folder, "joints.npz"), allow_pickle=False) as joints:
                image_xy = joints["image_xy"]
            times = _times(folder, said)
            entries.append(entry(
                entrant, executor=said["executor"], stand_in=said["stand_in"],
                build_seconds=said["build"].get("seconds"),
                build_cached=bool(said["build"].get("cached", False)),
                p50_ms=float(np.percentile(times, 50)), p90_ms=float(np.percentile(times, 90)),
                score=pckh(
                    image_xy, true_xy=labels.true_xy, annotated=labels.annotated,
                    head_px=labels.head_px, uncounted=contract.uncounted,
                ),
            ))  # fmt: skip
        except DeviceError as error:
            entries.append(entry(entrant, why=error.problem))
    best = choose(entries, max_drop=max_drop)
    document: Dict[str, Any] = {
        "artifact_sha256": artifact_hash(artifact), "max_drop": max_drop, "score": "pckh@0.5",
        "stand_in": any(e["stand_in"] for e in entries), "entries": entries,
        "kept": None if best is None else {k: entries[best][k] for k in ("form", "dla")},
    }  # fmt: skip
    if best is None:
        whys = "; ".join("{}: {}".format(e["form"], e["why"]) for e in entries[:3])
        raise DeviceError(
            "no form of {} could be measured: {}".format(contract.name, whys),
            fix="run one form alone (run --form NAME) and see what it says",
        )
    text = json.dumps(document, indent=1, sort_keys=True)
    write_atomic(os.path.join(out, RACE), text.encode() + b"\n")
    return document


def artifact_hash(artifact: str) -> str:
    return sha256_file(os.path.join(artifact, "artifact.json"))


def kept_form(artifact: str, out: str) -> Tuple[str, Optional[int]]:
    """(form, dla) that the race in `out` kept; DeviceError where it was of another artifact."""
    path = os.path.join(out, RACE)
    try:
        with open(path, encoding="utf-8") as stream:
            document = json.load(stream)
        same = document["artifact_sha256"] == artifact_hash(artifact)
        form, dla = str(document["kept"]["form"]), document["kept"]["dla"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeviceError(
            "there is no race in {}: {}".format(out, error), fix="run the command race first"
        ) from error
    if not same:
        raise DeviceError(
            "the race in {} was of another artifact".format(out), fix="run the command race again"
        )
    return form, dla


def _times(folder: str, said: Dict[str, Any]) -> NDArray[np.float64]:
    """Milliseconds of the timed calls; DeviceError where nothing was timed."""
    path = os.path.join(folder, "model.f64")
    if not os.path.exists(path):
        notes = [note for note in said["notes"] if note.startswith("no latency")]
        raise DeviceError(
            notes[0] if notes else "it was not timed",
            fix="race where TensorRT is; --stand-in times ONNX Runtime, as a rehearsal",
        )
    return np.fromfile(path, dtype="<f8")


def _run_alone(
    runner: List[str],
    artifact: str,
    pack: str,
    folder: str,
    out: str,
    entrant: Entrant,
    options: List[str],
) -> Dict[str, Any]:
    """`run` of one form in a process of its own; its result, or a DeviceError with what it said."""
    os.makedirs(folder, exist_ok=True)
    for name in ("joints.npz", "model.f64"):
        if os.path.exists(os.path.join(folder, name)):
            os.unlink(os.path.join(folder, name))
    words = [
        *runner, "run", "--artifact", artifact, "--pack", pack, "--out", folder,
        "--engines", os.path.join(out, "engines"), "--form", entrant.form, *options,
    ]  # fmt: skip
    if entrant.dla is not None:
        words += ["--dla", str(entrant.dla)]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            timeout=_BUILD_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError("it did not end: {}".format(error), fix="run it by hand") from error
    lines = [x for x in done.stdout.decode("utf-8", "replace").splitlines() if x.startswith(MARK)]
    if not lines:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["nothing"]
        raise DeviceError(
            "its process ended with {} and said {}".format(done.returncode, said[0]),
            fix="run it by hand: {}".format(" ".join(words)),
        )
    found: Dict[str, Any] = json.loads(lines[-1][len(MARK) :])
    if "error" in found:
        raise DeviceError(found["error"]["problem"], fix=found["error"]["fix"])
    return found
