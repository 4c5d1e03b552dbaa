"""Checks of STAC files: by pystac's schemas of the core, and those of extensions.

Schemas of extensions come with no package. Where `MMGR_STAC_SCHEMAS` names a folder
that holds them by their addresses (`stac-extensions.github.io/mlm/v1.5.2/schema.json`,
`schemas.stacspec.org/v1.0.0/item-spec/json-schema/item.json` and so on), files are
checked against them, too.
"""

import json
import os
from pathlib import Path

import jsonschema
import pystac
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

FOLDER = os.environ.get("MMGR_STAC_SCHEMAS")

_CORE = "https://schemas.stacspec.org/v1.0.0/{0}-spec/json-schema/{0}.json"


def check(path):
    """Raises what is wrong with a STAC file; returns it as pystac has read it."""
    stac = pystac.read_file(str(path))
    given = stac.to_dict(transform_hrefs=False)
    kind = stac.STAC_OBJECT_TYPE
    JsonSchemaSTACValidator().validate_core(given, kind, given["stac_version"])
    if FOLDER:
        _check_extensions(json.loads(Path(path).read_text()))
    return stac


def _check_extensions(content):
    registry = Registry(retrieve=_schema)
    kind = {"Feature": "item", "Collection": "collection"}[content["type"]]
    for address in (_CORE.format(kind), *content["stac_extensions"]):
        schema = jsonschema.Draft7Validator({"$ref": address}, registry=registry)
        schema.validate(content)


def _schema(address):
    place = address.removeprefix("https://").removeprefix("http://").rstrip("#")
    text = (Path(FOLDER) / place).read_text()
    return Resource.from_contents(json.loads(text), default_specification=DRAFT7)
