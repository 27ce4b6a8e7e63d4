"""Networks that come with the library: what their cards say is what they do."""

from __future__ import annotations

import dataclasses
import json
import runpy
from pathlib import Path

import numpy as np
import pytest

import rlfat_tf
from rlfat_tf.models import zoo
from rlfat_tf.run import cli, evaluate
from rlfat_tf.run.eval_config import EvalConfig
from rlfat_tf.run.workdir import read_config

ROOT = Path(__file__).resolve().parents[2]
CARDS = rlfat_tf.models.pretrained()


@pytest.mark.parametrize("name", CARDS)
def test_what_ships_is_small_and_its_card_is_whole(name):
    card = CARDS[name]
    assert card.path.stat().st_size < 4_000_000 and card.path.stem == name == card.name
    assert card.command.startswith(
        f"python train.py --dataset={card.dataset} --method={card.method}"
    )
    assert 0 < card.robust_accuracy < card.accuracy < 1 and card.robust_examples <= card.examples
    config = EvalConfig(model_path=f"pretrained:{name}").completed()
    assert (config.dataset, config.norm, config.epsilon) == (
        card.dataset,
        card.norm,
        (card.epsilon,),
    )


@pytest.mark.parametrize("name", CARDS)
def test_accuracy_is_that_of_the_card(name, request):
    """Clean on up to 1,000 test images, PGD-20 on 200: never below AutoAttack but by its noise."""
    card = CARDS[name]
    data_dir = None if card.dataset == "digits" else request.getfixturevalue("tfds_data_dir")
    test = rlfat_tf.data.load(
        card.dataset,
        data_dir=data_dir,
        test_only=True,
        test_examples=min(1000, card.examples),
        download=False,
    ).test
    network = rlfat_tf.models.load_pretrained(name)
    assert network.count_params() == card.parameters
    settings = {"epsilon": card.epsilon, "norm": card.norm, "checked": False, "batch_size": 200}
    clean = rlfat_tf.evaluation.evaluate(
        network, (test.images, test.labels), attacks="clean", **settings
    )
    few = rlfat_tf.evaluation.evaluate(
        network, (test.images[:200], test.labels[:200]), attacks="pgd", steps=20, **settings
    )

    def near(share: float, examples: int) -> float:  # three standard errors and a rounding
        return 3 * np.sqrt(share * (1 - share) / examples) + 1e-6

    if len(test) == card.examples:
        assert clean["clean_accuracy"] == pytest.approx(card.accuracy, abs=0.5 / len(test))
    assert abs(clean["clean_accuracy"] - card.accuracy) <= near(card.accuracy, len(test))
    noise = near(card.robust_accuracy, 200)
    assert -noise <= few["worst_case_accuracy"] - card.robust_accuracy <= noise + 0.1


def test_a_run_is_shipped_with_its_weights_and_figures(trained_copy, tmp_path, monkeypatch):
    ship = runpy.run_path(str(ROOT / "tools" / "ship_network.py"))["ship"]
    folder = tmp_path / "weights"
    folder.mkdir()
    card = ship(trained_copy, "tiny", 8, folder, "fgsm")
    monkeypatch.setattr(zoo, "FOLDER", folder)
    assert zoo.Pretrained.read(folder / "tiny.json") == card
    assert list(rlfat_tf.models.pretrained()) == ["tiny"] and card.examples == 360
    loaded = rlfat_tf.models.load_pretrained("pretrained:tiny")
    for got, wanted in zip(loaded.weights, rlfat_tf.load(trained_copy).model.weights):
        np.testing.assert_array_equal(got, wanted)
    with pytest.raises(ValueError, match="Did you mean 'tiny'"):
        rlfat_tf.models.load_pretrained("tini")
    path = folder / "tiny.json"
    path.write_text(json.dumps({**dataclasses.asdict(card), "sha256": "0"}), encoding="utf-8")
    with pytest.raises(ValueError, match="not the file that came with this library"):
        rlfat_tf.models.load_pretrained("tiny")


def test_a_card_has_the_commands_of_all_runs_that_led_to_its_network(trained, tmp_path):
    tool = runpy.run_path(str(ROOT / "tools" / "ship_network.py"))
    second = tmp_path / "second"
    second.mkdir()
    settings = json.loads((trained.folder / "config.json").read_text())
    changed = {**settings, "weights": str(trained.folder), "method": "trades"}
    (second / "config.json").write_text(json.dumps(changed))
    assert tool["history"](second) == [trained.folder, second]
    one, other = tool["commands"]([trained.folder, second]).splitlines()
    place = f"runs/{trained.folder.name}"  # and not where it was on the machine that trained it
    assert "--method=rlfat_p" in one and one.endswith(f" --workdir={place}")
    assert "--method=trades" in other and f"--weights={place}" in other
    for run, line in ((trained.folder, one), (second, other)):
        again, _ = cli.parse(line.split()[1:], cli.new_values())
        wanted = read_config(run).identity
        assert again.identity == {**wanted, "weights": wanted["weights"] and place}


def test_the_page_of_the_networks_says_what_their_cards_say():
    page_of = runpy.run_path(str(ROOT / "tools" / "write_cards.py"))["page_of"]
    text = (ROOT / "docs" / "pretrained.md").read_text(encoding="utf-8")
    assert page_of(text, CARDS.values()) == text  # python tools/write_cards.py writes it


def test_another_norm_than_the_card_s_wants_its_own_radius():
    name = next(iter(CARDS))
    with pytest.raises(ValueError, match="--norm=l2 also needs --epsilon"):
        EvalConfig(model_path=f"pretrained:{name}", norm="l2").completed()
    given = EvalConfig(model_path=f"pretrained:{name}", norm="l2", epsilon=(0.5,)).completed()
    assert (given.norm, given.epsilon) == ("l2", (0.5,))
    with pytest.raises(ValueError, match=r"Unknown pretrained network 'digit'\. Did you mean"):
        EvalConfig(model_path="pretrained:digit")


@pytest.mark.current
def test_the_command_evaluates_one_by_its_name(tmp_path):
    """With what its card says in the report, and the digest of its file."""
    found = evaluate.run(
        EvalConfig(
            model_path="pretrained:digits-linf-wrn10-1", attacks="clean,fgsm", test_examples=20,
            pictures=False, checks=False, report_dir=str(tmp_path),
        )
    )  # fmt: skip
    card = zoo.card_of("digits-linf-wrn10-1")
    assert found["clean_accuracy"] > 0.9 and found["epsilon"] == card.epsilon
    judged = found["judged"]
    assert (judged["network"], judged["method"]) == (card.network, card.method)
    assert judged["sha256"] == card.sha256 and judged["file"] == card.path.name
    assert judged["training_data"] == "digits" and (tmp_path / "report.json").is_file()
