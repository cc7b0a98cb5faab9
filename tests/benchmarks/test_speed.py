"""The command for the machine, the arithmetic of rounds, and the page from results whose numbers are known."""

from __future__ import annotations

import json
import os
import time

import pytest

from benchmarks.speed import page as pages
from benchmarks.speed.__main__ import main
from benchmarks.speed.children import run
from benchmarks.speed.comparison import Comparison, Program, Settings, Work, compare, ratios, take_turns
from benchmarks.speed.scaling import exponent
from benchmarks.speed.store import file_name, store
from benchmarks.speed.tables import number
from benchmarks.speed.whole import stages
from dawm.errors import ConfigError


def test_the_machine_is_measured_and_shown(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    assert main(["--quick", "--only", "machine", "--out", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    content = json.loads((tmp_path / captured.out.strip().rpartition(os.sep)[2]).read_text())
    assert content["settings"]["quick"]
    rows = content["measurements"]["machine"]["rows"]
    assert {row["unit"] for row in rows} == {"GFLOP/s"}
    assert all(row["programs"]["JAX"]["median"] > 0 for row in rows)
    assert "| f32 product 256 x 256 x 256, GFLOP/s |" in captured.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(["--only", "learner"], "did you mean `learners`?"), (["--repeats", "0"], "at least 1; got 0")],
)
def test_mistakes_are_one_sentence(words, sentence, capsys):
    assert main(words) == 2
    assert sentence in capsys.readouterr().err


def test_programs_take_turns_and_a_missing_one_is_a_row():
    called = []

    def absent() -> Work:
        raise ModuleNotFoundError(name="nowhere")

    programs = (
        Program("dawm", lambda: Work(lambda: called.append("a"), 4.0, 10.0)),
        Program("gone", absent),
        Program("peer", lambda: Work(lambda: called.append("b"), 2.0)),
    )
    found = compare(Comparison("name", "what", "1/s", programs), Settings(repeats=3, quick=True))
    assert called == ["a", "b", *["a", "b"] * 3]  # each once alone, then in turns
    assert found["programs"]["gone"] == {"missing": "nowhere is not installed"}
    assert set(found["ratios"]) == {"peer"}
    ours = found["programs"]["dawm"]
    assert ours["gflops"] == pytest.approx(ours["median"] * 10 / 1e9)


def test_disturbed_rounds_are_repeated_and_bounded():
    calls = []
    take_turns({"sleeps": lambda: (calls.append(0), time.sleep(0.002))}, Settings(repeats=2))
    assert len(calls) == 6  # asleep it has no processor time: never undisturbed, and three times as many rounds


def test_ratios_are_of_rounds_and_above_one_where_ours_is_better():
    values = lambda *v: {"values": list(v)}
    assert ratios({"dawm": values(4, 9), "p": values(2, 3)})["p"]["values"] == [2, 3]
    assert ratios({"dawm": values(4, 9), "p": values(8, 9)}, "less")["p"]["values"] == [2, 1]
    assert ratios({"dawm": values(1), "p": {"missing": "p is not installed"}}) == {}


def test_children_are_stopped_when_the_condition_holds(tmp_path):
    begun = tmp_path / "begun"
    program = f"import time; open({str(begun)!r}, 'w').close(); time.sleep(600)"
    ended = run(["-c", program], until=begun.exists)
    assert ended.status == 0
    assert run(["-c", "print('why'); raise SystemExit(7)"])[::3] == (7, "why\n")


def test_peak_memory_is_that_of_the_child():
    """Asked for by a small process, as the module says: a child's account begins with the size of who starts it."""
    peaks = "print(*(run(['-c', f'b = bytearray({size} * 2**20)']).peak for size in (1, 301)))"
    ended = run(["-c", f"from benchmarks.speed.children import run; {peaks}"])
    small, large = map(float, ended.words.split())
    assert large - small == pytest.approx(300, rel=0.1)


def results() -> dict:
    """One product at 100 GFLOP/s; ours 200 updates/s of 0.4 GFLOP, a peer half of it, another absent; two stages."""
    figure = lambda *values, **more: (
        {"median": values[0], "low": min(values), "high": max(values), "values": values} | more
    )
    machine = {"programs": {"JAX": figure(100.0), "PyTorch": figure(90.0)}, "ratios": {"PyTorch": figure(1.11)}}
    learner = {
        "programs": {
            "dawm": figure(200.0, 190.0, 210.0, gflops=80.0),
            "PyTorch loop": figure(100.0, 99.0, 101.0, gflops=40.0, core=0.5),
            "d3rlpy": {"missing": "d3rlpy is not installed"},
        },
        "ratios": {"PyTorch loop": figure(2.0, 1.9, 2.1)},
    }
    whole = {"programs": {"dawm": figure(321.0)}, "ratios": {}, "stages": {"report": 1.25}, "peak": 1234.0}
    facts = {
        "processor": "Abacus",
        "cores": 2,
        "platform": "Linux",
        "python": "3.11",
        "device": "CpuDevice",
        "commit": "c",
    }
    named = lambda row, **more: {"date": "2026-01-02", "rows": [row | {"name": "n", "what": "work"} | more]}
    return {
        "layout": 1,
        "settings": {"repeats": 3, "quick": False, "threads": 1},
        "machine": facts | {"versions": {"jax": "1.0", "torch": None}},
        "measurements": {
            "machine": named(machine, unit="GFLOP/s"),
            "learners": named(learner, unit="updates/s"),
            "whole": named(whole, unit="s"),
        },
    }


def test_the_page_says_what_the_file_holds(tmp_path):
    source, target = tmp_path / "results.json", tmp_path / "page.md"
    source.write_text(json.dumps(results()))
    assert pages.main([str(source), "--out", str(target)]) == 0
    text = target.read_text()
    line = "| work, updates/s | 200 (190 … 210) | PyTorch loop: 100 (99 … 101) † | 2 (1.9 … 2.1) | 80%, peer 40% |"
    assert line in text
    assert "| work, updates/s | 200 (190 … 210) | d3rlpy: d3rlpy is not installed | – | 80%, peer – |" in text
    assert "| report | 1.2 |" in text
    assert "peak memory 1,230 MiB" in text
    assert "† The machine was busy" in text
    assert "Abacus, 2 cores; programs were kept to one thread" in text
    assert "torch not installed" in text
    assert "numbers mean nothing" not in text


def test_several_files_and_quick_ones_are_told_apart(tmp_path):
    quick = results()
    quick["settings"] |= {"threads": 2, "quick": True}
    text = pages.page([results(), quick])
    assert text.index("## On one thread") < text.index("## On 2 threads") < text.index("numbers mean nothing")


def test_what_is_no_file_of_results_is_one_sentence(tmp_path, capsys):
    path = tmp_path / "other.json"
    path.write_text("{}")
    assert pages.main([str(path), "--out", str(tmp_path / "page.md")]) == 2
    assert "holds no results" in capsys.readouterr().err
    assert not (tmp_path / "page.md").exists()


def test_measurements_of_one_machine_share_a_file(tmp_path):
    path, facts = tmp_path / "c.json", {"processor": "Abacus", "cores": 2, "versions": {}}
    store(path, "machine", {"rows": []}, facts, Settings())
    store(path, "learners", {"rows": []}, facts, Settings())
    assert set(json.loads(path.read_text())["measurements"]) == {"machine", "learners"}
    with pytest.raises(ConfigError, match="another machine"):
        store(path, "machine", {"rows": []}, facts | {"cores": 4}, Settings())


def test_names_of_files_and_numbers():
    assert file_name(Settings(), "0123456789abcdef") == "0123456789ab.json"
    assert file_name(Settings(quick=True, threads=2), "0123456789abcdef+") == "0123456789ab-changed-2threads-quick.json"
    assert [number(x) for x in (0.01234, 1.234, 12.34, 123.4, 12345.0)] == ["0.0123", "1.23", "12.3", "123", "12,300"]


def test_stages_are_differences_of_times(tmp_path):
    for name, moment in (
        ("data.json", 103.0),
        ("model/networks/metrics.jsonl", 110.0),
        ("policies/bc/finished", 111.5),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (moment, moment))
    assert stages(tmp_path, 100.0) == {"start, imports, reading": 3.0, "one-step networks": 7.0, "policy bc": 1.5}


def test_the_exponent_is_the_slope_and_the_page_shows_the_plot(tmp_path, capsys):
    points = {"a": [(1, 3.0), (2, 12.0), (4, 48.0)], "b": [(10, 5.0), (1_000, 5.0)]}
    slopes = {name: exponent(found) for name, found in points.items()}
    assert slopes == pytest.approx({"a": 2.0, "b": 0.0})
    rows = [
        {
            "name": name, "what": f"{name} from x", "unit": "exponent", "better": "less", "rounds": 1, "ratios": {},
            "programs": {"dawm": {"median": slopes[name], "values": [slopes[name]]}}, "points": found, "over": name,
        }
        for name, found in points.items()
    ]  # fmt: skip
    facts = {"processor": "p", "cores": 2, "versions": {}, "commit": "c", "platform": "x", "python": "3", "device": "d"}
    store(tmp_path / "r.json", "scaling", {"rows": rows}, facts, Settings())
    assert pages.main([str(tmp_path / "r.json"), "--out", str(tmp_path / "speed.md")]) == 0
    assert "](speed-growth.svg)" in (tmp_path / "speed.md").read_text()
    assert "a: 2.00" in (tmp_path / "speed-growth.svg").read_text()


@pytest.mark.slow
def test_two_runs_begin_together_and_their_rates_are_added(tmp_path, capsys):
    assert main(["--quick", "--only", "together", "--out", str(tmp_path)]) == 0
    content = json.loads((tmp_path / capsys.readouterr().out.strip().rpartition(os.sep)[2]).read_text())
    rows = content["measurements"]["together"]["rows"]
    assert len(rows) == (2 if (os.cpu_count() or 1) > 1 else 0)
    for row in rows:
        both, one = (row["programs"][name]["median"] for name in ("dawm", "one alone"))
        assert 0.3 * one < both < 4 * one
