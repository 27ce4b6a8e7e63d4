"""Training methods: Keras models that wrap a classifier. `METHODS` maps flag names to classes."""

from __future__ import annotations

from rlfat_tf.methods.atld import ATLD
from rlfat_tf.methods.base import AdversarialModel
from rlfat_tf.methods.feature_scattering import FeatureScattering
from rlfat_tf.methods.hat import HAT
from rlfat_tf.methods.ikl import IKL
from rlfat_tf.methods.local_global import LocalGlobal
from rlfat_tf.methods.mart import MART
from rlfat_tf.methods.objective import Batch, Objective
from rlfat_tf.methods.pgdat import PGDAT
from rlfat_tf.methods.rlfat import RBSATP, RBSATT, RLFATP, RLFATT
from rlfat_tf.methods.score import SCORE
from rlfat_tf.methods.standard import Standard
from rlfat_tf.methods.trades import TRADES

METHODS: dict[str, type[AdversarialModel]] = {
    "standard": Standard,
    "pgdat": PGDAT,
    "trades": TRADES,
    "rbsat_p": RBSATP,
    "rbsat_t": RBSATT,
    "rlfat_p": RLFATP,
    "rlfat_t": RLFATT,
    "feature_scattering": FeatureScattering,
    "atld": ATLD,
    "local_global": LocalGlobal,
    "mart": MART,
    "hat": HAT,
    "ikl": IKL,
    "score": SCORE,
}

__all__ = [
    "ATLD",
    "METHODS",
    "AdversarialModel",
    "Batch",
    "FeatureScattering",
    "HAT",
    "IKL",
    "LocalGlobal",
    "MART",
    "Objective",
    "PGDAT",
    "RBSATP",
    "RBSATT",
    "RLFATP",
    "RLFATT",
    "SCORE",
    "Standard",
    "TRADES",
]
