"""Shell completion: Hydra's, for ``python -m trainer`` and for the installed ``trainer`` alike.

``eval "$(python -m trainer --shell-completion install=bash)"`` turns it on for the running shell.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from trainer.cli.simple_commands import SIMPLE_COMMANDS, option_names
from trainer.config.default_choices import class_of_choice
from trainer.config.override_checks import check_overrides
from trainer.config_tree.config_files import PACKAGES, list_configs
from trainer.core.errors import ConfigError
from trainer.schema import COMMANDS
from trainer.schema.choices import GROUPS, keys_of
from trainer.schema.conf_folders import Conf
from trainer.schema.fields import Field, fields_with

_BASH = """\
_trainer_completion() {
    local helper="${COMP_WORDS[0]}"
    if [[ "$helper" == *python* ]]; then
        [[ "${COMP_WORDS[1]}" == "-m" && "${COMP_WORDS[2]}" == "trainer" ]] || return
        helper="$helper -m trainer"
    fi
    local line="${COMP_LINE:0:$COMP_POINT}" choices
    choices=$(COMP_LINE="$line" $helper --shell-completion query=bash 2>/dev/null)
    COMPREPLY=($(compgen -o nospace -W "$choices" -- "${COMP_WORDS[$COMP_CWORD]}"))
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
complete -o nospace -o default -F _trainer_completion trainer python python3
"""
_SHELLS = ("bash", "zsh", "fish")


def complete(words: Sequence[str], conf: Conf) -> int:
    """``install=SHELL``, ``uninstall=`` or ``query=``: print a script, or what fits ``COMP_LINE``."""
    action, _, shell = (words[0] if len(words) == 1 else "").partition("=")
    if action not in ("install", "uninstall", "query") or shell not in _SHELLS:
        raise ConfigError(f"--shell-completion: expected install, uninstall or query = {', '.join(_SHELLS)}.")
    if action == "query":
        found = matches(os.environ.get("COMP_LINE", ""), conf)
        print("\n".join(found) if shell == "fish" else " ".join(found))
    elif shell == "bash":
        print(
            _BASH
            if action == "install"
            else "complete -r trainer python python3; unset -f _trainer_completion"
        )
    else:
        from trainer.config.hydra_loader import whole_hydra

        whole_hydra("train", conf).shell_completion("train", list(words))
    return 0


def matches(line: str, conf: Conf) -> list[str]:
    """What may follow the last word of a command line: commands, groups, choices, keys and their choices."""
    words = re.sub(r"^\s*(\S*python[\d.]*\s+-m\s+)?\S+", "", line, count=1).split()
    word = "" if line.endswith(" ") or not words else words.pop()
    if words and words[0] in SIMPLE_COMMANDS:
        return sorted(f"{name}=" for name in option_names(words[0]) if name.startswith(word))
    command = words[0] if words and words[0] in COMMANDS else "train"
    found: list[str] = []
    if not words:
        found += [*COMMANDS, *SIMPLE_COMMANDS]
    key, equals, value = word.partition("=")
    if equals:
        return [f"{key}={choice}" for choice in _values(command, key, value, words, conf)]
    given = {earlier.partition("=")[0] for earlier in words}
    found += [f"{group}=" for group in conf.groups_of(command) if group not in given]
    names = _fields(command, words, conf)
    depth = word.count(".")
    for name in names:
        parts = name.split(".")
        # A group's keys only once its name and dot are there: a hundred words at once help nobody.
        found.append(f"{name}=" if len(parts) == depth + 1 else ".".join(parts[: depth + 1]) + ".")
    return sorted({hit for hit in found if hit.startswith(word)})


def _values(command: str, key: str, value: str, words: Sequence[str], conf: Conf) -> list[str]:
    """The choices for a key that begin with ``value`` (after the last comma of a sweep)."""
    before, comma, last = value.rpartition(",")
    choices = list(conf.groups_of(command).get(key, []))
    if key == "model":
        choices = _models(last, words, conf, choices)
    elif field := _fields(command, words, conf).get(key):
        choices = list(field.choices or (["true", "false"] if "bool" in str(field.type) else []))
    return [f"{before}{comma}{choice}" for choice in choices if choice.startswith(last)]


def _fields(command: str, words: Sequence[str], conf: Conf) -> dict[str, Field]:
    """A command's fields; of a group whose choice is typed, those of that choice."""
    typed = [word.partition("=") for word in words]
    groups = conf.groups_of(command)
    classes = {
        group: class_of_choice(conf, group, choice)
        for group, _, choice in typed
        if group in GROUPS and choice in groups.get(group, ())
    }
    return {
        key: field
        for key, field in fields_with(COMMANDS[command], classes).items()
        if (group := key.partition(".")[0]) not in classes or key.partition(".")[2] in keys_of(classes[group])
    }


def _models(last: str, words: Sequence[str], conf: Conf, named: list[str]) -> list[str]:
    """Named models (of the typed task), or, after a package's name, the next part of a config's path."""
    package, slash, rest = last.partition("/")
    if slash and package in PACKAGES:
        depth = rest.count("/") + 1
        inside = [name.split("/") for name in list_configs(package) if name.startswith(rest)]
        return sorted({f"{package}/{'/'.join(p[:depth])}{'/' if len(p) > depth else ''}" for p in inside})
    checked = check_overrides("train", [word for word in words if word.startswith("task=")], conf)
    tasks = [typed.value for typed in checked.overrides if typed.key == "task"]
    if tasks:
        from trainer.zoo.model_names import ModelNames

        named = [model.name for model in ModelNames(conf).named if tasks[0] in model.tasks]
    return [*named, *(f"{name}/" for name in PACKAGES)]
