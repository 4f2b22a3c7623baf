"""What the teacher is worth: the same recipe with it and without it, over several seeds.

    python benchmarks/distillation.py --recipe resnet18_5mb --seeds 3

Of the targets only this computer's is kept: a budget is met on a file. What is scored is each run's last
network, in torch. Prints each run's scores, and distilled minus plain with a 95 % interval: persons are
drawn with replacement, each with its joints in all runs (paired). Finished runs in --out are not made
again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from edgepose import api, registry
from edgepose.evaluation import EvaluationSet, find_joints, score
from edgepose.measure import model_executor
from edgepose.metrics.bootstrap import interval
from edgepose.metrics.metric import METRICS, Score
from edgepose.models.pose_model import PoseModel


def trained(recipe: str, *, seed: int, teacher: bool, overrides: list[str], out: Path) -> PoseModel:
    """The last network of a run with this seed."""
    changed = [*overrides, f"seed={seed}", "stages.export.targets=[host]"]
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
    metric = METRICS[recipe.metric]
    found: dict[bool, list[dict[str, Score]]] = {True: [], False: []}
    for seed in range(options.seeds):
        for teacher in found:
            model = trained(
                options.recipe, seed=seed, teacher=teacher, overrides=options.overrides,
                out=options.out,
            )  # fmt: skip
            executor = model_executor(model, options.out / ".work")
            joints = find_joints(executor, data, codec=model.spec.codec)
            found[teacher].append(score(joints, data, metric))
            words = [f"{name} {one.value:.2f}" for name, one in found[teacher][-1].items()]
            side = "distilled" if teacher else "plain"
            print(f"seed {seed} {side:<10} {'  '.join(words)}", flush=True)
    for name in (metric.primary, metric.strict):
        ours, plain = ([scores[name] for scores in found[side]] for side in (True, False))
        value = np.mean([one.value for one in ours]) - np.mean([one.value for one in plain])
        draws = np.mean([one.draws for one in ours], axis=0) - np.mean(
            [one.draws for one in plain], axis=0
        )
        low, high = interval(draws)
        verdict = "the interval includes zero" if low <= 0 <= high else "not by chance alone"
        print(f"distilled - plain, {name}: {value:+.2f} [{low:+.2f}, {high:+.2f}] {verdict}")


if __name__ == "__main__":
    main()
