"""How the classes of this folder declare a field: its default, limits and meaning, and the class of a choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, ClassVar


def typed_field(
    default: Any = None,
    doc: str = "",
    *,
    choices: Sequence[str] | Callable[[], Sequence[str]] | None = None,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    kind: str | None = None,
    tasks: tuple[str, ...] | None = None,
) -> Any:
    """Declare a field of a configuration dataclass.

    Args:
        default: the value without a file or an override that sets it.
        doc: one line of help.
        choices: the values it takes, or a function that lists them when they are needed (plug-ins add some).
        ge: the smallest value. Limits hold for each number of a list.
        gt: the value must be greater than this.
        le: the largest value.
        kind: a form that Python's types can't express: ``size`` (an integer or ``[width, height]``), ``path``,
            ``pair`` (two numbers), ``range`` (two numbers, smallest first), ``ascending``, ``resume``, ``choice`` (the
            name of a group's choice, set by choosing it) ...; :mod:`trainer.schema.fields` checks them.
        tasks: the tasks that use the field; None for all.
    """
    limits = {"choices": choices, "ge": ge, "gt": gt, "le": le, "kind": kind, "tasks": tasks}
    metadata = {"doc": doc, **{name: value for name, value in limits.items() if value is not None}}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


class Choice:
    """Base of the dataclasses of a group whose choices have keys of their own.

    The group's base class makes an instance of the class that belongs to the name it is given, as ``pathlib.Path``
    makes one of the system's class:

    >>> from trainer.schema import LauncherConfig
    >>> type(LauncherConfig(name="slurm", partition="gpu")).__name__
    'SlurmConfig'

    Attributes:
        group: the group of ``conf/``; only the base class sets it.
        key: the field that names the choice.
        unused: inherited fields that this choice doesn't read. They are refused as keys.
    """

    group: ClassVar[str]
    key: ClassVar[str] = "name"
    unused: ClassVar[frozenset[str]] = frozenset()
    find_class: ClassVar[Callable[[str, str, str], type]]  # choices.py sets it, which knows all classes

    if TYPE_CHECKING:
        # Whoever serves a choice reads the fields of its class from a value that is typed as the group's base.
        def __getattr__(self, name: str) -> Any: ...

    def __new__(cls, *values: Any, **named: Any) -> Any:
        """Make an instance of the class that the choice's name selects."""
        if "group" not in vars(cls) or not (values or named):
            return object.__new__(cls)
        default = getattr(cls, cls.key)
        name = named.get(cls.key, values[0] if values and cls.key == "name" else default)
        return object.__new__(Choice.find_class(cls.group, str(name), str(named.get("type") or "")))
