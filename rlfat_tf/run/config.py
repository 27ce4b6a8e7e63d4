"""What a training run is: one frozen dataclass, the only source of names, defaults and help.

The command line flags, ``flags.cfg`` and ``config.json`` of a run are made from it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from typing import Any

from rlfat_tf.core.errors import unknown
from rlfat_tf.core.norms import NORMS, STARTS
from rlfat_tf.data.augment import AUGMENTATIONS
from rlfat_tf.data.memory import MEMORY
from rlfat_tf.data.reading import BACKGROUNDS
from rlfat_tf.data.view import VIEWS, View
from rlfat_tf.methods import METHODS, regularizers
from rlfat_tf.methods.average import STATISTICS
from rlfat_tf.methods.batch_norm import ATTACK_BN
from rlfat_tf.models import normalize
from rlfat_tf.models.adapted.applications import trainable_of
from rlfat_tf.run import epsilon_warmup, schedules
from rlfat_tf.run.distribution import DISTRIBUTIONS
from rlfat_tf.run.fields import check_type, method_option, option, regularizer_option
from rlfat_tf.run.guard import ACTIONS
from rlfat_tf.run.training_attack import TRAINING_ATTACKS, check_attack

PRECISIONS = ("float32", "bfloat16")
LIMIT = 2**31  # of integers, which TensorFlow holds in 32 bits


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The configuration of a training run; every field is a flag of ``train.py``.

    Raises:
        ValueError: If a value is out of its range.
    """

    # What is trained on what.
    recipe: str | None = option(
        None,
        "Recipe beneath all other flags, a file of flags/; list: show them. Default: "
        "<dataset>_<method>, where there is one.",
        identity=False,
    )
    dataset: str = option(
        "digits", "Data set: a name, tfds:<builder>, folder:<path> or arrays:<path>."
    )
    method: str = option("rlfat_p", "Training method.", choices=tuple(METHODS))
    model: str = option(
        "wrn-16-2",
        "Network, for instance w32-10, wrn-34-10, small_cnn, or keras:MobileNetV2 of "
        "keras.applications.",
    )
    weights: str | None = option(
        None,
        "Of a keras: network: imagenet, none (random), or a .h5 file of its weights without the "
        "classification layer; default imagenet.",
    )
    freeze: str = option(
        "none",
        "What stays as it is of a keras: network: none (everything is trained), backbone (all but "
        "the new classification layer), or but_last:<n> (all but it and n layers before it).",
    )
    normalize: str = option(
        "none",
        "What the network does to the channels of its images first: none, cifar10, cifar100 or "
        "<means>/<standard deviations>, numbers with commas between.",
    )
    # Where things are.
    workdir: str | None = option(
        None, "Folder of the run; default runs/<recipe> or runs/<dataset>_<method>.", identity=False
    )
    data_dir: str | None = option(
        None, "Folder of prepared TFDS data sets; default TFDS's own.", identity=False
    )
    download: bool = option(True, "Whether a missing data set may be downloaded.", identity=False)
    # Data.
    memory: str = option(
        "auto",
        "Whether all images are held in memory, or read from disk when they are needed; auto: what "
        "fits into half of the free memory. Changes no result.",
        choices=MEMORY,
        identity=False,
    )
    cache_dir: str | None = option(
        None, "Folder for what makes the next start faster: indices of TFRecords.", identity=False
    )
    skip_unreadable: bool = option(
        False, "Leave out images of a folder that cannot be read, with a warning."
    )
    image_size: int | None = option(None, "Resize images to this many pixels a side.")
    view: str = option(
        "squash",
        "How images become squares: squash resizes the whole image; centre scales the short side "
        "to image_size * 256/224 and cuts out the centre.",
        choices=VIEWS,
    )
    background: str = option(
        "white", "Colour behind transparent pixels of a folder's images.", choices=BACKGROUNDS
    )
    train_examples: int | None = option(None, "Use the first N training examples only.")
    test_examples: int | None = option(None, "Use the first N test examples only.", identity=False)
    validation_fraction: float = option(
        0.1,
        "Part of the training data kept for choosing the best checkpoint; 0: none, and the last "
        "counts as the best.",
    )
    validation_examples: int | None = option(
        None,
        "Instead of a fraction: keep the N examples that follow the training examples, the same "
        "ones for every seed.",
    )
    validation_every: int = option(1, "Validate after every N-th epoch.")
    augment: str = option(
        "flip", f"Augmentation: {', '.join(AUGMENTATIONS)}; chain with +, cutmix last."
    )
    extra_data: str | None = option(
        None,
        "Further training examples, generated ones for instance: .npz files with image and label, "
        "or .npy files with <name>_labels.npy beside them, joined by commas.",
    )
    extra_share: float = option(0.7, "Part of every batch that is extra data.")
    extra_label_smoothing: float = option(0.0, "s in the labels of extra data, (1 - s) y + s / K.")
    # Length.
    epochs: int | None = option(50, "Epochs; replaces --train_steps.", identity=False)
    train_steps: int | None = option(None, "Optimisation steps; replaces --epochs.", identity=False)
    batch_size: int = option(128, "Global batch size, over all replicas.")
    # The attack of training.
    attack: str = option("pgd", "Kind of the attack.", choices=tuple(TRAINING_ATTACKS))
    attack_norm: str = option("linf", "Norm of the ball.", choices=tuple(NORMS))
    epsilon: float = option(
        8 / 255, "Radius of the ball: 0.03 or 8/255 in [0, 1] pixels; in l2 a length, such as 0.5."
    )
    epsilon_warmup: str = option(
        "0", "Epochs over which epsilon, start and steps grow linearly; full: the whole run."
    )
    attack_steps: int = option(10, "Gradient steps of the training attack.")
    attack_step_size: float | None = option(
        None,
        "Length of an attack step; default 2.5 * epsilon / attack_steps; 1.25 * epsilon of "
        "fgsm_rs, epsilon of n_fgsm.",
    )
    attack_random_start: str | None = option(
        None,
        "Start of the attack, radial in l2 only; default: the method's, uniform with 1 step.",
        choices=STARTS,
    )
    attack_bn: str = option("eval", "Batch normalisation during the attack.", choices=ATTACK_BN)
    guard: str | None = option(
        None,
        "What to do when training overfits its one-step attack: off, stop with the last good "
        "weights, or rollback to them and go on; default: stop for attacks of one step, else off.",
        choices=("off", *ACTIONS),
    )
    # The method; what each flag means and which values it takes is declared by the methods.
    num_blocks: int = method_option("num_blocks", 2)
    block_shuffle: str = method_option("block_shuffle", "batch")
    eta: float | None = method_option("eta")
    trades_lambda: float = method_option("trades_lambda", 6.0)
    label_smoothing: float | None = method_option("label_smoothing")
    divergence_weight: float | None = method_option("divergence_weight")
    atld_objective: str | None = method_option("atld_objective")
    local_weight: float | None = method_option("local_weight")
    global_weight: float | None = method_option("global_weight")
    local_radius: float | None = method_option("local_radius")
    local_variant: str | None = method_option("local_variant")
    mart_beta: float | None = method_option("mart_beta")
    hat_beta: float | None = method_option("hat_beta")
    hat_gamma: float | None = method_option("hat_gamma")
    hat_h: float | None = method_option("hat_h")
    helper_model: str | None = option(
        None,
        "A classifier trained without an adversary: a .keras file or the folder of a run; of hat.",
        identity=False,
    )
    ikl_alpha: float | None = method_option("ikl_alpha")
    ikl_beta: float | None = method_option("ikl_beta")
    ikl_temperature: float | None = method_option("ikl_temperature")
    score_beta: float | None = method_option("score_beta")
    score_c: float | None = method_option("score_c")
    regularizer: str | None = option(
        None,
        "Terms that compose with every method, joined by +: "
        f"{', '.join(regularizers.REGULARIZERS)}.",
    )
    lsp_weight: float = regularizer_option("lsp_weight")
    lsp_neighbors: int = regularizer_option("lsp_neighbors")
    lsp_reading: str = regularizer_option("lsp_reading")
    lsp_layer: str | None = regularizer_option("lsp_layer")
    grad_align_weight: float = regularizer_option("grad_align_weight")
    grad_align_start: str = regularizer_option("grad_align_start")
    # The optimizer.
    optimizer: str = option("adam", "adam, adamw, sgd; tfa:<Name> on the addons stack.")
    learning_rate: float = option(1e-3, "Learning rate at the start.")
    lr_schedule: str = option(
        "constant",
        "constant; cosine or cosine:warmup=<epochs>; step:<epoch>,<epoch>,...: times 0.1 at each; "
        "onecycle:<part of the run up to the peak>[,by=epoch]; cyclic:<part>: a triangle.",
    )
    weight_decay: float = option(
        0.0, "Coupled L2 penalty, as in the papers; for adamw its decoupled decay."
    )
    momentum: float = option(0.9, "Momentum of sgd.")
    nesterov: bool = option(False, "Nesterov's momentum in sgd.")
    decay_exclude: str = method_option("decay_exclude", "none")
    # The frame: what composes with every method.
    ema: float = option(
        0.0, "Decay of a moving average of the weights, which is evaluated; 0: off."
    )
    ema_ramp: bool = option(True, "Let that decay grow: min(ema, (1 + t) / (10 + t)) in step t.")
    ema_warmup: float = option(0.0, "First epochs in which the average only copies the weights.")
    ema_statistics: str = option(
        "average",
        "Batch statistics of the average: averaged too, those of the weights, or measured anew.",
        choices=STATISTICS,
    )
    awp: float = option(
        0.0, "Relative length of an adversarial weight perturbation, 0.01 or 0.005; 0: off."
    )
    awp_warmup: float = option(0.0, "First epochs in which the weights are not perturbed.")
    # The run.
    mixed_precision: str = option(
        "float32", "Precision of the network's layers.", choices=PRECISIONS
    )
    jit_compile: bool = option(
        False, "Compile the step with XLA: for GPUs; drops checks of values, draws other numbers."
    )
    seed: int = option(0, "All randomness of the run follows from it.")
    distribution: str | None = option(
        None,
        "mirrored (all GPUs of this machine), multi_worker, tpu or none; default: by TF_CONFIG and "
        "the devices.",
        choices=DISTRIBUTIONS,
        identity=False,
    )
    checkpoint_every: int = option(
        1000, "Backup every N steps, beside one after every epoch; 0: none.", identity=False
    )
    picture_every: int = option(
        0,
        "Show adversarial validation examples in TensorBoard after every N-th epoch; 0: never.",
        identity=False,
    )
    export: bool = option(True, "Write a SavedModel of the best checkpoint.", identity=False)
    print_config: bool = option(False, "Print the configuration and exit.", identity=False)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, choices = getattr(self, field.name), field.metadata["choices"]
            check_type(field, value)
            check = field.metadata.get("check")
            if check and not choices and value is not None:
                check(self, f"--{field.name}", value)
            if choices and value is not None and value not in choices:
                raise unknown(f"value of --{field.name}:", value, choices)
        if (self.epochs is None) == (self.train_steps is None):
            raise ValueError(
                "Expected one of --epochs and --train_steps; received "
                f"epochs={self.epochs} and train_steps={self.train_steps}."
            )
        for name in (
            "epochs",
            "train_steps",
            "image_size",
            "train_examples",
            "test_examples",
            "validation_examples",
            "validation_every",
            "batch_size",
            "attack_steps",
            "num_blocks",
            "lsp_neighbors",
        ):
            self._check(name, "an integer of at least 1", lambda v: v >= 1)
            self._check(name, "an integer that fits 31 bits", lambda v: v < LIMIT)
        for name in ("attack_step_size", "learning_rate"):
            self._check(name, "a finite number above 0", lambda v: 0 < v < math.inf)
        for name in (
            "weight_decay",
            "checkpoint_every",
            "picture_every",
            "ema_warmup",
            "awp",
            "awp_warmup",
        ):
            self._check(name, "a finite number of at least 0", lambda v: 0 <= v < math.inf)
        for name in (
            "momentum",
            "ema",
            "validation_fraction",
            "extra_share",
            "extra_label_smoothing",
        ):
            self._check(name, "a number in [0, 1)", lambda v: 0 <= v < 1)
        if self.epochs is not None and self.validation_every > self.epochs:
            raise ValueError(
                "Expected --validation_every to be at most --epochs, else no epoch is validated; "
                f"received {self.validation_every} and {self.epochs}."
            )
        self._check("seed", "an integer that fits 31 bits", lambda v: 0 <= v < LIMIT)
        View(self.image_size, self.view).check()
        check_attack(self)
        regularizers.names_in(self.regularizer)
        schedules.parse(self.lr_schedule)
        normalize.parse(self.normalize)
        trainable_of(self.freeze)

    def _check(self, name: str, expected: str, accept: Any) -> None:
        value = getattr(self, name)
        if value is not None and not accept(value):
            raise ValueError(f"Expected --{name} to be {expected}; received {value}.")

    @property
    def run_dir(self) -> str:
        """The folder of the run."""
        name = self.recipe or f"{self.dataset}_{self.method}"
        return self.workdir or f"runs/{re.sub(r'[^A-Za-z0-9.-]+', '_', name)}"

    @property
    def identity(self) -> dict[str, Any]:
        """The fields that decide what the run computes, apart from its length.

        Of a folder of images and of extra data their content decides, not their place; it is
        compared when they are read.
        """
        fields = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.metadata["identity"]
        }
        if self.dataset.startswith("folder:"):
            fields["dataset"] = "folder:"
        fields["extra_data"] = self.extra_data is not None
        warms_up_to_the_end = self.epsilon_warmup == epsilon_warmup.FULL
        if schedules.parse(self.lr_schedule).depends_on_the_end or warms_up_to_the_end:
            fields.update(epochs=self.epochs, train_steps=self.train_steps)
        return fields

    def to_json(self) -> str:
        """Returns the configuration as JSON, one field a line."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> TrainConfig:
        """Makes a configuration of :meth:`to_json`'s result.

        Raises:
            ValueError: If the text is not JSON, or names a field that does not exist.
        """
        try:
            values = json.loads(text)
        except RecursionError:
            values = None
        if not isinstance(values, dict):
            raise ValueError(f"Expected one JSON object of settings; received {text[:40]!r}...")
        names = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in names:
                raise unknown("configuration field", name, names)
        return cls(**values)

    def to_flags(self) -> str:
        """Returns the configuration as an absl flagfile."""
        lines = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "print_config" or value is None:
                continue
            text = str(value).lower() if isinstance(value, bool) else str(value)
            lines.append(f"--{field.name}={text}")
        return "\n".join(lines) + "\n"
