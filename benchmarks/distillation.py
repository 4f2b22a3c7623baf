"""What the teacher is worth: the same recipe with it and without it, over several seeds.

    python benchmarks/distillation.py --recipe resnet18_5mb --seeds 3 --set stages.prune.ratio=0.43

Every run ends with its last network, scored in torch; nothing is exported, so the pruning ratio must be
given. Prints each run's scores, and distilled minus plain with a 95 % interval: persons are drawn with
replacement, each with its joints in all runs (paired). Finished runs in --out are not made again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose import api, registry
from edgepose.evaluation import EvaluationSet, find_joints, score
from edgepose.measure import model_executor
from edgepose.metrics.bootstrap import paired_difference_ci
from edgepose.models.pose_model import PoseModel

ALPHAS = (0.5, 0.1)


def trained(recipe: str, *, seed: int, teacher: bool, overrides: list[str], out: Path) -> PoseModel:
    """The last network of a run with this seed, without its export stage."""
    changed = [*overrides, f"seed={seed}", "stages.export=null", "budget=null"]
    if not teacher:
        changed.append("teacher=null")
    folder = out / f"{'distilled' if teacher else 'plain'}-{seed}"
    run = api.compress(recipe, overrides=changed, out=folder, warn=lambda text: None)
    return PoseModel.load(run / "model")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="resnet18_5mb")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path("reports/distillation"))
    options = parser.parse_args()
    recipe = api.read_recipe(options.recipe, options.overrides)
    val = registry.sources().module(recipe.data.source).open_split(recipe.data.config, "val")
    data = EvaluationSet.from_dataset(val, recipe.student.input_hw)
    correct: dict[tuple[bool, float], list[NDArray[np.float64]]] = {}
    valid = np.empty(0)
    for seed in range(options.seeds):
        for teacher in (True, False):
            model = trained(
                options.recipe, seed=seed, teacher=teacher, overrides=options.overrides,
                out=options.out,
            )  # fmt: skip
            executor = model_executor(model, options.out / ".work")
            joints = find_joints(executor, data, stride=model.spec.codec.stride)
            words = []
            for alpha in ALPHAS:
                found = score(joints, data, alpha=alpha)
                correct.setdefault((teacher, alpha), []).append(found.correct.astype(float))
                valid = found.valid
                words.append(f"PCKh@{alpha} {found.mean:.2f}")
            print(
                f"seed {seed} {'distilled' if teacher else 'plain':<10} {'  '.join(words)}",
                flush=True,
            )
    for alpha in ALPHAS:
        with_teacher, without = (np.mean(correct[side, alpha], axis=0) for side in (True, False))
        value, low, high = paired_difference_ci(with_teacher, valid, without)
        verdict = "the interval includes zero" if low <= 0 <= high else "not by chance alone"
        print(f"distilled - plain, PCKh@{alpha}: {value:+.2f} [{low:+.2f}, {high:+.2f}] {verdict}")


if __name__ == "__main__":
    main()
