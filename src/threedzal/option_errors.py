"""What is wrong with an option, in one sentence instead of a page of usage."""

from __future__ import annotations

import re
from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from threedzal.errors import UserError


class OptionParser(LightningArgumentParser):
    """A parser whose errors are `UserError`s, so that a wrong option ends as every wrong input does."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UserError(option_sentence(message)) from ex


def option_sentence(message: str) -> str:
    """jsonargparse's message, several lines that name types in Python's notation, as one sentence.

    >>> option_sentence("Parser key \\"data.tau\\":\\n  Expected a <class 'float'>. Got value: much")
    'option data.tau: wanted float, got much'
    """
    found = re.match(r'Parser key "([\w.]+)":\s*', message)
    if not found:
        return " ".join(message.split())
    name, body = found[1], message[found.end() :]
    if inner := re.search(r"option ([\w.]+): (.*)", body):  # an option of this one's class: its parser has said it
        return f"option {name}.{inner[1]}: {inner[2]}"
    if unknown := re.search(r"Option '([\w.]+)' is not accepted", body):
        return f"option {name}.{unknown[1]}: there is no such option"
    kinds = re.findall(r"Expected a (typing\.Literal\[.*?\]|<class '.*?'>|dot import path)", body)
    given = re.search(r"(?:Got|Given) value: (.*)", body)
    if not kinds or not given:
        return f"option {name}: {' '.join(body.split())}"
    return f"option {name}: wanted {' or '.join(dict.fromkeys(map(_in_words, kinds)))}, got {given[1]}"


def _in_words(kind: str) -> str:
    name = re.sub(r"typing\.Literal\[(.*)\]|<class '(?:\w+\.)*(\w+)'>", r"\1\2", kind)
    return f"one of {name}" if kind.startswith("typing") else name.replace("NoneType", "null")
