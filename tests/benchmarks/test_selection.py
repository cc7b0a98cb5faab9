"""How well a criterion ranks policies, from figures whose answer is known."""

from __future__ import annotations

import json

import pytest

from benchmarks.selection import judged, main, table


@pytest.fixture
def folder(tmp_path):
    """Two methods of two seeds: returns 1, 2 and 10, 5; fqe ranks them right, the model upside down."""
    for name, returns, fqe, model in (
        ("bc", [[1, 1], [2, 2]], [0.1, 0.2], [9, 8]),
        ("iql", [[9, 11], [5, 5]], [3, 1], [1, 2]),
    ):
        policy = tmp_path / "policies" / name
        policy.mkdir(parents=True)
        (policy / "scores.json").write_text(json.dumps({"returns": returns}))
        estimates = {"fqe": {"value": fqe}, "model": {"value": model}}
        (policy / "estimates.json").write_text(json.dumps(estimates))
    return tmp_path


def test_rank_correlation_and_regret(folder):
    found = judged(folder)
    assert [p["return"] for p in found["policies"]] == [1, 2, 10, 5]
    fqe, model = found["criteria"]["fqe"], found["criteria"]["model"]
    assert (fqe["rank_correlation"], fqe["regret"]) == (pytest.approx(1.0), 0.0)
    assert (model["rank_correlation"], model["regret"]) == (pytest.approx(-1.0), 1.0)
    assert fqe["regret_of_the_median"] == pytest.approx((10 - 3.5) / 9)
    assert "fqe: rank correlation 1.00, regret of its choice 0.00" in table(found)


def test_policies_without_estimates_are_left_out(folder):
    (folder / "policies" / "bc" / "estimates.json").unlink()
    found = judged(folder)
    assert [p["method"] for p in found["policies"]] == ["iql", "iql"]
    assert found["criteria"]["model"]["rank_correlation"] == pytest.approx(-1.0)


def test_a_folder_without_policies_is_one_sentence(tmp_path, capsys, shared_data):
    assert main([str(tmp_path), "--data", str(shared_data / "neorl2" / "DMSD-val.npz")]) == 2
    assert "has no policies with scores" in capsys.readouterr().err
