"""Attacks: stateless callables ``attack(logits_fn, images, labels, seed=...)``."""

from __future__ import annotations

from rlfat_tf.attacks.base import Attack
from rlfat_tf.attacks.pgd import FGSM, L2PGD, PGD, LinfPGD

ATTACKS = {"fgsm": FGSM, "pgd": LinfPGD, "pgd_l2": L2PGD}

__all__ = ["ATTACKS", "FGSM", "PGD", "Attack", "L2PGD", "LinfPGD"]
