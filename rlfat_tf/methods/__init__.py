"""Training methods: Keras models that wrap a classifier. `METHODS` maps flag names to classes."""

from __future__ import annotations

from rlfat_tf.methods.base import AdversarialModel, Batch, Objective
from rlfat_tf.methods.pgdat import PGDAT
from rlfat_tf.methods.rlfat import RBSATP, RBSATT, RLFATP, RLFATT
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
}

__all__ = [
    "METHODS",
    "AdversarialModel",
    "Batch",
    "Objective",
    "PGDAT",
    "RBSATP",
    "RBSATT",
    "RLFATP",
    "RLFATT",
    "Standard",
    "TRADES",
]
