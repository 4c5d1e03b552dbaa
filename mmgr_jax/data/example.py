"""`tf.train.Example`, the message format of records, without TensorFlow or TFDS.

Importing TFDS takes a third of a second, and decoding a record with TFDS takes nine
times as long as reading the message.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto


def _file() -> descriptor_pb2.FileDescriptorProto:
    """The messages as in tensorflow/core/example/{example,feature}.proto."""
    file = descriptor_pb2.FileDescriptorProto(
        name="example.proto", package="tensorflow", syntax="proto3"
    )
    for name, kind in (
        ("BytesList", _Field.TYPE_BYTES),
        ("FloatList", _Field.TYPE_FLOAT),
        ("Int64List", _Field.TYPE_INT64),
    ):
        field = file.message_type.add(name=name).field.add()
        field.name, field.number, field.type = "value", 1, kind
        field.label = _Field.LABEL_REPEATED
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("BytesList", "FloatList", "Int64List"), start=1):
        field = _message(feature, name.replace("List", "_list").lower(), number, name)
        field.oneof_index = 0
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    key = entry.field.add(name="key", number=1, type=_Field.TYPE_STRING)
    key.label = _Field.LABEL_OPTIONAL
    _message(entry, "value", 2, "Feature")
    field = _message(features, "feature", 1, "Features.FeatureEntry")
    field.label = _Field.LABEL_REPEATED
    _message(file.message_type.add(name="Example"), "features", 1, "Features")
    return file


def _message(
    parent: descriptor_pb2.DescriptorProto, name: str, number: int, kind: str
) -> descriptor_pb2.FieldDescriptorProto:
    field = parent.field.add(name=name, number=number, type=_Field.TYPE_MESSAGE)
    field.label, field.type_name = _Field.LABEL_OPTIONAL, f".tensorflow.{kind}"
    return field


def _example_class() -> Any:
    # A pool of its own: TFDS puts messages of the same names into the common one.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())
    descriptor = pool.FindMessageTypeByName("tensorflow.Example")
    return message_factory.GetMessageClass(descriptor)


Example = _example_class()
"""Class of the message `tf.train.Example`."""
