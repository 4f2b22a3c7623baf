"""report.html: everything is in it, nothing is outside of it, and a browser shows it whole."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgepose.bench.comparison import compare_records
from edgepose.bench.record import (
    THIS_HOST,
    BenchRecord,
    Environment,
    LatencyMs,
    MetricValue,
    environment_hash,
)
from edgepose.errors import EdgeposeError
from edgepose.metrics.metric import METRICS
from edgepose.metrics.truth import Truth
from edgepose.report import text
from edgepose.report.compare import compare_runs
from edgepose.report.html.compare import benches_html, runs_html
from edgepose.report.html.compare_runs import _short
from edgepose.report.html.gather import Extras, check_files, gather
from edgepose.report.html.page import report_html, save_html
from edgepose.report.html.verdict import headline
from edgepose.report.layers import Layer, model_layers
from edgepose.report.people import (
    Found,
    People,
    Shown,
    choose,
    errors,
    load_people,
    save_people,
)
from edgepose.report.record import BudgetVerdict, Report
from edgepose.skeleton import MPII16

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
STYLE = Path(__file__).parents[2] / "edgepose" / "report" / "html" / "style.css"
PEOPLE = 24


def make_people(names: list[str], *, wrong_px: float = 4.0, seed: int = 0) -> People:
    """People in rows; each row of the report is off by noise, and person 7 by far the most."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform(10, 118, size=(PEOPLE, 16, 2)).astype(np.float32)
    truth = Truth(
        xy=xy,
        annotated=rng.random((PEOPLE, 16)) < 0.9,
        skeleton=MPII16,
        head_px=np.full(PEOPLE, 12, dtype=np.float32),
        area_px2=np.full(PEOPLE, 9e3),
        box_xywh=np.tile([4.0, 4.0, 120.0, 120.0], (PEOPLE, 1)),
        images=tuple(f"image{i}" for i in range(PEOPLE)),
    )
    found = {}
    for name in names:
        noise = rng.normal(0, wrong_px, size=xy.shape)
        noise[7] += 60
        found[name] = Found((xy + noise).astype(np.float32), np.ones((PEOPLE, 16), np.float32))
    people = People(truth, found)
    index, kinds = choose(people, names[-1], "pckh")
    crops = rng.integers(0, 255, size=(len(index), 64, 64, 3), dtype=np.uint8)
    matrices = np.tile(np.array([[0.5, 0, 0], [0, 0.5, 0]]), (len(index), 1, 1))
    return People(truth, found, Shown(index, crops, matrices, kinds))


def make_bench(report: Report, *, factor: float = 1.0) -> BenchRecord:
    times = tuple(factor * (1.5 + 0.1 * np.random.default_rng(0).random(300)))
    environment: Environment = {"device": report.host.name}
    return BenchRecord(
        artifact="artifacts/onnx-android", artifact_sha256="0" * 64, target="onnx-android",
        runtime="onnx_mobile", precision="int8", executor="ONNX Runtime", counted_file="model.ort",
        size_bytes=4_401_234, model_ms=LatencyMs(p50=1.55, p90=1.58, p99=1.6),
        latency_origin=THIS_HOST, model_samples_ms=times, conditions=report.host,
        environment=environment, environment_sha256=environment_hash(environment),
    )  # fmt: skip


@pytest.fixture(scope="module")
def extras(report: Report) -> Extras:
    layers = tuple(
        Layer(f"layer{i}.conv", (8 * i, 16, 16), 16 * i, 1000 * i, 90_000 * i, "int8")
        for i in range(1, 6)
    )
    return Extras(
        people=make_people([row.name for row in report.rows]),
        layers=layers,
        benches={"bench-onnx-android": make_bench(report)},
    )


@pytest.fixture(scope="module")
def written(report: Report, extras: Extras) -> str:
    """The whole page, drawn once."""
    return report_html(report, extras)


class Collected(HTMLParser):
    """Every element of a page with its attributes, and the words outside of style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.inside and self.inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" not in self.inside:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_the_page_says_what_the_report_says(report: Report, written: str) -> None:
    shown = Collected(written).text
    for row in report.rows:
        assert row.name in shown
        assert text.count(row.params) in shown
        for metric in row.metrics.values():
            assert text.score_long(metric) in shown
    for line in (*report.all_warnings, *report.commands, *text.origins(report)):
        assert " ".join(line.split()) in shown, line
    assert "Not within the allowed drop of 1" in shown
    assert "Budget not met" in shown
    assert "the last tenth is" in shown
    assert shown.index("Not within the allowed") < shown.index("Stage by stage")


def test_a_gain_is_told_as_one(report: Report) -> None:
    drop = report.budget.drop
    assert drop is not None
    gain = drop.model_copy(update={"drop": -2.0, "ci95": (-3.0, 0.5), "met": True})
    for told, words in (
        (drop, ("4.2", "points below teacher", "1 below is allowed; interval 3.1 to 5.3")),
        (gain, ("2.0", "points above teacher", "1 below is allowed; interval -0.5 to 3.0")),
    ):
        budget = report.budget.model_copy(update={"drop": told})
        figures = headline(report.model_copy(update={"budget": budget}))
        assert words in [(f.value, f.what, f.note) for f in figures]


def test_nothing_of_the_page_is_elsewhere(written: str) -> None:
    elements = Collected(written).elements
    links = [v for _, a in elements for k, v in a.items() if k in ("src", "href", "xlink:href")]
    assert len(links) > 20
    assert all(link and link.startswith(("#", "data:")) for link in links)
    assert set(re.findall(r"https?://[^\s\"'<]+", written)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in STYLE.read_text()
    assert "@import" not in STYLE.read_text()
    assert not [tag for tag, _ in elements if tag in ("script", "iframe", "object", "video")]


def test_everything_can_be_read_without_seeing_it(written: str) -> None:
    elements = Collected(written).elements
    ids = [a["id"] for _, a in elements if "id" in a]
    assert len(ids) == len(set(ids))
    images = [a for tag, a in elements if tag == "img"]
    assert len(images) == 6 * 4  # people; labels, teacher, student, artifact
    assert len({a["alt"] for a in images}) == len(images)
    plots = [a for _, a in elements if a.get("class") == "plot"]
    assert len(plots) >= 9
    assert all(a["role"] == "img" and a["aria-label"] for a in plots)
    assert written.count("<summary>Figures of") == len(plots)
    linked = {(a["href"] or "")[1:] for tag, a in elements if tag == "a"}
    assert linked <= set(ids)


def bare(report: Report) -> Report:
    """The report without a score: nothing is drawn, which is what takes the time."""
    nothing = {"metrics": {}, "subsets": {}, "history": None, "sensitivity": None}
    stages = [s.model_copy(update=nothing)
              for s in report.stages]  # fmt: skip
    return report.model_copy(update={"stages": tuple(stages), "artifacts": (), "differences": ()})


def test_words_of_a_recipe_are_never_markup(report: Report) -> None:
    evil = '<script>alert("x")</script>'
    recipe = report.recipe.model_copy(update={"name": evil, "description": evil})
    changed = bare(report).model_copy(
        update={"recipe": recipe, "warnings": (evil,), "commands": (evil,)}
    )
    page = report_html(changed, Extras())
    assert "<script" not in page
    assert html.escape(evil).replace("&quot;", "&#34;") in page


def test_missing_parts_leave_their_section_out(report: Report, tmp_path: Path) -> None:
    alone = report.model_copy(
        update={"artifacts": (), "differences": (), "stages": report.stages[:1], "commands": ()}
    )
    found = Collected(save_html(alone, tmp_path).read_text())
    assert {a.get("id") for t, a in found.elements if t == "section"} == {
        "verdict", "stages", "joints", "conditions", "notes"
    }  # fmt: skip
    assert "people.npz is not in the run folder" in found.text
    assert "model/ is not in the run folder" in found.text


def test_an_unscored_run_still_has_a_page(report: Report) -> None:
    shown = Collected(report_html(bare(report), Extras()))
    assert "distill" in shown.text
    assert not [t for t, _ in shown.elements if t == "svg"]


def test_files_are_compared_with_what_the_report_says(report: Report, tmp_path: Path) -> None:
    assert check_files(report, tmp_path).missing == (
        "artifacts/jetson-xavier/model.onnx.xz", "artifacts/jetson-xavier/model.onnx",
    )  # fmt: skip
    for file in report.artifacts[0].files:
        (tmp_path / file.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file.path).write_bytes(b"something else")
    found = check_files(report, tmp_path)
    assert not found.missing
    assert len(found.changed) == 2
    alone = bare(report).model_copy(update={"budget": BudgetVerdict()})
    page = Collected(report_html(alone, Extras(files=found))).text
    assert "2 changed: artifacts/jetson-xavier/model.onnx.xz" in page
    assert "Not verified" in page


def test_the_worst_are_the_worst(report: Report) -> None:
    people = make_people([row.name for row in report.rows])
    index, kinds = choose(people, "host" if "host" in people.found else "onnx-android", "pckh")
    assert kinds == ("worst",) * 3 + ("typical",) * 3
    assert index[0] == 7
    assert len(set(index)) == 6
    mean = np.nanmean(errors(people, "onnx-android", "pckh"), axis=1)
    assert mean[index[2]] >= np.sort(mean)[-3]
    assert all(abs(np.searchsorted(np.sort(mean), mean[i]) - PEOPLE / 2) <= 3 for i in index[3:])


def test_the_curve_ends_at_the_score(report: Report, extras: Extras, written: str) -> None:
    assert extras.people is not None
    scores = [extras.people.scores(row.name, METRICS["pckh"]) for row in report.rows]
    page = Collected(written).text
    curve = page[page.index("Figures of “PCKh over the threshold”") :]
    for name, at in (("pckh@0.1", "0.10"), ("pckh@0.5", "0.50")):
        line = re.search(rf"(?<= ){at} ((?:[\d.]+ ){{{len(scores)}}})", curve)
        assert line
        assert line[1].split() == [f"{score[name].value:.1f}" for score in scores]


def test_people_come_back_from_the_disk(report: Report, tmp_path: Path) -> None:
    people = make_people(["student", "host"])
    save_people(people, tmp_path / "people.npz")
    again = load_people(tmp_path / "people.npz")
    assert again is not None
    assert again.shown is not None
    assert people.shown is not None
    assert again.truth.skeleton == MPII16
    assert again.truth.images == people.truth.images
    np.testing.assert_array_equal(again.found["host"].image_xy, people.found["host"].image_xy)
    np.testing.assert_array_equal(again.shown.crops, people.shown.crops)
    assert load_people(tmp_path / "absent.npz") is None
    content = (tmp_path / "people.npz").read_bytes()
    for broken in (content[: len(content) // 2], b"", b"PK nothing"):
        (tmp_path / "people.npz").write_bytes(broken)
        with pytest.raises(EdgeposeError, match="cannot be read"):
            load_people(tmp_path / "people.npz")
        assert "cannot be read" in gather(report, tmp_path).left_out[0]


def test_layers_say_what_pruning_kept(tmp_path: Path) -> None:
    from edgepose.models.pose_model import ModelSpec, PoseModel

    spec = ModelSpec(arch="resnet18", num_joints=16, input_hw=(64, 64), skeleton="mpii16")
    PoseModel.fresh(spec, seed=0).save(tmp_path / "model")
    layers = {layer.name: layer for layer in model_layers(tmp_path / "model")}
    assert layers["conv1"].output == (64, 32, 32)
    assert layers["conv1"].weights == 64 * 3 * 49
    assert all(layer.before == layer.output[0] for layer in layers.values())
    assert {layer.precision for layer in layers.values()} == {"float"}


def test_what_layers_can_spare_stands_beside_what_the_run_did(written: str) -> None:
    page = Collected(written)
    alts = [a["aria-label"] or "" for _, a in page.elements if a.get("class") == "plot"]
    pruned = next(alt for alt in alts if "removing channels" in alt)
    # 60 % of 512 channels left; between 4.2 points at 50 % and 8.9 at 70 % that is 6.5.
    assert "conv1 0% removed, +0.0 points" in pruned
    assert "layer4.0.conv2 60% removed, +6.5 points" in pruned
    assert "deconv_layers.6 97% removed, not measured" in pruned
    assert "layer4.0.conv2 205 of 512 60.0% +6.54 +0.50 +1.70 +4.20 +8.90 +33.80" in page.text
    assert "deconv_layers.6 8 of 256 96.9% beyond -0.20" in page.text
    assert "of 96 training people" in page.text
    assert "The 4 that cost least are in the table alone" in page.text
    assert "a.layer.of.a.long.name.1.conv +1.30 0.050 2.00 2.00 M float" in page.text
    assert "a.layer.of.a.long.name.33.conv -0.11" in page.text


def _palettes() -> list[dict[str, str]]:
    """The colours of the page in light, in dark and in print."""
    blocks = re.findall(r":root \{(.*?)\}", STYLE.read_text(), flags=re.DOTALL)
    light, *others = [dict(re.findall(r"--(\w[\w-]*): (#[0-9a-f]{6})", b)) for b in blocks]
    return [light, *({**light, **other} for other in others)]


def _contrast(a: str, b: str) -> float:
    """WCAG 2.2 contrast of two colours."""

    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_words_and_lines_stand_out_in_every_mode() -> None:
    palettes = _palettes()
    assert len(palettes) == 3
    for colors in palettes:
        for back in ("paper", "raised"):
            for word in ("ink", "soft", "link", "yes", "no"):
                assert _contrast(colors[word], colors[back]) >= 4.5, (word, back)
        assert _contrast(colors["yes"], colors["yes-back"]) >= 4.5
        assert _contrast(colors["no"], colors["no-back"]) >= 4.5
        for line in ("model", "ships", "limit", *(f"s{i}" for i in range(1, 9))):
            assert _contrast(colors[line], colors["paper"]) >= 3, line


PROBE = """
<!doctype html><title>probe</title><body style="margin:0">
<iframe id="page" style="border:0;width:%dpx;height:3000px" srcdoc="%s"></iframe>
<script>
const frame = document.getElementById("page");
frame.onload = () => {
  const page = frame.contentDocument, root = page.documentElement, cut = [], over = [];
  for (const svg of page.querySelectorAll("svg")) {
    const box = svg.getBoundingClientRect();
    const words = [...svg.querySelectorAll("text")].map(t => [t.textContent, t.getBoundingClientRect()]);
    for (const [word, r] of words)
      if (r.left < box.left - 1 || r.right > box.right + 1 || r.top < box.top - 1 ||
          r.bottom > box.bottom + 1) cut.push(word);
    words.forEach(([a, p], i) => words.slice(i + 1).forEach(([b, q]) => {
      const x = Math.min(p.right, q.right) - Math.max(p.left, q.left);
      const y = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
      if (x > 1 && y > 2) over.push(a + " | " + b);
    }));
  }
  const wide = [...page.querySelectorAll("main > section > .scroll")]
    .filter(t => t.scrollWidth > t.clientWidth + 1).map(t => t.getAttribute("aria-label"));
  document.body.dataset.found = JSON.stringify({
    inner: frame.contentWindow.innerWidth, scroll: root.scrollWidth, cut, over, wide,
    images: [...page.images].every(i => i.complete && i.naturalWidth === 256),
    svgs: page.querySelectorAll("svg").length});
};
</script>
"""


def browse(page: Path, *words: str) -> tuple[str, list[str], list[str]]:
    """(stdout, console lines, addresses that pages asked for) of Chromium without a window."""
    home = page.parent / "browser"
    net = home / "net.json"
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
         "--enable-logging=stderr", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND",
         f"--user-data-dir={home}", f"--log-net-log={net}", "--virtual-time-budget=3000",
         *words, page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
        env={**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home)},
    )  # fmt: skip
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    logged = net.read_text()
    try:
        events = json.loads(logged)["events"]
    except ValueError:  # the browser ended before it closed its log
        events = json.loads(logged.rstrip().rstrip(",") + "]}")["events"]
    asked = [event["params"] for event in events if "initiator" in event.get("params", {})]
    # The browser's own look-ups are of no page: their initiator is "not an origin".
    return done.stdout, console, [a["url"] for a in asked if a["initiator"] != "not an origin"]


def scored(name: str, people: People) -> dict[str, MetricValue]:
    found = people.scores(name, METRICS["pckh"])
    return {metric: MetricValue(value=score.value) for metric, score in found.items()}


@pytest.fixture(scope="module")
def compared(report: Report) -> dict[str, str]:
    """Pages of comparisons: of runs that differ, of several, and of benchmarks."""
    names = [row.name for row in report.rows]
    recipe = report.recipe.model_copy(
        update={"resolved": {"seed": 0, "budget": {"size_mb": 3}, "a" * 60: "b" * 200}}
    )
    good, bad = make_people(names), make_people(names, wrong_px=9.0)
    smaller = [
        row.model_copy(update={"size_bytes": 3_000_000, "metrics": scored(row.name, bad)})
        for row in report.artifacts[:2]
    ]
    other = report.model_copy(
        update={"recipe": recipe, "artifacts": tuple(smaller), "differences": ()}
    )
    rows = tuple(
        row.model_copy(update={"metrics": scored(row.name, good)}) for row in report.artifacts
    )
    first = ("reports/resnet18_5mb/20261121-223000",
             report.model_copy(update={"artifacts": rows}), good)  # fmt: skip
    worse = ("reports/resnet18_5mb/latest", other, bad)
    unpaired = ("elsewhere", other, None)
    slower = make_bench(report, factor=1.2)
    both = compare_records(make_bench(report), slower)
    return {
        "runs": runs_html([compare_runs(first, worse)]),
        "several": runs_html([compare_runs(first, worse), compare_runs(first, unpaired)]),
        "benches": benches_html(("a/record.json", make_bench(report)), [(("b", slower), both)]),
    }


def test_a_comparison_says_what_changed_and_how_sure_that_is(compared: dict[str, str]) -> None:
    runs = Collected(compared["runs"])
    assert "recipe budget.size_mb 5 3" in runs.text
    assert re.search(r"Worse PCKh@0.5 is surely worse: .*jetson-xavier \(-\d", runs.text)
    assert "Better Smaller files: jetson-xavier (4.31 MB to 3.00 MB)" in runs.text
    assert "paired 95 % interval over the same people" in runs.text
    assert "only in reports/resnet18_5mb/20261121-223000: onnx-android" in runs.text
    several = Collected(compared["several"])
    assert "elsewhere: whether PCKh@0.5 differs by more than noise cannot be said" in several.text
    assert "does not keep what it found on each person" in several.text
    assert {"done-1", "came-1", "done-2", "came-2"} <= {a.get("id") for _, a in several.elements}
    benches = Collected(compared["benches"])
    assert "What changed Not to be told from one run each" in benches.text
    assert "\u2013 Model only, p50: second / first 1.200" in benches.text
    assert "the second was 20.0% slower, in one run each" in benches.text
    assert "The same size" in benches.text
    assert "how much runs differ is not in the interval" in benches.text
    for page in (runs, several, benches):
        ids = [a["id"] for _, a in page.elements if "id" in a]
        assert len(ids) == len(set(ids))
        plots = [a for _, a in page.elements if a.get("class") == "plot"]
        assert len(plots) >= 2
        assert all(a["role"] == "img" and a["aria-label"] for a in plots)
        links = [v for _, a in page.elements for k, v in a.items() if k in ("src", "href")]
        assert all(link and link.startswith(("#", "data:")) for link in links)


def test_runs_are_named_by_what_tells_them_apart() -> None:
    assert _short(["/a/recipe/1", "b/recipe/latest"]) == ["recipe/1", "recipe/latest"]
    assert _short(["a/recipe/latest", "b/recipe/latest"]) == ["a/recipe/latest", "b/recipe/latest"]


def test_a_comparison_without_a_difference_says_so(report: Report) -> None:
    run = ("one", report, make_people([row.name for row in report.rows]))
    shown = Collected(runs_html([compare_runs(run, run)])).text
    assert "What changed The same" in shown
    assert "Nothing: the same recipe, data, weights and versions" in shown
    assert "surely" not in shown


@pytest.fixture
def page(written: str, tmp_path: Path) -> Path:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: the page is not opened in a browser")
    (tmp_path / "report.html").write_text(written)
    return tmp_path / "report.html"


def test_a_browser_notices_what_must_not_be(page: Path) -> None:
    """The checks below would see an error, a request and a page that is too wide."""
    bad = page.with_name("bad.html")
    bad.write_text("<body><img src='https://example.com/a.png'><p style='width:500px'>wide"
                   "<script>console.error('told')</script>")  # fmt: skip
    _, console, asked = browse(bad, "--dump-dom")
    assert any("told" in line for line in console)
    assert "https://example.com/a.png" in asked
    assert probe(bad, 390)["scroll"] > 390


def probe(page: Path, width: int) -> dict[str, object]:
    """What a browser makes of the page in a window of this width."""
    harness = page.with_name(f"probe-{page.stem}-{width}.html")
    harness.write_text(PROBE % (width, html.escape(page.read_text())))
    dom, _, _ = browse(harness, "--dump-dom", "--window-size=1400,1000")
    found = re.search(r'data-found="([^"]*)"', dom)
    assert found, dom[:500]
    return json.loads(html.unescape(found[1]))


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_it_whole(page: Path, width: int) -> None:
    found = probe(page, width)
    assert found["inner"] == width
    assert found["scroll"] <= width
    assert found["cut"] == []
    assert found["over"] == []
    assert found["images"]
    assert found["svgs"] >= 11
    if width == 1280:
        assert found["wide"] == []


@pytest.mark.parametrize("name", ["several", "benches"])
def test_a_browser_shows_comparisons_whole(page: Path, compared: dict[str, str], name: str) -> None:
    page.write_text(compared[name])
    for width in (1280, 390):
        found = probe(page, width)
        assert (found["inner"], found["scroll"]) == (width, width)
        assert found["cut"] == []
        assert found["over"] == []
        assert found["svgs"] == {"several": 4, "benches": 2}[name]
        assert width == 390 or found["wide"] == []
    _, console, asked = browse(page, "--dump-dom")
    assert console == []
    assert set(asked) <= {page.as_uri()}


def test_a_browser_opens_and_prints_it_silently(page: Path) -> None:
    shot = page.with_name("wide.png")
    _, console, asked = browse(page, "--window-size=1280,2400", f"--screenshot={shot}")
    assert console == []
    assert set(asked) <= {page.as_uri()}
    light = cv2.imread(str(shot))
    assert light.shape[:2] == (2400, 1280)
    dark_shot = page.with_name("dark.png")
    browse(page, "--window-size=390,2400", f"--screenshot={dark_shot}",
           "--blink-settings=preferredColorScheme=0")  # fmt: skip
    dark = cv2.imread(str(dark_shot))
    assert np.median(light) > 250
    assert np.median(dark) < 40
    printed = page.with_name("printed.pdf")
    browse(page, f"--print-to-pdf={printed}", "--no-pdf-header-footer")
    content = printed.read_bytes()
    assert content.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 12
