"""The configuration of an evaluation: what ``eval.py`` takes, and how it is completed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlfat_tf.attacks.arguments import check_epsilon
from rlfat_tf.attacks.autoattack import COMPONENTS
from rlfat_tf.attacks.targeted import class_number
from rlfat_tf.core.errors import unknown
from rlfat_tf.core.norms import NORMS
from rlfat_tf.data.corruptions import BENCHMARK, parse
from rlfat_tf.data.memory import MEMORY
from rlfat_tf.data.names import folder_name
from rlfat_tf.data.reading import BACKGROUNDS
from rlfat_tf.data.subset import SUBSETS
from rlfat_tf.data.view import VIEWS
from rlfat_tf.evaluation import suite
from rlfat_tf.methods.inference import BACKWARDS, FORMS
from rlfat_tf.models import zoo
from rlfat_tf.run.eval_flags import check_attacks, check_checkpoint
from rlfat_tf.run.fields import expand_home, option
from rlfat_tf.run.ranges import IN_31_BITS
from rlfat_tf.run.workdir import read_config
from rlfat_tf.storage import checkpoint

PROTOCOLS = ("paper",)
PAPER_NATTACK_EXAMPLES = 1500


def setting(name: str) -> Any:
    """The option that is a setting of the attacks, as :class:`suite.Settings` declares it."""
    field = {field.name: field for field in dataclasses.fields(suite.Settings)}[name]
    found = {key: field.metadata[key] for key in ("help", "choices")}
    # What depends on the radius is checked where that is known, of choices the name.
    alone = not (found["choices"] or field.metadata["derive"])
    check = field.metadata["check"] if alone else None
    return dataclasses.field(
        default=field.default, metadata={**found, "identity": True, "check": check}
    )


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """The configuration of an evaluation; every field is a flag of ``eval.py``.

    What is not given is that of the run in ``workdir``; :meth:`completed` fills it in.
    """

    # What is evaluated, on what.
    workdir: str | None = option(None, "Folder of the run to evaluate.")
    model_path: str | None = option(
        None,
        "Model to evaluate instead of a run: a .keras file, a SavedModel, or pretrained:<name> "
        "for a network that comes with the library.",
    )
    checkpoint: str = option(
        "best", "Which checkpoint of the run to evaluate.", choices=checkpoint.CHECKPOINTS
    )
    dataset: str | None = option(None, "Data set. Default: that of the run.")
    data_dir: str | None = option(
        None, "Folder of prepared data sets of TensorFlow Datasets. Default: that of the run."
    )
    download: bool = option(True, "Whether a missing data set may be downloaded.")
    image_size: int | None = option(
        None, "Resize images to squares with sides of this many pixels. Default: as in the run."
    )
    view: str | None = option(
        None, "How images become squares. Default: as in the run, otherwise squash.", choices=VIEWS
    )
    memory: str = option(
        "auto",
        "Whether all images are held in memory, or each is read from disk when it is needed; "
        "auto holds them if they take at most 16 GiB and a quarter of the free memory. The results "
        "are the same.",
        choices=MEMORY,
    )
    cache_dir: str | None = option(
        None, "Folder for indices of TFRecord files, which make the next start faster."
    )
    skip_unreadable: bool | None = option(
        None,
        "Leave out image files of a folder that cannot be read. Default: as in the run, "
        "otherwise they are an error.",
    )
    background: str | None = option(
        None,
        "Colour behind the transparent pixels of images in a folder. Default: as in the run, "
        "otherwise white.",
        choices=BACKGROUNDS,
    )
    test_examples: int | None = option(
        None, "Evaluate on N test images only; --test_subset says which."
    )
    test_subset: str = option(
        "first",
        "Which N test images: the first ones, or a stratified sample, in which every class has "
        "its share.",
        choices=SUBSETS,
    )
    subset_seed: int = option(
        0,
        "Seed of the stratified sample. It does not depend on the run, so that several models "
        "are evaluated on the same images.",
    )
    batch_size: int = option(
        128, "Number of images that are attacked at once; this changes the speed, not the results."
    )
    seed: int | None = option(None, "Seed of the attacks. Default: that of the run.")
    # By what.
    attacks: str = option(
        "clean,pgd,autoattack",
        f"Attacks, separated by commas: clean, {', '.join(suite.EVALUATION_ATTACKS)}.",
    )
    protocol: str | None = option(
        None,
        "Preset of attacks and their steps: paper is the evaluation of the RLFAT paper's code.",
        choices=PROTOCOLS,
    )
    epsilon: tuple[float, ...] | None = option(
        None,
        "Greatest perturbation, for pixels in [0, 1], or several separated by commas: "
        "4/255,8/255. Default: that of the run, if --norm is the norm of the run.",
    )
    norm: str | None = option(
        None,
        "Norm in which epsilon bounds the perturbation. Default: that of the run, otherwise linf.",
        choices=tuple(NORMS),
    )
    steps: int = setting("steps")
    step_size: float | None = setting("step_size")
    restarts: int = setting("restarts")
    loss: str = setting("loss")
    budget: float = setting("budget")
    eot: int | None = setting("eot")
    targeted: str | None = option(
        None,
        "Run targeted attacks, towards this class: its name or number, least_likely or random. "
        "Their success rates are reported in a separate table.",
    )
    pixels: str = setting("pixels")
    autoattack: str = setting("version")
    autoattack_parts: str | None = option(
        None,
        f"Parts of AutoAttack's version custom, separated by commas: {', '.join(COMPONENTS)}.",
    )
    source_model: str | None = option(
        None,
        "For the attack transfer, the model on which adversarial examples are made: a run, a "
        ".keras file or a SavedModel. Of several, separated by commas, the mean of the logits "
        "is attacked.",
    )
    cascade: bool = option(
        False,
        "Run each attack only on the images that no earlier attack within epsilon has broken. The "
        "worst case is the same and costs less; the accuracies of the single attacks are then "
        "cumulative.",
    )
    inference: str | None = option(
        None,
        "For a run of atld: evaluate its inference transform, under attacks that know the "
        "transform and attacks that do not.",
        choices=("all", *FORMS),
    )
    inference_backward: str = option(
        "bpda",
        "What attacks that know the inference transform differentiate in its place.",
        choices=BACKWARDS,
    )
    corruptions: str | None = option(
        None,
        "Also measure accuracy on corrupted images: benchmark (15 corruptions), extra (4), all, "
        "or names and name:severity separated by commas.",
    )
    corruption_dir: str | None = option(
        None,
        "Folder of CIFAR-10-C, CIFAR-100-C or ImageNet-C. Default: the corruptions are computed "
        "from the test images.",
    )
    corruption_baseline: str | None = option(
        None,
        "Model whose errors the mCE is relative to: the folder of its report, or alexnet for "
        "ImageNet-C.",
    )
    # What is reported.
    report_dir: str | None = option(
        None, "Folder of the report. Default: evaluation/ in the folder of the run."
    )
    overwrite: bool = option(
        False, "Replace the report of another configuration in the same folder."
    )
    checks: bool = option(
        True, "Whether the evaluation is checked for reasons to doubt it, such as masked gradients."
    )
    pictures: bool = option(
        True, "Whether the report gets pictures, and the measurements that they show."
    )
    compare: str | None = option(
        None,
        "Further models for the salience maps: runs, .keras files or SavedModels, separated by "
        "commas.",
    )
    against: str | None = option(
        None,
        "Folder of another report of the same images and attacks, with which this one is "
        "compared image by image.",
    )
    brightness: tuple[float, ...] = option(
        (-0.3, -0.15, 0.15, 0.3),
        "Changes of brightness for which the sensitivity of the loss is measured.",
    )
    gamma: tuple[float, ...] = option(
        (0.5, 0.75, 1.5, 2.0), "Gamma exponents for which the sensitivity of the loss is measured."
    )

    def __post_init__(self) -> None:
        expand_home(self)
        if (self.workdir is None) == (self.model_path is None):
            raise ValueError(
                "Expected one of --workdir (the folder of a run) and --model_path (a .keras file "
                "or a SavedModel)."
            )
        for field in dataclasses.fields(self):
            value, choices = getattr(self, field.name), field.metadata["choices"]
            if choices and value is not None and value not in choices:
                raise unknown(f"value of --{field.name}:", value, choices)
            if field.metadata.get("check") and value is not None:
                field.metadata["check"](self, f"--{field.name}", value)
        check_attacks(self.attacks, self.targeted)
        if self.corruptions is not None:
            cells = parse(self.corruptions)
            if self.corruption_baseline is not None and not set(BENCHMARK) <= {
                name for name, _ in cells
            }:
                raise ValueError(
                    "--corruption_baseline needs all 15 corruptions of the benchmark: "
                    "--corruptions=benchmark or all."
                )
            if self.corruption_dir is not None and self.test_subset == "stratified":
                raise ValueError(
                    "--corruption_dir takes the first examples of every file of corrupted images, "
                    "which are not those of --test_subset=stratified. Leave that flag out."
                )
        elif self.corruption_dir is not None or self.corruption_baseline is not None:
            raise ValueError(
                "--corruption_dir and --corruption_baseline need --corruptions: "
                "--corruptions=benchmark, for instance."
            )
        for name in ("image_size", "test_examples", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"Expected --{name} to be at least 1; received {value}.")
        if self.epsilon is not None:
            if not self.epsilon:
                raise ValueError("Expected at least one number in --epsilon.")
            for epsilon in self.epsilon:  # of a run whose norm is not known yet, any length
                check_epsilon(epsilon, self.norm or ("l2" if self.workdir else "linf"))
            if len(set(self.epsilon)) < len(self.epsilon):
                raise ValueError(
                    f"Expected different numbers in --epsilon; received {self.epsilon}."
                )
        for name in ("seed", "subset_seed"):
            value = getattr(self, name)
            if value is not None and not IN_31_BITS.holds(value):
                raise ValueError(f"Expected --{name} to be {IN_31_BITS.text}; received {value}.")
        if not all(0 < exponent < math.inf for exponent in self.gamma):
            raise ValueError(f"Expected exponents above 0 in --gamma; received {self.gamma}.")
        if not all(map(math.isfinite, self.brightness)):
            raise ValueError(f"Expected numbers in --brightness; received {self.brightness}.")
        if (self.model_path or "").startswith(zoo.PREFIX):
            zoo.card_of(str(self.model_path))
        elif self.model_path is not None and (self.dataset is None or self.epsilon is None):
            raise ValueError("--model_path also needs --dataset and --epsilon.")
        parts = self._parts
        if (self.autoattack == "custom") != bool(parts):
            raise ValueError(
                "Expected --autoattack_parts with --autoattack=custom and only there; received "
                f"--autoattack={self.autoattack} and --autoattack_parts={self.autoattack_parts}."
            )
        for part in parts:
            if part not in COMPONENTS:
                raise unknown("value of --autoattack_parts:", part, COMPONENTS)
        if self.norm == "l2" and self.inference is not None:
            raise ValueError(
                "--inference needs --norm=linf: epsilon is also the length of the transform's step."
            )
        if self.test_subset != "first" and self.test_examples is None:
            raise ValueError(
                f"--test_subset={self.test_subset} also needs --test_examples: how many to choose."
            )
        if self.targeted is not None and self.inference is not None:
            raise ValueError(
                "--inference compares robust accuracies, which --targeted has none of: give one of "
                "the two."
            )
        if self.protocol == "paper" and self.workdir is None:
            raise ValueError("--protocol=paper needs --workdir: its steps are those of the run.")

    @property
    def _parts(self) -> tuple[str, ...]:
        """The parts of AutoAttack's version custom."""
        named = (part.strip() for part in (self.autoattack_parts or "").split(","))
        return tuple(part for part in named if part)

    @property
    def path(self) -> str:
        """Where the model is."""
        return str(self.workdir or self.model_path)

    @property
    def folder(self) -> Path:
        """Where the report goes."""
        if self.report_dir is not None:
            return Path(self.report_dir)
        if self.workdir is not None:
            return Path(self.workdir) / "evaluation"
        return Path("evaluation") / folder_name(self.path).strip("_.")

    @property
    def limits(self) -> dict[str, int]:
        """On how many of the first examples an attack runs, where not on all."""
        return {"nattack": PAPER_NATTACK_EXAMPLES} if self.protocol == "paper" else {}

    def completed(self) -> EvalConfig:
        """Returns the configuration with what the run or the card and the protocol say filled in.

        Raises:
            FileNotFoundError: If there is no such run.
            ValueError: If what is given does not go with the model.
        """
        check_checkpoint(self.checkpoint, self.model_path)
        known: dict[str, Any] = {"seed": 0, "norm": "linf"}
        run = None
        if self.workdir is not None:
            checkpoint.model_path(self.workdir, self.checkpoint)  # complains before anything else
            run = read_config(self.workdir)
            names = ("dataset", "data_dir", "image_size", "view", "skip_unreadable", "background")
            known = {name: getattr(run, name) for name in (*names, "seed")}
            known.update(norm=run.attack_norm, epsilon=(run.epsilon,))
        elif self.epsilon is None or self.dataset is None:
            card = zoo.card_of(str(self.model_path))
            known.update(dataset=card.dataset, norm=card.norm, epsilon=(card.epsilon,))
        if self.epsilon is None and self.norm not in (None, known["norm"]):
            raise ValueError(
                f"--norm={self.norm} also needs --epsilon: the model's is a radius in the norm "
                f"{known['norm']}. Usual on CIFAR-10 is "
                f"--epsilon={NORMS[self.norm].usual_epsilon:.3g}."
            )
        found = {name: value for name, value in known.items() if getattr(self, name) is None}
        if run is not None and self.protocol == "paper":
            size = 2.5 * run.epsilon / run.attack_steps
            of_paper = {
                "attacks": "clean,pgd,cw,nattack",
                "steps": run.attack_steps,
                "step_size": run.attack_step_size or size,
            }
            for name, value in of_paper.items():
                here = getattr(self, name)
                if here not in (value, getattr(EvalConfig, name)):
                    raise ValueError(
                        f"--protocol=paper has --{name}={value}, as the paper and the run say; "
                        f"received {here}. Leave one of the two flags out."
                    )
            found.update(of_paper)
        return dataclasses.replace(self, **found)

    def settings(
        self, source: Any = None, class_names: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Returns the settings of the attacks, see :class:`rlfat_tf.evaluation.suite.Settings`.

        Args:
            source: The classifier on which transfer makes its examples.
            class_names: Of the data set, for a target that is a class; None: not known yet, and
                the first class stands in for a class of that name.

        Raises:
            ValueError: If the target is no class.
        """
        names = ("steps", "step_size", "restarts", "loss", "budget", "eot", "pixels")
        known = [str(self.targeted)] if class_names is None else class_names
        return {
            **{name: getattr(self, name) for name in names},
            "targeted": class_number(self.targeted, known),
            "version": self.autoattack,
            "custom": self._parts,
            "source": source,
        }
