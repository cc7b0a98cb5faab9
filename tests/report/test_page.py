"""The page: whole, well-formed, self-contained, escaped, drawn without NaN, and fit for a phone in a real browser."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from example_run import begin, data_json, write_example, write_json, write_metrics, write_model, write_policy

from dawm.errors import FileError
from dawm.report.page import write_report

SECTIONS = ["summary", "data", "model", "synthetic", "policies", "settings"]
VOID = {"meta", "link"}
EVIL = "<script>alert(1)</script> & \"quoted\" 'name' {{ 7*7 }}"


class Page(html.parser.HTMLParser):
    """Elements with their attributes, and whether every tag is closed in order."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def read(run: Path) -> Page:
    """Write the report, check what must hold of every report, and parse it."""
    path = write_report(run)
    assert path == run / "report.html"
    assert not list(run.glob("*.part"))
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert [a["id"] for tag, a in page.elements if tag == "section"] == SECTIONS
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.elements:
        for name in ("src", "href", "action", "xlink:href"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), f"<{tag} {name}={value}> leaves the page"
        if tag == "svg":
            assert attributes["role"] == "img"
            assert attributes["aria-label"]
        drawn = " ".join(
            str(attributes.get(k, "")) for k in ("d", "points", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy")
        )
        assert not re.search(r"nan|inf|none", drawn, re.IGNORECASE), drawn
    assert not re.search(r"@import|url\(|https?://|fetch\(|XMLHttpRequest", text)
    assert not re.search(r"\b(nan|None|inf)\b", page.words)
    return page


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def whole(run: Path) -> None:
    write_example(run, dims=4)


def one_seed_one_episode(run: Path) -> None:
    write_example(run, seeds=1, episodes=1, dims=1)


def two_learners_many_dimensions(run: Path) -> None:
    write_example(run, seeds=2, learners=("iql", "td3bc"), dims=40)


def no_environment(run: Path) -> None:
    write_example(run, env=None, dims=1)


def no_references(run: Path) -> None:
    write_example(run, references=False, dims=1)


def no_synthetic(run: Path) -> None:
    write_example(run, dims=1)
    shutil.rmtree(run / "synthetic")
    shutil.rmtree(run / "policies" / "td3bc-dawm")


def bare(run: Path) -> None:
    begin(run, "run", {})


def young(run: Path) -> None:
    begin(run, "run", {})
    write_json(run / "data.json", data_json(rng(), "young", False))
    write_model(run / "model", rng(), steps=500, finished=False)
    begin(run / "policies" / "td3bc", "policy", {})


def empty_files(run: Path) -> None:
    write_example(run, dims=1)
    for path in [p for p in run.rglob("*.json") if p.is_file()]:
        path.write_text("{}")
    for path in run.rglob("metrics.jsonl"):
        path.write_text("")


def nulls(run: Path) -> None:
    """Every number in every file is null, NaN or infinite."""
    write_example(run, dims=1)
    for i, path in enumerate(sorted(run.rglob("*.json"))):
        value = [None, float("nan"), float("inf")][i % 3]
        path.write_text(json.dumps(voided(json.loads(path.read_text()), value)))
    for path in run.rglob("metrics.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        write_metrics(
            path,
            [{"step": row["step"]} | voided({k: row[k] for k in row if k != "step"}, float("nan")) for row in rows],
        )


def voided(value, by):
    if isinstance(value, dict):
        return {k: voided(v, by) for k, v in value.items()}
    if isinstance(value, list):
        return [voided(v, by) for v in value]
    return by if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def constant(run: Path) -> None:
    """Nothing varies: one step, equal returns, flat losses."""
    write_example(run, dims=1)
    for path in run.rglob("metrics.jsonl"):
        write_metrics(path, [{"step": 1, "loss": 0.0, "holdout/dawm/rmse_1": 0.0}])
    for path in run.rglob("scores.json"):
        path.write_text(
            json.dumps(json.loads(path.read_text()) | {"returns": [[5.0], [5.0]], "score_interval": [0, 0]})
        )
    data = json.loads((run / "data.json").read_text())
    data["returns"] |= {"edges": [5.0, 5.0], "counts": [420], "percentiles": {"10": 5.0, "50": 5.0, "90": 5.0}}
    write_json(run / "data.json", data)


def ragged(run: Path) -> None:
    """Lists that do not fit each other, and models that nobody knows."""
    write_example(run, dims=1)
    holdout = {"models": {"dawm": {"rmse": [0.1]}, "mine": {"rmse": [0.2, 0.3], "crps": []}, "one_step": {}}}
    write_json(run / "model" / "holdout.json", holdout)
    marginals = [{"name": "a", "real": {"edges": [0, 1], "density": [1, 2, 3]}}, {"name": "b"}, {}]
    write_json(
        run / "synthetic" / "fidelity.json",
        {"marginals": marginals, "reward": 0.2, "inverse_consistency": {"x": {"y": [1]}}},
    )


def only_model(run: Path) -> None:
    write_model(run, rng())


def only_synthetic(run: Path) -> None:
    write_example(run.parent / "source", dims=2)
    shutil.copytree(run.parent / "source" / "synthetic", run)


def only_policy(run: Path) -> None:
    write_policy(run.parent / "td3bc-dawm", rng(), 900.0)
    (run.parent / "td3bc-dawm").rename(run)


VARIANTS = [
    *(
        whole,
        one_seed_one_episode,
        two_learners_many_dimensions,
        no_environment,
        no_references,
        no_synthetic,
        bare,
        young,
    ),
    *(empty_files, nulls, constant, ragged, only_model, only_synthetic, only_policy),
]


@pytest.mark.parametrize("make", VARIANTS, ids=lambda f: f.__name__)
def test_every_folder_makes_a_whole_page(make, tmp_path):
    make(tmp_path / "run")
    assert read(tmp_path / "run").text


def test_what_is_there_is_shown(tmp_path):
    whole(tmp_path / "run")
    page = read(tmp_path / "run")
    for words in (
        *(
            "Synthetic data helped",
            "More precise than a one-step network",
            "Hard to tell from real data",
            "Read with care",
        ),
        *("420", "391", "Recordings cut", "12 transitions occur twice", "90 % below", "Held-out error, 1 step ahead"),
        *("Error of a single draw", "CRPS", "persistence", "R²", "Brier score", "KS 0.", "Ends per step, synthetic"),
        *("TD3+BC, real + synthetic", "TD3+BC, real data only", "mean of the data", "last checkpoint (step 200,000)"),
        *("policy.algo.kind", "jax==0.10.2", "sha256:5d1c0f7a44be", "dawm run file:hopper-mixed.npz", "fea2d64c0ffee"),
    ):
        assert words in page.words.replace("\u00a0", " "), words
    svgs = [a for tag, a in page.elements if tag == "svg"]
    assert len(svgs) >= 2 + 2 + 4 + 8
    assert (
        len([a for tag, a in page.elements if a.get("class") == "episode"]) == 2 * 3 * 50
    )  # wide and narrow, 3 policies


def test_a_planner_is_scored_and_has_no_training_to_show(tmp_path):
    write_example(tmp_path / "run", dims=1)
    policies = tmp_path / "run" / "policies"
    around = {"policy": {"path": "../td3bc", "step": 7}, "model": {"path": "../../model"}, "env": "Hopper-v5"}
    begin(policies / "td3bc-plan", "planner", around)
    shutil.copy(policies / "td3bc" / "scores.json", policies / "td3bc-plan" / "scores.json")
    words = read(tmp_path / "run").words
    assert "TD3+BC, planning" in words
    _, trained = words.split("As they trained")
    assert "td3bc-dawm" in trained.split("Settings")[0]
    assert "td3bc-plan" not in trained.split("Settings")[0]


def test_what_is_missing_is_said(tmp_path):
    bare(tmp_path / "run")
    words = read(tmp_path / "run").words
    for missing in (
        "No world model is in this folder",
        "No synthetic data are in this folder",
        "No policy is in this folder",
    ):
        assert missing in words
    young(tmp_path / "young")
    words = read(tmp_path / "young").words
    assert "unfinished: 500 of 20,000 updates" in words
    assert "holdout.json is not here" in words


def test_text_from_outside_is_escaped(tmp_path):
    run = write_example(tmp_path / "run", name=EVIL, dims=1)
    for path in [
        run / "data.json",
        run / "model" / "holdout.json",
        run / "synthetic" / "fidelity.json",
        *run.glob("policies/*/scores.json"),
    ]:
        content = json.loads(path.read_text())
        content |= {"notes": [EVIL], "members_note": EVIL, "verdict": EVIL, "env": EVIL, "origin": EVIL}
        for marginal in content.get("marginals", []):
            marginal["name"] = EVIL
        for problem in (content.get("doctor") or {}).get("problems", []):
            problem["message"] = problem["check"] = EVIL
        if "models" in content:
            content["models"][EVIL] = content["models"].pop("ensemble")
        path.write_text(json.dumps(content))
    (run / "policies" / "td3bc").rename(run / "policies" / "<i>x")
    page = read(run)
    scripts = [a for tag, a in page.elements if tag == "script"]
    assert len(scripts) == 2  # ours
    assert EVIL.replace('"', '"') in page.words
    assert not any(tag == "i" for tag, _ in page.elements)


def test_a_damaged_file_leaves_the_old_page(tmp_path):
    whole(tmp_path / "run")
    path = write_report(tmp_path / "run")
    before = path.read_text()
    (tmp_path / "run" / "data.json").write_text("{")
    with pytest.raises(FileError, match=r"data\.json"):
        write_report(tmp_path / "run")
    assert path.read_text() == before


def test_the_same_folder_gives_the_same_page(tmp_path):
    whole(tmp_path / "run")
    first = write_report(tmp_path / "run").read_text()
    assert write_report(tmp_path / "run").read_text() == first


WRAPPER = """<!DOCTYPE html><body style="margin:0">
<iframe id="f" src="%s" style="border:0;width:390px;height:800px"></iframe>
<pre id="out"></pre><script>
document.getElementById("f").onload = (event) => {
  const page = event.target.contentDocument, root = page.documentElement;
  const found = {inner: event.target.contentWindow.innerWidth, closed: root.scrollWidth};
  page.querySelectorAll("details").forEach((d) => d.open = true);
  found.open = root.scrollWidth;
  const shown = [...page.querySelectorAll("svg")].filter((s) => s.getBoundingClientRect().width > 0);
  found.charts = shown.length;
  found.outside = shown.flatMap((s) => [...s.querySelectorAll("text")].filter((t) => {
    const a = t.getBoundingClientRect(), b = s.getBoundingClientRect();
    return a.left < b.left - 2 || a.right > b.right + 2 || a.bottom > b.bottom + 2;
  }).map((t) => t.textContent));
  page.getElementById("theme").click();
  found.theme = root.dataset.theme;
  document.getElementById("out").textContent = "RESULT" + JSON.stringify(found) + "END";
};
</script></body>"""


@pytest.mark.parametrize("make", [whole, two_learners_many_dimensions, nulls], ids=lambda f: f.__name__)
def test_in_a_real_browser_at_the_width_of_a_phone(make, tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium or Chrome on this machine")
    make(tmp_path / "run")
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(WRAPPER % write_report(tmp_path / "run").as_uri())
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--enable-logging=stderr"]
    where = f"--user-data-dir={tmp_path / 'profile'}"
    command = [
        browser,
        *flags,
        where,
        "--virtual-time-budget=10000",
        "--window-size=800,900",
        "--dump-dom",
        wrapper.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    match = re.search("RESULT(.*?)END</pre>", done.stdout)
    assert match, done.stderr[-2_000:]
    found = json.loads(match[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert found["inner"] == 390
    assert found["closed"] <= 390
    assert found["open"] <= 390
    assert found["outside"] == []
    assert make is nulls or found["charts"] > 10
    assert found["theme"] in ("dark", "light")
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
