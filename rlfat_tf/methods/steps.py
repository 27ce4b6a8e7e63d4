"""A step of training and a step of evaluation, the same for all methods.

The loss of a step is the sum of per-example losses over the *global* batch, divided by its size:
the optimizers add the gradients of the replicas, so this is right on one device and on many.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any, Callable

import tensorflow as tf

from rlfat_tf.core import compat, losses, random
from rlfat_tf.core.checks import checked_images, checked_labels, checked_logits
from rlfat_tf.core.compat import keras
from rlfat_tf.core.model_checks import image_shape
from rlfat_tf.core.types import Images, Labels, Logits, Tensor
from rlfat_tf.methods.averaged_model import AveragedModel
from rlfat_tf.methods.batch_norm import attack_forward
from rlfat_tf.methods.finite import finite_gradients, finite_or_stop
from rlfat_tf.methods.objective import Batch, Objective, global_batch_size, weighted
from rlfat_tf.methods.weight_decay import excluded_from_decay

TRAIN, TEST = 0, 1  # Folded into the seed, so that training and evaluation draw apart.
ATTACK_DRAW, SHUFFLE_DRAW, METHOD_DRAW = 0, 1, 2


class AdversarialSteps(AveragedModel):
    """``train_step`` and ``test_step`` of :class:`rlfat_tf.AdversarialModel`, and what they log."""

    def batch_objective(
        self,
        images: Images,
        adversarial: Images | None,
        labels: Labels,
        seed: random.Seed,
        training: bool,
    ) -> Objective:
        """Evaluates the objective on given adversarial images, with the RBS draw of the seed."""

        def logits(inputs: Images) -> Logits:
            found = self.logits(inputs, training=training)
            unsure = not isinstance(compat.last_layer(self.model), keras.layers.Dense)
            return checked_logits(found, f"The model {self.model.name!r}", may_be_softmax=unsure)

        shuffle_seed = seed.fold(SHUFFLE_DRAW)
        shuffle = functools.partial(self.shuffle, seed=shuffle_seed)
        scale = self.epsilon_scale() if training else None
        attack_bn = self.attack_bn if training else "eval"
        draws = seed.fold(METHOD_DRAW)
        batch = Batch(images, adversarial, labels, shuffle, draws, scale, attack_bn)
        result = self.objective(logits, batch)
        if not self.built:  # Keras notices calls of this model only, not of the one inside
            self.build(compat.input_shape(self.model))
        for regularizer in self.regularizers:
            term = regularizer(self.model, batch, training=training)
            result = result._replace(
                loss=result.loss + regularizer.weight * term,
                terms={**result.terms, regularizer.term: term},
            )
        return result

    # Training and evaluation steps.

    def train_step(self, data: Any) -> dict[str, Any]:
        """One optimisation step on a batch; see ``keras.Model.train_step``."""
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        images, labels = self._checked(images, labels)
        step = tf.convert_to_tensor(compat.batches_seen(self.optimizer))
        updates = tf.convert_to_tensor(compat.updates_made(self.optimizer))
        seed = random.replica_seed(self.seed, TRAIN, step)
        attacked = losses.without_smoothing(labels)
        adversarial = self.adversarial_examples(images, attacked, seed.fold(ATTACK_DRAW))

        def losses_of_batch() -> tuple[Objective, Tensor, Tensor]:
            result = self.batch_objective(images, adversarial, labels, seed, training=True)
            per_example = weighted(result.loss, weights)
            return result, per_example, tf.reduce_sum(per_example) / global_batch_size(per_example)

        with self._perturbed_weights(lambda: losses_of_batch()[-1], updates):
            with tf.GradientTape() as tape:
                result, per_example, loss = losses_of_batch()
                penalty = self._penalty(per_example.dtype)
                loss += penalty / tf.distribute.get_strategy().num_replicas_in_sync
                scaled = compat.scaled_loss(self.optimizer, loss)
            variables = self.trainable_variables
            with finite_or_stop(loss, step):
                gradients = finite_gradients(tape.gradient(scaled, variables), step)
        self.optimizer.apply_gradients(zip(gradients, variables))
        self.after_update(result, labels)
        made = None
        if compat.accumulates(self.optimizer):
            made = compat.updates_made(self.optimizer) > updates
        self.update_average(updates, made)
        self._means.update(result, per_example + penalty, labels, weights)
        return self._logs(result, images, labels, result.clean_logits, weights)

    def test_step(self, data: Any) -> dict[str, Any]:
        """One evaluation step on a batch: the objective, clean and adversarial accuracy."""
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        images, labels = self._checked(images, labels)
        seed = random.replica_seed(self.seed, TEST)
        clean_logits = self.logits(images, training=False)
        if not self._evaluates_objective:
            found = self.compute_metrics(images, labels, clean_logits, weights)
            return {name: value for name, value in found.items() if name not in self.trackers}
        adversarial = adversarial_logits = None
        if self.eval_attack is not None:
            with attack_forward(self.model, "eval") as logits:
                attacked, draw = losses.without_smoothing(labels), seed.fold(ATTACK_DRAW)
                adversarial = self.eval_attack(logits, images, attacked, seed=draw, checked=True)
            adversarial_logits = self.logits(adversarial, training=False)
        result = self.batch_objective(images, adversarial, labels, seed, training=False)
        result = result._replace(adversarial_logits=adversarial_logits)
        per_example = weighted(result.loss, weights) + self._penalty(result.loss.dtype)
        self._means.update(result, per_example, labels, weights)
        return self._logs(result, images, labels, clean_logits, weights)

    def _perturbed_weights(self, loss_of: Callable[[], Tensor], step: Tensor) -> Any:
        """Moves the weights for the gradient of a step, if the method is to do so."""
        if self.weight_perturbation is None:
            return contextlib.nullcontext()
        return self.weight_perturbation.perturbed(self.model, loss_of, step)

    def _checked(self, images: Images, labels: Labels) -> tuple[Images, Labels]:
        """Images and labels of a batch, checked here once for all that a step computes of them."""
        labels = checked_labels(labels, self.num_classes, soft=self.takes_soft_labels)
        images = checked_images(images)
        shape = image_shape(self.model)  # known where generators and decoders leave none
        return images if shape is None else tf.ensure_shape(images, [None, *shape]), labels

    def _penalty(self, dtype: Any) -> Tensor:
        """Weight decay and the classifier's own regularisers, one number for the whole batch."""
        penalty = tf.add_n([tf.cast(x, dtype) for x in self.model.losses] or [tf.zeros([], dtype)])
        if self.weight_decay:
            excluded = {id(v) for v in excluded_from_decay(self.model, self.decay_exclude)}
            decayed = [v for v in self.trainable_variables if id(v) not in excluded]
            squares = [tf.nn.l2_loss(v) for v in decayed] or [tf.zeros([], dtype)]
            penalty += self.weight_decay * tf.cast(tf.add_n(squares), dtype)
        return penalty

    def _logs(
        self, result: Objective, images: Images, labels: Labels, clean_logits: Any, weights: Any
    ) -> dict[str, Any]:
        """Returns the metrics that have a meaning in this step, and no others."""
        compiled = {}
        if clean_logits is not None:
            compiled = self.compute_metrics(images, labels, clean_logits, weights)
        own = {name: tracker.result() for name, tracker in self.trackers.items()}
        if result.adversarial_logits is None:
            del own["adv_accuracy"]
        return {**{k: v for k, v in compiled.items() if k not in self.trackers}, **own}

    @property
    def metrics(self) -> list[Any]:
        """The running means of this model and the compiled metrics, all reset every epoch."""
        return [*self.trackers.values(), *self._others]

    @property
    def metrics_names(self) -> list[str]:
        """The names of what ``evaluate`` and ``test_on_batch`` return where that is a list."""
        own = list(self.trackers) if self._evaluates_objective else []
        if self.eval_attack is None and own:
            own.remove("adv_accuracy")
        return [*own, *compat.names_in_logs(self._others)]

    @property
    def _others(self) -> list[Any]:
        """The compiled metrics."""
        # Keras 3 has a tracker "loss" of its own, which only its own train_step updates.
        others = [metric for metric in super().metrics if metric.name not in self.trackers]
        return compat.metrics_with_result(others)

    @property
    def _evaluates_objective(self) -> bool:
        """Whether an evaluation has what the objective is computed from."""
        return self.eval_attack is not None or self.perturbation is None

    @property
    def trackers(self) -> dict[str, Any]:
        """The running means of an epoch, by their names in the logs."""
        return self._means.trackers
