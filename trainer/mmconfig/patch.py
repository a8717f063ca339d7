"""``mm.*``: differences to any key of an MMEngine config, with list elements reached by their ``type``.

- A mapping over a mapping is merged; anything else replaces. ``_delete_: true`` drops the base's keys first (or the
  key itself, when nothing else is given).
- A mapping over a list names elements: ``RandomFlip: {prob: 0.3}`` changes every ``RandomFlip`` in it, ``0: {...}``
  the first element; ``_delete_`` removes; ``_before_`` / ``_after_`` an element's type (``_start_`` / ``_end_``)
  inserts a new one.
- A list over a tuple becomes a tuple, since YAML has none.
"""

from __future__ import annotations

import copy
from typing import Any

from trainer.config_tree.traverse import Cfg, type_name
from trainer.core.errors import ConfigError, did_you_mean

_PLACES = ("_before_", "_after_")
_ENDS = {"_start_": 0, "_end_": None}
# Absent in many bases, and always lists of elements with a type.
_LIST_KEYS = ("custom_hooks", "vis_backends", "batch_augments")


def apply_patch(cfg: Cfg, patch: Cfg, prefix: str = "mm") -> list[str]:
    """Change ``cfg`` in place; returns notes on new keys that look like misspelt ones.

    Raises:
        ConfigError: with every element of a list that couldn't be found, all at once.
    """
    errors: list[str] = []
    notes: list[str] = []
    _merge_dict(cfg, patch, prefix, errors, notes)
    if errors:
        raise ConfigError("\n".join(errors))
    return notes


def _merge_dict(target: Cfg, patch: Cfg, prefix: str, errors: list[str], notes: list[str]) -> None:
    key: Any
    for key, value in patch.items():
        if key == "_delete_":
            continue
        where = f"{prefix}.{key}"
        if isinstance(value, dict) and value.get("_delete_"):
            rest = {k: v for k, v in value.items() if k != "_delete_"}
            if rest:
                target[key] = copy.deepcopy(rest)
            elif key in target:
                del target[key]
            else:
                errors.append(
                    f"{where}._delete_: there is no {key!r} here.{did_you_mean(key, map(str, target))}"
                )
            continue
        if key not in target:
            if _is_int(key) and int(key) in target:  # YAML and the command line turn integer keys into text
                key = int(key)
            else:
                _note_new_key(target, key, where, notes)
        old = target.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            _merge_dict(old, value, where, errors, notes)
        elif isinstance(value, dict) and (
            isinstance(old, (list, tuple)) or (old is None and key in _LIST_KEYS)
        ):
            target[key] = _merge_list(old or [], value, where, errors, notes)
        else:
            target[key] = like(value, old)


def _merge_list(old: Any, patch: Cfg, where: str, errors: list[str], notes: list[str]) -> Any:
    elements = list(old)
    for name, change in patch.items():
        place = f"{where}.{name}"
        change = change if isinstance(change, dict) else {"_value_": change}
        anchor = [key for key in _PLACES if key in change]
        if anchor:
            _insert(elements, str(name), change, anchor, place, errors)
            continue
        found = _find(elements, name)
        if not found:
            names = [type_name(element) for element in elements if type_name(element)]
            hint = (
                did_you_mean(str(name), names) or f" It has: {', '.join(names) or 'no element with a type'}."
            )
            errors.append(
                f"{place}: no element of that type in the list.{hint} (_before_, _after_ insert one)"
            )
            continue
        for index in reversed(found):
            element = elements[index]
            rest = {key: value for key, value in change.items() if key != "_delete_"}
            if change.get("_delete_") and not rest:
                del elements[index]
            elif change.get("_delete_"):
                elements[index] = {"type": element.get("type", name), **copy.deepcopy(rest)}
            elif "_value_" in change:
                elements[index] = like(change["_value_"], element)
            elif isinstance(element, dict):
                _merge_dict(element, rest, place, errors, notes)
            elif isinstance(element, (list, tuple)):
                elements[index] = _merge_list(element, rest, place, errors, notes)
            else:
                elements[index] = copy.deepcopy(rest)
    return type(old)(elements)


def _insert(
    elements: list[Any], name: str, change: Cfg, anchor: list[str], place: str, errors: list[str]
) -> None:
    where = str(change[anchor[0]])
    new = {
        "type": name,
        **{k: copy.deepcopy(v) for k, v in change.items() if k not in (*_PLACES, "_delete_")},
    }
    if where in _ENDS:
        end = _ENDS[where]
        elements.insert(len(elements) if end is None else end, new)
        return
    found = _find(elements, where)
    if not found:
        names = [type_name(element) for element in elements if type_name(element)]
        errors.append(f"{place}.{anchor[0]}={where}: no such element.{did_you_mean(where, [*names, *_ENDS])}")
        return
    elements.insert(found[0] if anchor[0] == "_before_" else found[-1] + 1, new)


def like(value: Any, old: Any) -> Any:
    """``value`` in the container type of ``old``: lists become tuples where the base has tuples, at every depth."""
    if isinstance(value, list):
        inner = list(old) if isinstance(old, (list, tuple)) else []
        # Elements beyond the base's take the shape of its first, so [[a,b],[c,d]] over [(x,y)] is all tuples.
        items = [like(v, inner[min(i, len(inner) - 1)] if inner else None) for i, v in enumerate(value)]
        return tuple(items) if isinstance(old, tuple) else items
    return copy.deepcopy(value)


def _find(elements: list[Any], name: Any) -> list[int]:
    if _is_int(name):
        index = int(name)
        return [index] if -len(elements) <= index < len(elements) else []
    short = str(name).rsplit(".", 1)[-1]
    return [index for index, element in enumerate(elements) if type_name(element) == short]


def _is_int(name: Any) -> bool:
    return isinstance(name, int) or (isinstance(name, str) and name.lstrip("-").isdigit())


def _note_new_key(target: Cfg, key: Any, where: str, notes: list[str]) -> None:
    hint = did_you_mean(str(key), [str(known) for known in target])
    if hint:
        notes.append(f"{where} is a new key in the MMEngine config.{hint}")
