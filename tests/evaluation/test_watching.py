"""A graph tells how far it is while it runs, and stops between two passes."""

import signal

import pytest
import tensorflow as tf

from rlfat_tf.evaluation import watching
from rlfat_tf.evaluation.watching import Watch

IMAGES = tf.zeros([1, 2])


@pytest.fixture
def endless(monkeypatch):
    """A watch, and a graph that asks the classifier until ``enough`` is set."""
    monkeypatch.setattr(watching, "SECONDS", 0.01)
    watch, enough = Watch(), tf.Variable(False)
    net = watch.watched(lambda images: images + 1.0)

    @tf.function
    def graph():
        return tf.while_loop(lambda *_: ~enough, lambda n, x: (n + 1, net(x)), (0, IMAGES))

    graph.get_concrete_function()
    return watch, enough, graph


def test_passes_are_counted_while_it_runs(endless):
    watch, enough, graph = endless
    told = []

    def tell(passes):
        told.append(passes)
        if len(told) >= 3 and told[-1] > 2:
            enough.assign(True)

    for _ in range(2):
        told.clear()
        enough.assign(False)
        count, found = watch.call(graph, tell)
        assert told == sorted(told) and told[-1] <= count == watch.passes
        assert found[0, 0] == float(count)  # nothing but the count has changed


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_it_stops_at_the_next_pass(endless, error):
    watch, enough, graph = endless

    def tell(passes):
        if error is KeyboardInterrupt:
            signal.raise_signal(signal.SIGINT)  # Ctrl-C
        raise error

    with pytest.raises(error):
        watch.call(graph, tell)  # would never return
    enough.assign(True)
    assert watch.call(graph, lambda passes: None)[0] == 0


def test_what_the_work_raises_is_raised(endless):
    with pytest.raises(TimeoutError, match="mine"):
        endless[0].call(lambda: (_ for _ in ()).throw(TimeoutError("mine")), lambda _: None)
