"""The JSON schema of task files, for editors (yaml-language-server)."""

from __future__ import annotations

import json

from suite.spec.task import TaskSpec


def json_schema() -> str:
    """Deterministic JSON, with a newline at its end."""
    schema = TaskSpec.model_json_schema()
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    schema["properties"]["grid"]["description"] = (
        "Values by dotted path of any single-valued field of data, model or training, or seed: "
        "for instance training.optimizer.learning_rate: [0.1, 0.2]. Cells are their product."
    )
    return json.dumps(schema, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
