"""What methods add to the settings of a data set, and their own settings; see recipe_pairs.py."""

from __future__ import annotations

from recipe_datasets import DATASETS, LAST, SGD, Flags, Setting

# What a method adds to the settings of a data set.
_GAUSSIAN: Flags = {"attack_random_start": "gaussian"}
_KL: Flags = {**_GAUSSIAN, "trades_lambda": "6"}
_RBS: Flags = {"num_blocks": "2", "block_shuffle": "batch"}
_UNIFORM: Flags = {"attack_random_start": "uniform"}
METHODS: dict[str, tuple[str, Flags]] = {
    "standard": ("Standard training, the baseline without an adversary", {}),
    "pgdat": ("PGD adversarial training (the paper's PGDAT)", _UNIFORM),
    "trades": ("TRADES", _KL),
    "rbsat_p": ("The ablation RLFL alone, on PGDAT (Eq. 7)", {**_UNIFORM, **_RBS}),
    "rbsat_t": ("The ablation RLFL alone, on TRADES (Eq. 8)", {**_KL, **_RBS}),
    "rlfat_p": ("RLFAT_P (Eq. 10)", {**_UNIFORM, **_RBS, "eta": "0.5"}),
    "rlfat_t": ("RLFAT_T (Eq. 10)", {**_KL, **_RBS, "eta": "1"}),
    "feature_scattering": ("Feature Scattering", {}),
    "atld": ("ATLD", {"divergence_weight": "0.5", "atld_objective": "code"}),
    "local_global": (
        "Local and global robustness around weak adversaries",
        {**_UNIFORM, "local_weight": "1", "global_weight": "1", "local_variant": "inner"},
    ),
    "mart": ("MART", {**_GAUSSIAN, "mart_beta": "5"}),
    "hat": ("HAT", {**_GAUSSIAN, "hat_beta": "2.5", "hat_gamma": "0.5", "hat_h": "2"}),
    "ikl": ("IKL", {**_GAUSSIAN, "ikl_alpha": "4", "ikl_beta": "20", "ikl_temperature": "4"}),
    "score": ("SCORE", {**_UNIFORM, "score_beta": "4", "score_c": "0"}),
}
# Of what a data set says these methods read no more.
UNREAD = {
    "standard": ("attack_random_start",),
    "feature_scattering": ("attack_steps", "attack_step_size", "attack_random_start"),
    "atld": ("attack_steps", "attack_step_size", "attack_random_start"),
}

# The settings of a method on the data sets for which it has been published, and on their like.
ZHANG = Setting(
    (
        'Source: Zhang & Wang, "Defense Against Adversarial Attacks Using Feature Scattering-based '
        "Adversarial Training\", NeurIPS 2019, and the authors' code; 8/255 there is 16/255 of "
        "[-1, 1].",
        LAST,
    ),
    {
        "model": "wrn-28-10",
        "augment": "crop_flip",
        "validation_fraction": "0",
        "epochs": "200",
        "batch_size": "60",
        "epsilon": "8/255",
        "attack_bn": "eval",
        "optimizer": "sgd",
        "momentum": "0.9",
        "learning_rate": "0.1",
        "lr_schedule": "step:60,90",
        "weight_decay": "0.0002",
        "seed": "0",
    },
)
QIAN = Setting(
    (
        'Source: Qian et al., "Improving Model Robustness with Latent Distribution Locally and '
        "Globally\", 2021, and the authors' code; 8/255 there is 16/255 of [-1, 1].",
        LAST,
    ),
    {**ZHANG.flags, "epochs": "400", "batch_size": "50"},
)
LU = (
    'OUR RECONSTRUCTION of Lu & Kumar, "Improving Local Effectiveness for Global robust training", '
    "2021, of which only the abstract is public to us. Every number here is our choice.",
)
_LU: Flags = {**SGD, "model": "wrn-28-10", "epochs": "100", "lr_schedule": "step:75,90"}
_OWN_VALIDATION: Flags = {**SGD, "validation_fraction": "0.02"}
WANG = Setting(
    (
        "Source: Wang et al., ICLR 2020, and the ResNet-18 of the authors' code; validation is "
        "ours.",
    ),
    {
        **_OWN_VALIDATION,
        "model": "resnet18",
        "epochs": "120",
        "attack_step_size": "0.007",
        "learning_rate": "0.01",
        "lr_schedule": "step:75,90,100",
        "weight_decay": "0.0035",
    },
)
RADE = Setting(
    ("Source: Rade & Moosavi-Dezfooli, 2022, and the authors' code; validation is ours.",),
    {
        **_OWN_VALIDATION,
        "model": "resnet18",
        "epochs": "50",
        "nesterov": "true",
        "learning_rate": "0.21",
        "lr_schedule": "onecycle:0.25",
        "decay_exclude": "batch_norm",
    },
)
CUI = Setting(
    (
        "Source: Cui et al., 2023, and the first version of the authors' code, AWP and the growing "
        "epsilon included; validation is ours. The paper evaluates an average of all epochs.",
    ),
    {
        **_OWN_VALIDATION,
        "model": "wrn-34-10",
        "epochs": "200",
        "learning_rate": "0.2",
        "lr_schedule": "cosine",
        "epsilon_warmup": "full",
        "attack_steps": "5",
        "attack_step_size": "4/255",
        "awp": "0.005",
        "awp_warmup": "9",
    },
)
PANG = Setting(
    (
        "Source: Pang et al., ICML 2022, and the authors' code, but without generated images; "
        "validation is ours. With a million of them 88.61 / 61.04 are published for CIFAR-10 "
        "(RobustBench).",
    ),
    {
        **_OWN_VALIDATION,
        "model": "wrn-28-10-silu",
        "epochs": "400",
        "batch_size": "512",
        "attack_bn": "batch",
        "nesterov": "true",
        "learning_rate": "0.2",
        "lr_schedule": "onecycle:0.025,by=epoch",
        "decay_exclude": "batch_norm",
        "ema": "0.995",
        "ema_warmup": "10",
        "ema_statistics": "raw",
    },
)
_SVHN: Flags = {"augment": "none", "learning_rate": "0.01"}
OWN: dict[tuple[str, str], Setting] = {
    **{(name, "feature_scattering"): ZHANG for name in ("cifar10", "cifar100")},
    **{(name, "atld"): QIAN for name in ("cifar10", "cifar100")},
    ("svhn_cropped", "feature_scattering"): ZHANG._replace(flags={**ZHANG.flags, **_SVHN}),
    ("svhn_cropped", "atld"): QIAN._replace(flags={**QIAN.flags, **_SVHN}),
    **{(name, "local_global"): Setting(LU, _LU) for name in ("cifar10", "cifar100")},
    **{(name, "mart"): WANG for name in ("cifar10", "cifar100")},
    **{(name, "hat"): RADE for name in ("cifar10", "cifar100")},
    **{(name, "ikl"): CUI for name in ("cifar10", "cifar100")},
    **{(name, "score"): PANG for name in ("cifar10", "cifar100")},
}
# Where a data set changes what a method adds.
CHANGES: dict[tuple[str, str], Flags] = {
    **{("mnist", method): {"trades_lambda": "1"} for method in ("trades", "rbsat_t", "rlfat_t")},
    ("cifar100", "atld"): {"divergence_weight": "0.1"},
    **{
        (name, "hat"): {
            "helper_model": f"runs/{name}_standard",
            **({"hat_beta": "1"} if name == "mnist" else {}),
        }
        for name in DATASETS
    },
    **{
        (name, "local_global"): {"attack_steps": steps, "attack_step_size": size}
        for name, steps, size in (
            ("digits", "2", "0.1"),
            ("mnist", "5", "0.1"),
            ("fashion_mnist", "3", "0.05"),
            ("cifar10", "2", "5/255"),
            ("cifar100", "2", "5/255"),
            ("stl10", "2", "0.02"),
            ("svhn_cropped", "2", "5/255"),
        )
    },
}
