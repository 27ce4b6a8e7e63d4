"""The line that tells how far an attack is."""

import pytest

from rlfat_tf.attacks import CWL2, LinfPGD, Square
from rlfat_tf.evaluation.watching import Standing
from rlfat_tf.run import evaluate as command
from rlfat_tf.run.evaluate import ProgressLine, progress_text


@pytest.mark.parametrize(
    "standing, expected",
    [
        (  # 872 examples at 64 s for 128, less the 30 s of the running batch
            Standing("square", Square(epsilon=8 / 255), 128, 1000, 57, 94.0, 3421, 30.0),
            "square, epsilon 8/255 128/1000 examples, 57 robust, pass 3,421, 94 s, ETA 7 min",
        ),
        (
            Standing("pgd", LinfPGD(epsilon=0.1), 0, 50, 50, 0.0, 0),
            "pgd, epsilon 0.1 0/50 examples, 50 robust, 0 s",
        ),
        (
            Standing("cw_l2", CWL2(), 50, 50, 3, 9.0),
            "cw_l2 50/50 examples, 3 robust, 9 s",
        ),
        (Standing("clean", None, 5, 50, 4, 1.0, 0), "clean 5/50 examples, 4 right, 1 s, ETA 9 s"),
    ],
)  # fmt: skip
def test_the_line(standing, expected):
    assert " ".join(progress_text(standing).split()) == expected


def test_a_line_every_few_seconds(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(command.time, "monotonic", lambda: now[0])
    line = ProgressLine()
    for second in range(26):  # as a batch of a long attack tells
        now[0] = 100.0 + second
        line(Standing("square", Square(epsilon=0.1), 0, 10, 10, float(second), second + 1))
    shown = capsys.readouterr().err.splitlines()
    assert [text.split(", ")[-1] for text in shown] == ["0 s", "4 s", "8 s", "12 s", "16 s", "22 s"]
    line(Standing("square", Square(epsilon=0.1), 10, 10, 4, 11.5))
    assert "10/10 examples, 4 robust" in capsys.readouterr().err


def test_the_longest_line_fits_100_columns():
    name, attack = "autoattack/apgd_ce", Square(epsilon=8 / 255)
    line = progress_text(Standing(name, attack, 9000, 10000, 10000, 9e5, 10000, 1e5))
    assert len(line) <= 100


@pytest.mark.parametrize("columns", [40, 200])
def test_on_a_terminal_a_line_that_is_renewed_does_not_wrap(monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    line = ProgressLine()
    line._live = True
    standing = Standing("square", Square(epsilon=0.1), 0, 10, 10, 1.0, 5)
    whole = progress_text(standing)
    line(standing)
    assert capsys.readouterr().err == f"\r\033[K{whole[: columns - 1]}"
    line(standing._replace(done=10, passes=None))
    assert capsys.readouterr().err.endswith("robust, 1 s\n")
