"""Rows and tables of the benchmarks say what was measured."""

import json

import pytest

from benchmarks import measure, table


def test_sides_take_turns_and_the_order_is_reversed(monkeypatch):
    monkeypatch.setattr(measure.gc, "collect", lambda: None)  # of all that other tests have left
    calls = []
    sides = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    seconds = measure.interleaved(sides, 3, warm=1)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_the_fastest_peer_counts():
    seconds = {"ours": [1.0, 2.0, 1.0], "slow": [9.0, 9.0, 9.0], "fast": [1.5, 2.0, 2.0]}
    row = measure.faster(seconds, "ours", ["slow", "fast"], target=1.6)
    assert (row["peer"], row["measured"], row["min"], row["max"]) == ("fast", 1.5, 1.0, 2.0)
    assert row["reached"] is False and row["pairs"] == 3


def test_lower_is_better():
    assert measure.row([0.9, 1.0], target=1.0, better="lower")["reached"] is True


def test_what_is_not_the_same_is_not_compared():
    assert "loss" in measure.close("loss", 1.0, 1.00005)
    with pytest.raises(ValueError, match="loss: ours gives 1, the peer 1.01"):
        measure.close("loss", 1.0, 1.01)


def test_a_missing_peer_is_skipped_and_a_failure_named(tmp_path, capsys):
    def missing():
        raise ImportError("no peer")

    def wrong():
        raise ValueError("other network")

    jobs = {"b": missing, "c": wrong, "a": lambda: measure.row([1.0], target=1.0)}
    path = tmp_path / "out" / "rows.json"
    assert measure.run(jobs, path) == ["c"]
    assert "b: skipped" in capsys.readouterr().err
    assert [row["name"] for row in json.loads(path.read_text())["rows"]] == ["a"]
    # Rows that are there stay, in the order of the jobs.
    measure.run({"b": lambda: measure.row([2.0], target=1.0), "a": missing}, path)
    assert [row["name"] for row in json.loads(path.read_text())["rows"]] == ["b", "a"]


def test_pages_hold_the_tables_of_the_results():
    table.main(["--check"])
