"""Attacks: stateless callables ``attack(logits_fn, images, labels, seed=...)``."""

from __future__ import annotations

from rlfat_tf.attacks.apgd import APGD, APGDT
from rlfat_tf.attacks.autoattack import AutoAttack
from rlfat_tf.attacks.base import Attack, Search
from rlfat_tf.attacks.carlini_wagner import CWL2, CWTanh
from rlfat_tf.attacks.fab import FABT
from rlfat_tf.attacks.fast import Fast
from rlfat_tf.attacks.feature_scatter import FeatureScatter
from rlfat_tf.attacks.mim import MIM
from rlfat_tf.attacks.nattack import NAttack
from rlfat_tf.attacks.one_step import FGSM, FGSMRS, NFGSM
from rlfat_tf.attacks.pgd import L2PGD, PGD, LinfPGD
from rlfat_tf.attacks.pixels import EightBit
from rlfat_tf.attacks.spsa import SPSA
from rlfat_tf.attacks.square import Square
from rlfat_tf.attacks.targeted import Targeted
from rlfat_tf.attacks.transfer import Transfer

ATTACKS = {
    "fgsm": FGSM,
    "fgsm_rs": FGSMRS,
    "n_fgsm": NFGSM,
    "pgd": LinfPGD,
    "pgd_l2": L2PGD,
    "mim": MIM,
    "cw_tanh": CWTanh,
    "cw_l2": CWL2,
    "nattack": NAttack,
    "spsa": SPSA,
    "apgd": APGD,
    "apgd_t": APGDT,
    "fab_t": FABT,
    "square": Square,
    "fast": Fast,
    "autoattack": AutoAttack,
}

__all__ = [
    "APGD",
    "APGDT",
    "ATTACKS",
    "CWL2",
    "EightBit",
    "FABT",
    "FGSM",
    "FGSMRS",
    "MIM",
    "NFGSM",
    "PGD",
    "SPSA",
    "Attack",
    "AutoAttack",
    "CWTanh",
    "Fast",
    "FeatureScatter",
    "L2PGD",
    "LinfPGD",
    "NAttack",
    "Search",
    "Square",
    "Targeted",
    "Transfer",
]
