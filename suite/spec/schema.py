"""The JSON schema of task files, for editors (yaml-language-server)."""

from __future__ import annotations

import json

from pydantic import create_model

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


def _without_outsiders() -> type[TaskSpec]:
    return create_model(
        "TaskSpec",
        __base__=TaskSpec,
        __doc__=TaskSpec.__doc__,
        data=(union("suite.data", DataSpec, outsiders=False), ...),
        model=(union("suite.models", ModelSpec, outsiders=False), ...),
    )
