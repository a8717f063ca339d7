"""XML that may come from anywhere -> elements, without document types, entities or great depth."""

from __future__ import annotations

from pathlib import PurePath
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from trainer.data.records import Problems

_DEPTH = 50


class _Refused(Exception):
    pass


def parse_xml(content: bytes, name: str, problems: Problems) -> Element | None:
    """The root element, or None after noting the mistake with its line.

    A ``<!DOCTYPE`` is refused before anything in it is read: entities are how a short file becomes endless, or
    another file's content.
    """
    builder, parser = TreeBuilder(), expat.ParserCreate()
    depth = 0

    def refuse(*_: object) -> int:
        raise _Refused("document types and entities are not read")

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEPTH:
            raise _Refused(f"elements nested more than {_DEPTH} deep")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    short = PurePath(name).as_posix()
    try:
        parser.Parse(content, True)
        return builder.close()
    except expat.ExpatError as error:
        problems.error(
            "files that are not XML",
            f"{short}, line {error.lineno}: {expat.errors.messages.get(error.code, error)}",
        )
    except _Refused as error:
        problems.error("XML files that are refused", f"{short}, line {parser.CurrentLineNumber}: {error}")
    except (LookupError, ValueError, AssertionError) as error:  # an unknown encoding, no element at all
        problems.error("files that are not XML", f"{short}, line 1: {error}")
    return None
