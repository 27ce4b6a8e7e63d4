"""What a training run is: one frozen dataclass, the only source of names, defaults and help.

The command line flags, ``flags.cfg`` and ``config.json`` of a run are made from it.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from rlfat_tf.core.errors import unknown
from rlfat_tf.core.norms import NORMS, STARTS
from rlfat_tf.data.augment import AUGMENTATIONS
from rlfat_tf.data.content import without_place
from rlfat_tf.data.memory import MEMORY
from rlfat_tf.data.names import check_list, folder_name
from rlfat_tf.data.reading import BACKGROUNDS
from rlfat_tf.data.view import VIEWS, View
from rlfat_tf.methods import METHODS, regularizers
from rlfat_tf.methods.average import STATISTICS
from rlfat_tf.methods.batch_norm import ATTACK_BN
from rlfat_tf.models import normalize
from rlfat_tf.models.adapted.applications import trainable_of
from rlfat_tf.run import epsilon_warmup, schedules
from rlfat_tf.run.distribution import DISTRIBUTIONS
from rlfat_tf.run.fields import check_type, expand_home, method_option, option, regularizer_option
from rlfat_tf.run.guard import ACTIONS
from rlfat_tf.run.ranges import check_ranges
from rlfat_tf.run.training_attack import TRAINING_ATTACKS, check_attack

PRECISIONS = ("float32", "bfloat16")
NO_RECIPE = "none"


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The configuration of a training run; every field is a flag of ``train.py``.

    Raises:
        ValueError: If a value is out of its range.
    """

    # What is trained on what.
    recipe: str | None = option(
        None,
        "Recipe: the name of a file of flags/, which all other flags override; list shows all, "
        "none takes none. Default: <dataset>_<method>, if there is such a recipe.",
        identity=False,
    )
    dataset: str = option(
        "digits", "Data set: its name, tfds:<name>, folder:<path> or arrays:<path>."
    )
    method: str = option("rlfat_p", "Training method.", choices=tuple(METHODS))
    model: str = option(
        "wrn-16-2",
        "Network, for instance w32-10, wrn-34-10 or small_cnn; keras:MobileNetV2 is the network "
        "of that name in keras.applications.",
    )
    weights: str | None = option(
        None,
        "Initial weights: pretrained:<name>, the folder of a run or a .keras file, each of a "
        "network that --model names; of a keras: network also imagenet (its default), none "
        "(random), or a .h5 file of its weights without the classification layer.",
    )
    freeze: str = option(
        "none",
        "Layers of a keras: network that are not trained: none (all are trained), backbone (all "
        "but the new classification layer), or but_last:<n> (all but that layer and the n "
        "layers before it).",
    )
    normalize: str = option(
        "none",
        "Normalisation of the image channels as the first layer of the network: none, cifar10, "
        "cifar100 or <means>/<deviations>, each as numbers separated by commas.",
    )
    # Where things are.
    workdir: str | None = option(
        None,
        "Folder of the run. Default: runs/<recipe> or runs/<dataset>_<method>.",
        identity=False,
    )
    data_dir: str | None = option(
        None,
        "Folder of prepared data sets of TensorFlow Datasets. Default: TensorFlow Datasets' own.",
        identity=False,
    )
    download: bool = option(True, "Whether a missing data set may be downloaded.", identity=False)
    # Data.
    memory: str = option(
        "auto",
        "Whether all images are held in memory, or each is read from disk when it is needed; "
        "auto holds them if they take at most 16 GiB and a quarter of the free memory. The results "
        "are the same.",
        choices=MEMORY,
        identity=False,
    )
    cache_dir: str | None = option(
        None,
        "Folder for indices of TFRecord files, which make the next start faster.",
        identity=False,
    )
    skip_unreadable: bool = option(
        False,
        "Continue with a warning if image files of a folder cannot be read: another image of the "
        "class takes the place of one for training, others are left out.",
        identity=False,
    )
    image_size: int | None = option(
        None, "Resize images to squares with sides of this many pixels."
    )
    view: str = option(
        "squash",
        "How images become squares: squash resizes the whole image; centre resizes the shorter "
        "side to image_size * 256/224 and cuts out the centre.",
        choices=VIEWS,
    )
    background: str = option(
        "white", "Colour behind the transparent pixels of images in a folder.", choices=BACKGROUNDS
    )
    train_examples: int | None = option(None, "Train on the first N training images only.")
    test_examples: int | None = option(
        None, "Test on the first N test images only.", identity=False
    )
    validation_fraction: float = option(
        0.1,
        "Fraction of the training images that is kept as a validation set for choosing the best "
        "checkpoint. With 0 there is no validation set, and the last checkpoint counts as the "
        "best.",
    )
    validation_examples: int | None = option(
        None,
        "Size of the validation set: the N images that follow the training images, for every "
        "seed; 0: by the fraction. A validation set that the data set brings is used instead.",
    )
    validation_every: int = option(1, "Validate after every N-th epoch.")
    augment: str = option(
        "flip",
        f"Augmentations of training images: {', '.join(AUGMENTATIONS)}. Several are joined by + "
        "and applied from left to right, with cutmix last.",
    )
    extra_data: str | None = option(
        None,
        "Additional training images, for instance generated ones: .npz files with image and "
        "label, or .npy files with <name>_labels.npy beside them, separated by commas.",
    )
    extra_share: float = option(0.7, "Fraction of every batch that is extra data.")
    extra_label_smoothing: float = option(
        0.0,
        "Label smoothing s of the extra data: with K classes a label y becomes (1 - s) y + s / K.",
    )
    # Length.
    epochs: int | None = option(50, "Number of epochs; replaces --train_steps.", identity=False)
    train_steps: int | None = option(
        None, "Number of optimizer steps; replaces --epochs.", identity=False
    )
    batch_size: int = option(128, "Number of images in a batch, over all replicas together.")
    # The attack of training.
    attack: str = option(
        "pgd", "Attack that makes the training examples.", choices=tuple(TRAINING_ATTACKS)
    )
    attack_norm: str = option(
        "linf", "Norm in which epsilon bounds the perturbation.", choices=tuple(NORMS)
    )
    epsilon: float = option(
        8 / 255,
        "Greatest perturbation, for pixels in [0, 1]: 0.03 or 8/255; in the norm l2 a length, "
        "such as 0.5.",
    )
    epsilon_warmup: str = option(
        "0",
        "Number of epochs over which epsilon, the random start and the attack steps grow "
        "linearly; full: the whole run.",
    )
    attack_steps: int = option(10, "Number of gradient steps of the attack.")
    attack_step_size: float | None = option(
        None,
        "Length of an attack step. Default: 2.5 * epsilon / attack_steps for pgd, 1.25 * "
        "epsilon for fgsm_rs, epsilon for n_fgsm.",
    )
    attack_random_start: str | None = option(
        None,
        "Random start of the attack; radial is for the norm l2 only. Default: that of the "
        "method, or uniform for an attack of one step.",
        choices=STARTS,
    )
    attack_bn: str = option(
        "eval",
        "What batch normalisation uses during the attack: eval the moving statistics; batch "
        "those of the batch; train those of the batch, and updates the moving ones.",
        choices=ATTACK_BN,
    )
    guard: str | None = option(
        None,
        "What to do when training overfits its one-step attack (catastrophic overfitting): off "
        "does nothing, stop ends training with the last good weights, rollback restores these "
        "and goes on. Default: stop for an attack of one step, otherwise off.",
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
        "Classifier that was trained without adversarial examples, a .keras file or the folder "
        "of a run; for hat.",
        identity=False,
    )
    ikl_alpha: float | None = method_option("ikl_alpha")
    ikl_beta: float | None = method_option("ikl_beta")
    ikl_temperature: float | None = method_option("ikl_temperature")
    score_beta: float | None = method_option("score_beta")
    score_c: float | None = method_option("score_c")
    regularizer: str | None = option(
        None,
        "Regularisers, which are added to the objective of any method, joined by +: "
        f"{', '.join(regularizers.REGULARIZERS)}.",
    )
    lsp_weight: float = regularizer_option("lsp_weight")
    lsp_neighbors: int = regularizer_option("lsp_neighbors")
    lsp_reading: str = regularizer_option("lsp_reading")
    lsp_layer: str | None = regularizer_option("lsp_layer")
    grad_align_weight: float = regularizer_option("grad_align_weight")
    grad_align_start: str = regularizer_option("grad_align_start")
    # The optimizer.
    optimizer: str = option(
        "adam", "Optimizer: adam, adamw or sgd; on the addons stack also tfa:<Name>."
    )
    learning_rate: float = option(1e-3, "Learning rate; with a schedule, the greatest one.")
    lr_schedule: str = option(
        "constant",
        "Learning rate schedule: constant; cosine or cosine:warmup=<epochs>; "
        "step:<epoch>,<epoch> and so on (times 0.1 at each of these epochs); "
        "onecycle:<fraction>, with the part of the run before the peak, or "
        "onecycle:<fraction>,by=epoch, constant within an epoch; cyclic:<fraction> (a triangle).",
    )
    weight_decay: float = option(
        0.0,
        "Factor of the weight decay: an L2 penalty on the weights, as in the papers; with adamw "
        "its decoupled weight decay.",
    )
    momentum: float = option(0.9, "Momentum of sgd.")
    nesterov: bool = option(False, "Use Nesterov momentum in sgd.")
    decay_exclude: str = method_option("decay_exclude", "none")
    # The frame: what composes with every method.
    ema: float = option(
        0.0,
        "Decay of a moving average of the weights; if it is above 0, the averaged weights are "
        "validated, tested and exported.",
    )
    ema_ramp: bool = option(
        True, "Use a smaller decay in the first steps: min(ema, (1 + t) / (10 + t)) in step t."
    )
    ema_warmup: float = option(
        0.0, "Number of epochs at the beginning in which the average is a copy of the weights."
    )
    ema_statistics: str = option(
        "average",
        "Moving statistics of batch normalisation in the averaged network: average averages "
        "them too, raw takes those of the trained network, refresh measures them on training "
        "images.",
        choices=STATISTICS,
    )
    awp: float = option(
        0.0,
        "Size of the adversarial weight perturbation (AWP) relative to the weights, usually "
        "0.01 or 0.005; 0: no perturbation.",
    )
    awp_warmup: float = option(0.0, "Number of epochs at the beginning without AWP.")
    # The run.
    mixed_precision: str = option(
        "float32",
        "Floating-point precision in which the network's layers compute.",
        choices=PRECISIONS,
    )
    jit_compile: bool = option(
        False,
        "Compile the training step with XLA, for GPUs. This drops the checks of values, and "
        "changes the random draws.",
    )
    seed: int = option(0, "Seed of all random draws of the run.")
    distribution: str | None = option(
        None,
        "Devices to train on: mirrored (all GPUs of this machine), multi_worker, tpu, or none "
        "(one device). Default: according to TF_CONFIG and the available devices.",
        choices=DISTRIBUTIONS,
        identity=False,
    )
    checkpoint_every: int = option(
        1000,
        "Write a backup every N steps, in addition to the one after every epoch; 0: only after "
        "epochs.",
        identity=False,
    )
    picture_every: int = option(
        0,
        "Write adversarial examples of validation images to TensorBoard after every N-th epoch; "
        "0: never.",
        identity=False,
    )
    export: bool = option(True, "Write a SavedModel of the best checkpoint.", identity=False)
    print_config: bool = option(False, "Print the configuration and exit.", identity=False)

    def __post_init__(self) -> None:
        expand_home(self)
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
        check_ranges(self)
        if self.epochs is not None and self.validation_every > self.epochs:
            raise ValueError(
                "Expected --validation_every to be at most --epochs, else no epoch is validated; "
                f"received {self.validation_every} and {self.epochs}."
            )
        View(self.image_size, self.view).check()
        check_list("--extra_data", self.extra_data)
        check_attack(self)
        regularizers.names_in(self.regularizer)
        schedules.parse(self.lr_schedule)
        normalize.parse(self.normalize)
        trainable_of(self.freeze)

    @property
    def run_dir(self) -> str:
        """The folder of the run."""
        name = self.recipe or f"{self.dataset}_{self.method}"
        return self.workdir or f"runs/{folder_name(name)}"

    @property
    def identity(self) -> dict[str, Any]:
        """The fields that decide what the run computes, apart from its length.

        Of images in one's own files their content decides, not their place: see ``data.json``.
        """
        fields = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.metadata["identity"]
        }
        fields.update(dataset=without_place(self.dataset), extra_data=self.extra_data is not None)
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
        for name in sorted(set(values) - set(names)):
            raise unknown("configuration field", name, names)
        return cls(**values)

    def to_flags(self) -> str:
        """Returns the configuration as an absl flagfile, which no recipe completes."""
        lines = [] if self.recipe else [f"--recipe={NO_RECIPE}"]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "print_config" or value is None:
                continue
            text = str(value).lower() if isinstance(value, bool) else str(value)
            lines.append(f"--{field.name}={text}")
        return "\n".join(lines) + "\n"
