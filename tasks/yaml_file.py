"""A user's YAML (``task.yaml``, ``corpus.yaml``) to a model; errors name the key and the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from medssl_bench.errors import BenchError, did_you_mean

Model = TypeVar("Model", bound=BaseModel)


def load_yaml(path: Path, model: type[Model]) -> Model:
    """Read a YAML file into a model.

    Raises:
        BenchError: no such file, no YAML, an unknown key (the nearest is offered), a missing key
            or a value that does not fit; one line that begins with the path.
    """
    return validate(read_mapping(path), model, path)


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML or JSON file that holds a mapping."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BenchError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise BenchError(f"{path}: {line}{problem}") from error
    if not isinstance(values, dict):
        raise BenchError(f"{path}: expected `key: value` lines")
    return values


def validate(values: dict[str, Any], model: type[Model], path: Path) -> Model:
    """Validate a mapping that was read from ``path``; raises BenchError as :func:`load_yaml`."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        # An unknown key is the likely reason why another is missing, so it is told first.
        faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        raise BenchError(f"{path}: {_explain(dict(faults[0]), model)}") from None


def _explain(fault: dict[str, Any], model: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = _keys_beside(fault["loc"], model)
        return f"unknown key {key!r}.{did_you_mean(key, known)} Known: {', '.join(known)}"
    if fault["type"] == "missing":
        return f"key {key!r} is missing"
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{key}: {message} (got {fault['input']!r})" if key else message


def _keys_beside(location: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    """Return the dotted keys known at the place of an unknown one."""
    prefix = ""
    for part in location[:-1]:
        prefix += f"{part}."
        info = model.model_fields.get(str(part))
        if info is None:
            continue
        for inner in (info.annotation, *getattr(info.annotation, "__args__", ())):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                model = inner
    return [prefix + name for name in model.model_fields]
