"""Lets the reference show the arguments of attacks, methods and configurations (mkdocs.yml).

They are declared as ``steps: int = count(10, "Gradient steps.")``: the text is an argument of the
call, which a reader of source code does not take for documentation. Those of attacks, methods and
regularisers become parameters of their class, with what its bases declare; those of a configuration
stay attributes.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import griffe

SETTINGS = ("option", "setting")
ARGUMENTS = (
    "argument",
    "choice",
    "count",
    "number",
    "size",
    "start_kind",
    "step_length",
    "switch",
)
FIXED = ("fixed", "fixed_length")
OPTIONS = re.compile(r"^ {4}\*\*options:.*\n(?: {8}.*\n)*", re.M)  # whose place they take
SECTION = re.compile(r"^Args:\n(?:(?: {4}.*)?\n|(?: {4}.+)\Z)+", re.M)
ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`[~.]?([^`]+)`")  # Sphinx's, no Markdown


class Declared(NamedTuple):
    """An argument: what it means and its default, as they are written."""

    text: str
    default: str
    type: Any = None


class DeclaredFields(griffe.Extension):
    """Takes the help texts of declared fields for documentation."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str], ast.Call] = {}  # by path of the class and name
        self._functions: dict[str, ast.FunctionDef] = {}  # those that make a field, by name

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Writes roles such as :class:`X` as Markdown; hides what only refers to a base."""
        if obj.docstring is None:
            return
        if obj.is_function and obj.docstring.value.startswith("See :meth:"):
            obj.docstring = None
        else:
            obj.docstring.value = ROLE.sub(r"`\1`", obj.docstring.value)

    def on_attribute_instance(self, *, node: Any, attr: griffe.Attribute, **_: Any) -> None:
        """Looks at one assignment of a class body."""
        call = getattr(node, "value", None)
        if not isinstance(call, ast.Call) or attr.parent is None or not attr.parent.is_class:
            return
        self._calls[attr.parent.path, attr.name] = call
        found = self._declared(call, SETTINGS)
        if found is not None:
            attr.docstring = griffe.Docstring(found.text, parent=attr)
            attr.value = found.default

    def on_function_node(self, *, node: Any, **_: Any) -> None:
        """Keeps the functions whose calls without arguments declare a field."""
        if isinstance(node, ast.FunctionDef) and not node.args.args:
            self._functions[node.name] = node

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Gives every class its arguments, when all its bases are known."""
        found = {cls: self._arguments(cls) for cls in _classes(pkg)}
        signatures = {cls: list(cls.parameters) for cls in found}
        for cls, arguments in found.items():
            if arguments:
                _document(cls, arguments)
                _extend(cls, signatures[cls], arguments)

    def _arguments(self, cls: griffe.Class) -> dict[str, Declared]:
        """Returns the arguments of a class, those of its bases first.

        A base that writes its constructor itself tells of its own arguments.
        """
        bases: list[griffe.Class] = []
        for base in cls.mro():
            if "__init__" in base.members:
                break
            bases.append(base)
        found: dict[str, Declared] = {}
        for base in [*reversed(bases), cls]:
            for name in base.members:
                call = self._calls.get((base.path, name))
                declared = None if call is None else self._declared(call, ARGUMENTS)
                if declared is not None:
                    found[name] = declared._replace(type=base.members[name].annotation)
                elif call is not None and _name(call) in FIXED:
                    found.pop(name, None)
        return found

    def _declared(self, call: ast.Call, by: tuple[str, ...]) -> Declared | None:
        """Returns what a call declares; None if it is no call of these functions."""
        if _name(call) == "flag_of":  # of an option whose flag has another name
            inner = call.args[1]
            return self._declared(inner, by) if isinstance(inner, ast.Call) else None
        function = None if call.args else self._functions.get(_name(call))
        if function is not None:  # radius(), which is the same in every attack
            return next(
                (
                    found
                    for inner in ast.walk(function)
                    if isinstance(inner, ast.Call)
                    and (found := self._declared(_with_values(inner, function), by))
                ),
                None,
            )
        if _name(call) not in by:
            return None
        begins_with_default = _name(call) != "step_length"
        texts = [_text(argument) for argument in call.args[begins_with_default:]]
        text = next(filter(None, texts), None)
        if text is None:
            return None
        return Declared(text, ast.unparse(call.args[0]) if begins_with_default else "None")


def _text(argument: ast.expr) -> str:
    """Returns a help text, with an ellipsis for names that it is filled with; else nothing."""
    if isinstance(argument, ast.JoinedStr):
        return "".join(_text(part) or "\N{HORIZONTAL ELLIPSIS}" for part in argument.values)
    found = argument.value if isinstance(argument, ast.Constant) else None
    return found if isinstance(found, str) else ""


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _document(cls: griffe.Class, arguments: dict[str, Declared]) -> None:
    """Adds the arguments to the docstring of a class, after those that it describes itself."""
    text = "" if cls.docstring is None else OPTIONS.sub("", f"{cls.docstring.value}\n")
    lines = "".join(f"    {name}: {found.text}\n" for name, found in arguments.items())
    written = SECTION.search(text)
    if written is None:
        text = f"{text}\n\nArgs:\n{lines}"
    else:
        text = f"{text[: written.end()].rstrip()}\n{lines}\n{text[written.end() :]}"
    cls.docstring = griffe.Docstring(text, parent=cls, parser="google")


def _extend(
    cls: griffe.Class, known: list[griffe.Parameter], arguments: dict[str, Declared]
) -> None:
    """Adds the arguments to the constructor of a class, in place of ``**options``.

    Args:
        cls: The class.
        known: The parameters of its constructor as it is written, which a base may have.
        arguments: What the class and its bases declare.
    """
    variadic = griffe.ParameterKind.var_keyword
    added = [
        griffe.Parameter(
            name,
            annotation=found.type,
            kind=griffe.ParameterKind.keyword_only,
            default=found.default,
        )
        for name, found in arguments.items()
    ]
    this = griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)
    written = [p for p in known or [this] if p.name not in (*arguments, "options")]
    rest = [p for p in written if p.kind is variadic]
    parameters = [*(p for p in written if p.kind is not variadic), *added, *rest]
    if "__init__" in cls.members:
        cls.members["__init__"].parameters = griffe.Parameters(*parameters)
    else:
        constructor = griffe.Function("__init__", parameters=griffe.Parameters(*parameters))
        cls.set_member("__init__", constructor)


def _with_values(call: ast.Call, function: ast.FunctionDef) -> ast.Call:
    """Returns a call with the constants that its function assigns in place of their names."""
    values = {
        target.id: node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    args = [values.get(arg.id, arg) if isinstance(arg, ast.Name) else arg for arg in call.args]
    return ast.Call(func=call.func, args=args, keywords=call.keywords)


def _classes(module: griffe.Module) -> Iterator[griffe.Class]:
    for member in module.members.values():
        if not member.is_alias and isinstance(member, griffe.Class):
            yield member
        elif not member.is_alias and isinstance(member, griffe.Module):
            yield from _classes(member)
