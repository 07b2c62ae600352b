"""Validates the shipped ScaledObject against models that were generated from KEDA's own CRD (2.16).

    keda.py FILE: prints the metadata of its trigger as JSON; exits 1 with what is wrong.
"""

import json
import sys

import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject


def unknown(given, kept, path):
    """What the schema does not know the models drop: tells it."""
    if isinstance(given, dict):
        for key, value in given.items():
            if key not in kept:
                yield f"{path}.{key}"
            else:
                yield from unknown(value, kept[key], f"{path}.{key}")
    elif isinstance(given, list):
        for at, (one, other) in enumerate(zip(given, kept)):
            yield from unknown(one, other, f"{path}[{at}]")


def main(file):
    with open(file, encoding="utf-8") as text:
        documents = list(yaml.safe_load_all(text))
    objects = [document for document in documents if document["kind"] == "ScaledObject"]
    assert len(objects) == 1, documents
    model = ScaledObject.model_validate(objects[0])
    kept = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    faults = list(unknown(objects[0]["spec"], kept["spec"], "spec"))
    if faults:
        sys.exit(f"not in KEDA's schema: {', '.join(faults)}")
    # What the scaler metrics-api documents.
    (trigger,) = kept["spec"]["triggers"]
    known = {"url", "format", "valueLocation", "targetValue", "activationTargetValue", "authMode", "unsafeSsl"}
    assert trigger["type"] == "metrics-api" and set(trigger["metadata"]) <= known, trigger
    target = kept["spec"]["scaleTargetRef"]["name"]
    assert any(document["metadata"]["name"] == target for document in documents if document["kind"] == "Deployment")
    print(json.dumps(trigger["metadata"]))


main(sys.argv[1])
