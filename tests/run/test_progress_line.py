"""The line that tells how far an attack is."""

import pytest

from rlfat_tf.attacks import CWL2, LinfPGD, Square
from rlfat_tf.evaluation.watching import Standing
from rlfat_tf.run import evaluate as command
from rlfat_tf.run.evaluate import ProgressLine, progress_text


@pytest.mark.parametrize(
    "standing, expected",
    [
        (
            Standing("square", Square(epsilon=8 / 255), 128, 1000, 57, 64.0, 3421),
            "square, epsilon 8/255 128/1000 examples, 57 still robust, in its batch after 3,421 "
            "passes, 64 s, ETA 436 s",
        ),
        (
            Standing("pgd", LinfPGD(epsilon=0.1), 0, 50, 50, 0.0, 0),
            "pgd, epsilon 0.1 0/50 examples, 50 still robust, 0 s",
        ),
        (
            Standing("cw_l2", CWL2(), 50, 50, 3, 9.0),
            "cw_l2 50/50 examples, 3 still robust, 9 s, ETA 0 s",
        ),
        (Standing("clean", None, 5, 50, 4, 1.0, 0), "clean 5/50 examples, 4 still robust, 1 s, "
         "ETA 9 s"),
    ],
)  # fmt: skip
def test_the_line(standing, expected):
    assert " ".join(progress_text(standing).split()) == expected


def test_a_line_every_few_seconds(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(command.time, "monotonic", lambda: now[0])
    line = ProgressLine()
    for second in range(12):  # as a batch of a long attack tells
        now[0] = 100.0 + second
        line(Standing("square", Square(epsilon=0.1), 0, 10, 10, float(second), second + 1))
    shown = capsys.readouterr().err.splitlines()
    assert [text.split(", ")[-1] for text in shown] == ["0 s", "4 s", "8 s"]
    line(Standing("square", Square(epsilon=0.1), 10, 10, 4, 11.5))
    assert "10/10 examples, 4 still robust" in capsys.readouterr().err
