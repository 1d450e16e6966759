"""Docstrings write references as Sphinx roles; the site's pages need links."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:func|meth|class|mod|data|attr|obj):`(~?)([\w.]+)`")


def linked(text: str, owner: str) -> str:
    """The text with every role as a reference, which stays plain code where the site does not describe its target."""

    def link(match: re.Match[str]) -> str:
        short, target = match.groups()
        shown = target.rpartition(".")[2] if short or target.startswith("bayesmlm.") else target
        full = target if target.startswith("bayesmlm.") else f"{owner}.{target}"
        return f'<autoref identifier="{full}" optional><code>{shown}</code></autoref>'

    return ROLE.sub(link, text)


class Roles(griffe.Extension):
    """Rewrites every docstring before it is read in sections."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None and obj.parent is not None:
            owner = obj.path if obj.is_class else obj.parent.path
            obj.docstring.value = linked(obj.docstring.value, owner)
