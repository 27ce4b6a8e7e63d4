"""Lets the reference show the arguments of attacks, methods and configurations (mkdocs.yml).

They are declared as ``steps: int = count(10, "Gradient steps.")``: the text is an argument of the
call, which a reader of source code does not take for documentation.
"""

from __future__ import annotations

import ast
from typing import Any

import griffe

DECLARED_BY = ("argument", "choice", "count", "number", "option", "setting", "method_option")


class DeclaredFields(griffe.Extension):
    """Takes the help text of a declared field for its docstring, and its default for its value."""

    def on_attribute_instance(self, *, node: Any, attr: griffe.Attribute, **_: Any) -> None:
        """Looks at one assignment of a class body."""
        call = getattr(node, "value", None)
        named = isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        if not named or call.func.id not in DECLARED_BY or len(call.args) < 2:
            return
        text = call.args[1]
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            attr.docstring = griffe.Docstring(text.value, parent=attr)
            attr.value = ast.unparse(call.args[0])
