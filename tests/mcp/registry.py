"""`server.json`, the entry for the MCP registry, against the registry's own schema.

    python registry.py SCHEMAS

The schema is the one that the entry names, of the folder of schemas that comes with skillsaw, a linter
that carries every published version of them, byte for byte.
"""

from __future__ import annotations

import copy
import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import jsonschema
from jsonschema import Draft7Validator

ROOT = pathlib.Path(__file__).parents[2]


def schema_of(entry: dict[str, Any], folder: pathlib.Path) -> dict[str, Any]:
    version = entry["$schema"].split("/")[-2]
    path = folder / f"v{version.replace('-', '_')}" / "server.schema.json"
    schema = json.loads(path.read_text())
    assert schema["$id"] == entry["$schema"]
    return dict(schema)


def spoilt(entry: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The entry with one fault each, which a schema that is applied must find."""

    def fault(name: str) -> tuple[str, dict[str, Any]]:
        return name, copy.deepcopy(entry)

    name, one = fault("a name without a name space")
    one["name"] = "pyro"
    yield name, one
    name, one = fault("a description that is too long")
    one["description"] = "x" * 101
    yield name, one
    name, one = fault("a package without a transport")
    del one["packages"][0]["transport"]
    yield name, one
    name, one = fault("an argument of no type")
    one["packages"][0]["packageArguments"][0]["type"] = "other"
    yield name, one


def main() -> None:
    entry = json.loads((ROOT / "server.json").read_text())
    schema = schema_of(entry, pathlib.Path(sys.argv[1]))
    Draft7Validator.check_schema(schema)
    validator = Draft7Validator(schema, format_checker=Draft7Validator.FORMAT_CHECKER)
    faults = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(entry)]
    assert not faults, faults
    for name, other in spoilt(entry):
        try:
            validator.validate(other)
        except jsonschema.ValidationError:
            continue
        raise AssertionError(f"{name} was not found")
    # What the schema says in words only: a runtime for the runtime's arguments, an exact version.
    for package in entry["packages"]:
        assert package.get("runtimeHint") or not package.get("runtimeArguments")
        assert package["version"][0].isdigit() and not set(package["version"]) & set("^~<>=*x, ")
    print(f"ok   server.json is as {entry['$schema'].split('/')[-2]} of the registry's schema wants it")


if __name__ == "__main__":
    main()
