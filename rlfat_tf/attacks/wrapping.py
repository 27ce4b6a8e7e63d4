"""What attacks that run another one share: on another classifier, towards a class, on pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rlfat_tf.attacks.arguments import argument, fields_of
from rlfat_tf.attacks.base import Attack, norm_of
from rlfat_tf.core.compat import keras

if TYPE_CHECKING:
    from typing_extensions import Self


def _check_attack(wrapper: Any, name: str, value: Any) -> Attack:
    if not isinstance(value, Attack):
        raise ValueError(
            f"Expected the attack that {type(wrapper).__name__} is to run, "
            f"{type(wrapper).__name__}(attack=LinfPGD(...)); received {value!r}."
        )
    if isinstance(value, Wrapping) and value.outermost:
        outer, inner = type(value).__name__, type(wrapper).__name__
        raise ValueError(
            f"Expected {outer} outside of {inner}, {outer}(attack={inner}(...)), because its "
            f"successes are counted in another way; received {value!r} inside."
        )
    return value


class Wrapping(Attack):
    """Base of the attacks that run another one; what it is bounded by is theirs too.

    Attributes:
        outermost: Whether no other may be around it.
    """

    outermost = False

    attack: Attack = argument(None, "The attack to run.", _check_attack)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_attack(self, "attack", self.attack)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes an attack of :meth:`get_config`'s result, whose attack Keras may have packed."""
        attack = config["attack"]
        if isinstance(attack, dict):
            attack = keras.saving.deserialize_keras_object(attack)
        return cls(**{**config, "attack": attack})

    @property
    def norm(self) -> str:
        """The norm of the attack's ball."""
        return norm_of(self.attack)

    @property
    def epsilon(self) -> float:
        """The radius of the attack's ball."""
        return self.attack.epsilon  # type: ignore[attr-defined]

    @property
    def reach(self) -> float:
        """How far an example of the attack may be from its image."""
        return getattr(self.attack, "reach", self.epsilon)

    @property
    def eot(self) -> int:
        """Over how many passes the attack averages."""
        return self.attack.eot  # type: ignore[attr-defined]

    @property
    def components(self) -> dict[str, Attack] | None:
        """The parts of the attack by name, each run as this runs the whole; None if it has none."""
        parts = getattr(self.attack, "components", None)
        return parts and {name: self._around(part) for name, part in parts.items()}

    def _around(self, part: Attack) -> Attack:
        if isinstance(part, Wrapping) and part.outermost:
            return part.replace(attack=self._around(part.attack))
        return self.replace(attack=part)

    def to_the_end(self) -> Self:
        """See :meth:`rlfat_tf.attacks.base.Attack.to_the_end`."""
        attack = self.attack.to_the_end()
        return self if attack is self.attack else self._with_stops(False, attack=attack)

    def _with_stops(self, stops: bool, **changes: Any) -> Self:
        found = self._replaced(**changes)
        object.__setattr__(found, "stops", stops)
        return found

    def replace(self, **changes: Any) -> Self:
        """Returns the same with arguments changed.

        Args:
            **changes: Own arguments, and arguments of the attack.
        """
        return self._with_stops(self.stops, **changes)

    def _replaced(self, **changes: Any) -> Self:
        own = {field.name: getattr(self, field.name) for field in fields_of(self)}
        own.update({name: changes.pop(name) for name in list(changes) if name in own})
        if changes:
            own["attack"] = own["attack"].replace(**changes)
        return type(self)(**own)


def attacks_in(attack: Attack) -> Iterator[Attack]:
    """Yields an attack and all that are run by it."""
    yield attack
    if isinstance(attack, Wrapping):
        yield from attacks_in(attack.attack)
    else:
        for part in (getattr(attack, "components", None) or {}).values():
            yield from attacks_in(part)


def innermost(attack: Attack) -> Attack:
    """Returns the attack that is run in the end."""
    return innermost(attack.attack) if isinstance(attack, Wrapping) else attack
