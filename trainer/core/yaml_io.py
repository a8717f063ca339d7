"""YAML as OmegaConf reads it, with the C parser where PyYAML has it (ten times as fast)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from trainer.core.errors import ConfigError

_FLOAT = re.compile(
    r"^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|[-+]?\.[0-9_]+(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe, with ``1e-3`` a number, dates left as text, and a key given twice an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if not tag.endswith((":timestamp", ":float"))]
    for first, forms in Loader.yaml_implicit_resolvers.items()
}
# Before the others, where integers would otherwise take the first characters of 1_0e5.
Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping."""
    return parse_yaml(path.read_text(encoding="utf-8"), str(path))


def parse_yaml(text: str, name: str = "YAML") -> dict[str, Any]:
    """The mapping in a text; :class:`ConfigError` with the line where it is none."""
    content = parse_any(text, name)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{name}: expected a mapping of keys to values, got {type(content).__name__}.")
    return content


def parse_any(text: str, name: str = "YAML") -> Any:
    """Whatever a text holds; :class:`ConfigError` with the line where it is no YAML."""
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name} is no valid YAML: {' '.join(str(error).split())}") from None


def dump_yaml(content: Any) -> str:
    """YAML that :func:`parse_yaml` reads back as ``content``."""
    return str(
        yaml.dump(content, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False)
    )


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Quotes text that would be read back as something else (1e3, off)."""


def _text(dumper: Any, value: str) -> yaml.Node:
    quoted = not isinstance(yaml.load(value, Loader) if _PLAIN.fullmatch(value) else "", str)
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="'" if quoted else None)


_PLAIN = re.compile(r"[\w.+:-]+")
_Dumper.add_representer(str, _text)
