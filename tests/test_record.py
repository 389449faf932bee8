import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from medssl_bench.errors import BenchError
from medssl_bench.record import Cell, Record, folder_name, parse_record

EXAMPLE = Path(__file__).with_name("example_record.json")
DOCS = Path(__file__).parents[1] / "docs" / "record.md"


def example() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(EXAMPLE.read_bytes())
    return data


def refused(data: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        Record.model_validate_json(json.dumps(data))
    return str(caught.value)


def test_a_record_of_this_schema_reads_and_writes_unchanged() -> None:
    text = EXAMPLE.read_bytes()
    assert parse_record(text, EXAMPLE).to_json() == text


def test_the_key_is_the_digest_of_the_fields_and_of_tuning_where_there_is_some() -> None:
    fields = example()["cell"]
    assert fields.pop("tuning") == ""
    assert set(fields) == {
        "method", "pretraining", "backbone", "task", "shots", "draw", "seed", "protocol",
    }  # fmt: skip
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    assert Cell(**fields).key == hashlib.sha256(text.encode()).hexdigest()
    assert Cell(**dict(reversed(fields.items()))).key == Cell(**fields).key
    assert Cell(**fields, tuning="").key == Cell(**fields).key
    text = json.dumps({**fields, "tuning": "templates"}, sort_keys=True, separators=(",", ":"))
    tuned = Cell(**fields, tuning="templates")
    assert tuned.key == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("field", list(Cell.model_fields))
def test_every_field_of_a_cell_changes_its_key_and_slug(field: str) -> None:
    fields = example()["cell"]
    other = 7 if isinstance(fields[field], int) else "20%" if field == "shots" else "other"
    changed = Cell(**{**fields, field: other})
    assert changed.key != Cell(**fields).key
    assert changed.slug != Cell(**fields).slug


def test_a_slug_can_be_read_and_is_a_safe_folder_name() -> None:
    fields = example()["cell"]
    cell = Cell(**fields)
    assert cell.slug == f"smit_shots-5_draw-0_seed-0_{cell.key[:12]}"
    odd = Cell(**{**fields, "method": "../my method*", "shots": "20%"})
    assert re.fullmatch(r"[A-Za-z0-9.+_-]+", odd.slug)
    assert "shots-20pct" in odd.slug
    assert folder_name("..") not in {"", ".", ".."}


@pytest.mark.parametrize("shots", ["1", "5", "10", "full", "20%", "2.5%"])
def test_shots_that_are_shots(shots: str) -> None:
    assert Cell(**{**example()["cell"], "shots": shots}).shots == shots


@pytest.mark.parametrize("shots", ["", "0", "-5", "05", "five", "5.5", "%", "Full", "5 "])
def test_shots_that_are_not(shots: str) -> None:
    with pytest.raises(ValidationError):
        Cell(**{**example()["cell"], "shots": shots})


def test_a_cell_cannot_be_changed() -> None:
    cell = Cell(**example()["cell"])
    with pytest.raises(ValidationError):
        cell.draw = 3  # type: ignore[misc]


@pytest.mark.parametrize("part", ["", "cell", "split", "draw", "digests", "leaks", "git", "cost"])
def test_an_unknown_field_is_refused(part: str) -> None:
    data = example()
    (data[part] if part else data)["hostname"] = "x"
    assert "hostname" in refused(data)


WITH_DEFAULT = {"schema_version", "resumed", "pretrained", "similarity", "missing"}


@pytest.mark.parametrize("field", sorted(set(example()) - WITH_DEFAULT))
def test_no_field_may_be_missing(field: str) -> None:
    data = example()
    del data[field]
    assert field in refused(data)


def test_what_contradicts_itself_is_refused() -> None:
    data = example()
    data["key"] = "0" * 64
    assert "key is not the cell's" in refused(data)
    data = example()
    data["split"]["test"].append(data["split"]["train"][0])
    assert "both trained on and tested: train-000" in refused(data)
    data = example()
    data["draw"]["cases"][0] = "test-000"
    assert "outside the training pool: test-000" in refused(data)
    data = example()
    data["draw"]["validation"] = ["train-009"]
    assert "6 cases are named" in refused(data)
    data = example()
    data["digests"]["split"] = "0" * 64
    assert "not the split's digest" in refused(data)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_missing_metric_is_none_and_never_nan(value: float) -> None:
    data = example()
    data["metrics"]["liver"]["hd95"] = value
    with pytest.raises(ValidationError):
        Record.model_validate(data)
    data["metrics"]["liver"]["hd95"] = None
    assert Record.model_validate(data).metrics["liver"]["hd95"] is None


def test_settings_become_plain_json_or_are_refused() -> None:
    data = example()
    data["settings"] = {"crop": (96, 96, 96)}
    assert Record.model_validate(data).settings == {"crop": [96, 96, 96]}
    for odd in (float("nan"), object()):
        data["settings"] = {"lr": odd}
        with pytest.raises(ValidationError, match="settings"):
            Record.model_validate(data)


def test_times_are_written_in_utc_and_must_have_a_zone() -> None:
    data = example()
    data["started"] = "2025-01-02T05:04:05+02:00"
    record = Record.model_validate_json(json.dumps(data))
    assert json.loads(record.to_json())["started"] == "2025-01-02T03:04:05Z"
    data["started"] = "2025-01-02T05:04:05"
    assert "started" in refused(data)


def test_a_record_of_a_newer_version_says_so() -> None:
    data = example()
    data.update(schema_version=2, news=1)
    with pytest.raises(BenchError, match="written by a newer version"):
        parse_record(json.dumps(data).encode(), Path("record.json"))


@pytest.mark.parametrize("length", [0, 1, 100, 1000])
def test_a_truncated_record_is_one_clear_line(length: int) -> None:
    with pytest.raises(BenchError) as caught:
        parse_record(EXAMPLE.read_bytes()[:length], Path("some/record.json"))
    assert str(caught.value).startswith("some/record.json: not a record")
    assert "\n" not in str(caught.value)


def fields_of(model: type[BaseModel], prefix: str = "") -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        names.append(prefix + name)
        inner = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for kind in inner:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                names += fields_of(kind, f"{prefix}{name}.")
    return names


def test_every_field_is_documented_and_nothing_else() -> None:
    documented = re.findall(r"^\| `([a-z_0-9.]+)` \|", DOCS.read_text(), re.MULTILINE)
    assert documented == fields_of(Record)
