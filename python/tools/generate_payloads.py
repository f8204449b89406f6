"""Writes `pyro_mcp/payloads.py` from the node's OpenAPI document.

Run it from anywhere after the document changed; a test fails while the two differ.
"""

from __future__ import annotations

import json
import sys
import textwrap
from keyword import iskeyword
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "host/node/openapi.json"
MODULE = ROOT / "python/src/pyro_mcp/payloads.py"

HEADER = '''"""What the node answers, as typed dictionaries.

Written by `python/tools/generate_payloads.py` from `host/node/openapi.json`: do not edit.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

'''

# What clients send, and what never reaches a caller as a dictionary.
REQUESTS = {
    "ApplyPatch",
    "CreateSnapshot",
    "CreateWorkspace",
    "EditFile",
    "ExecRequest",
    "MakeDirectory",
    "MoveFile",
    "PruneWorkspaces",
    "RemoveFile",
    "ResetWorkspace",
    "RunRequest",
    "SearchFiles",
    "SignalRequest",
    "UpdateWorkspace",
    "WriteFile",
}


def type_of(schema: dict[str, Any]) -> str:
    """The Python type of one schema."""
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[1])
    if "oneOf" in schema:
        return " | ".join(type_of(one) for one in schema["oneOf"])
    if "enum" in schema:
        return f"Literal[{', '.join(json.dumps(value) for value in schema['enum'])}]"
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(type_of({**schema, "type": one}) for one in kind)
    if kind == "array":
        return f"list[{type_of(schema['items'])}]"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"dict[str, {type_of(values) if isinstance(values, dict) else 'Any'}]"
    names = {
        "string": "str",
        "integer": "int",
        "number": "float",
        "boolean": "bool",
        "null": "None",
    }
    return names.get(str(kind), "Any")


def document(text: str, indent: str) -> str:
    """A docstring."""
    lines = textwrap.wrap(text, 96 - len(indent), break_long_words=False, break_on_hyphens=False)
    body = f"\n{indent}".join(lines)
    return f'{indent}"""{body}"""\n' if len(lines) == 1 else f'{indent}"""{body}\n{indent}"""\n'


def summarized(text: str) -> str:
    """The first sentence."""
    return text.split("\n", 1)[0]


def typed_dictionary(name: str, schema: dict[str, Any], bases: list[str]) -> str:
    """One class."""
    required = set(schema.get("required", []))
    properties = dict(schema.get("properties", {}))
    lines = []
    # A class cannot have a key that is a word of the language: a base has it.
    words = {key: properties.pop(key) for key in sorted(properties) if iskeyword(key)}
    if words:
        keys = ", ".join(f'"{key}": {type_of(value)}' for key, value in words.items())
        lines.append(f'_{name} = TypedDict("_{name}", {{{keys}}})\n\n\n')
        bases = [f"_{name}", *bases]
    lines.append(f"class {name}({', '.join(bases) or 'TypedDict'}):\n")
    lines.append(document(summarized(schema.get("description", name)), "    "))
    order = sorted(properties)
    for key in order:
        value = properties[key]
        kind = type_of(value)
        # The node leaves nothing out of its answers: what need not be there may be null.
        if key not in required and "None" not in kind.split(" | "):
            kind += " | None"
        lines.append(f"\n    {key}: {kind}\n")
        if "description" in value:
            lines.append(document(value["description"], "    "))
    return "".join(lines)


def definition(name: str, schema: dict[str, Any]) -> str:
    """The class or alias of one schema."""
    if "oneOf" in schema:
        parts = []
        names = []
        for one in schema["oneOf"]:
            part = name + one["properties"]["type"]["enum"][0].capitalize()
            names.append(part)
            parts.append(typed_dictionary(part, one, []))
        return "\n\n".join([*parts, f"{name} = {' | '.join(names)}\n"])
    if "allOf" in schema:
        bases = [type_of(one) for one in schema["allOf"] if "$ref" in one]
        own = next(one for one in schema["allOf"] if "$ref" not in one)
        described = {**own, "description": schema.get("description", name)}
        return typed_dictionary(name, described, bases)
    return typed_dictionary(name, schema, [])


def generate(openapi: dict[str, Any]) -> str:
    """The whole module."""
    schemas = {
        name: schema
        for name, schema in openapi["components"]["schemas"].items()
        if name not in REQUESTS
    }
    done: set[str] = set()
    texts: list[str] = []

    def add(name: str) -> None:
        if name in done:
            return
        done.add(name)
        for one in schemas[name].get("allOf", []):
            if "$ref" in one:
                add(type_of(one))
        texts.append(definition(name, schemas[name]))

    for name in sorted(schemas):
        add(name)
    names = "".join(f'    "{name}",\n' for name in sorted(schemas))
    return HEADER + f"__all__ = [\n{names}]\n\n\n" + "\n\n".join(texts)


if __name__ == "__main__":
    text = generate(json.loads(DOCUMENT.read_text()))
    if "--check" in sys.argv:
        sys.exit(MODULE.read_text() != text)
    MODULE.write_text(text)
