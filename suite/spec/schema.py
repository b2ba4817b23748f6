"""The JSON schema of task files, for editors (yaml-language-server)."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import create_model

from suite.errors import BadInput
from suite.spec.base import DataSpec, ModelSpec, union
from suite.spec.task import TaskSpec


def json_schema(outsiders: bool = True) -> str:
    """Deterministic JSON, with a newline at its end.

    Args:
        outsiders: with the kinds that installed packages bring; the schema in the repository is without.
    """
    schema = (TaskSpec if outsiders else _without_outsiders()).model_json_schema()
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    schema["properties"]["grid"]["description"] = (
        "Values by dotted path of any single-valued field of data, model or training, or seed: "
        "for instance training.optimizer.learning_rate: [0.1, 0.2]. Cells are their product."
    )
    return json.dumps(schema, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def write(path: Path) -> None:
    """Write the schema of the package's own kinds to a file, if that is not what is in it.

    Raises:
        BadInput: it cannot be written.
    """
    try:
        if not is_current(path):
            path.write_text(json_schema(outsiders=False), encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror}): give a file in a folder that is there") from None


def is_current(path: Path) -> bool:
    """Whether that is the schema of the package's own kinds."""
    return path.is_file() and path.read_bytes() == json_schema(outsiders=False).encode()


def _without_outsiders() -> type[TaskSpec]:
    return create_model(
        "TaskSpec",
        __base__=TaskSpec,
        __doc__=TaskSpec.__doc__,
        data=(union("suite.data", DataSpec, outsiders=False), ...),
        model=(union("suite.models", ModelSpec, outsiders=False), ...),
    )
