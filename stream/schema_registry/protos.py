"""Compiles .proto files, as registries hold them, to the descriptors that values are read by.

Google's own compiler does it, inside this process and once a schema: some milliseconds.
"""

from __future__ import annotations

import os
import re
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from stream.formats.framed.frame import RegisteredSchema

VALUE: Final = "value.proto"
"""The name of the file whose values are read; a registry gives it none."""

_DESCRIPTOR: Final = re.compile(r"[A-Za-z0-9+/\s]+=*\s*")
"""A file that is compiled already, in base64; a .proto file has other characters."""


def compiled(schema: RegisteredSchema) -> RegisteredSchema:
    """Returns a Protobuf schema with descriptors in base64 as texts, itself if it has them.

    One that does not compile is returned as it is, and whoever reads values by it refuses it.
    """
    import grpc_tools
    from google.protobuf import descriptor_pb2
    from grpc_tools import protoc

    files = dict(_files(VALUE, schema))
    if all(_DESCRIPTOR.fullmatch(text) for text in files.values()):
        return schema
    own = os.path.join(os.path.dirname(grpc_tools.__file__), "_proto")
    with tempfile.TemporaryDirectory(prefix="interest-stream-protos-") as folder:
        for name, text in files.items():
            path = Path(folder) / _inside(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        out = Path(folder) / "descriptors"
        options = (f"-I{folder}", f"-I{own}", "--include_imports", f"--descriptor_set_out={out}")
        if protoc.main(["protoc", *options, VALUE]) != 0:  # it says why on standard error
            return schema
        found = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    texts = {each.name: b64encode(each.SerializeToString()).decode() for each in found.file}
    return _with(VALUE, schema, texts)


def _files(name: str, schema: RegisteredSchema) -> Iterator[tuple[str, str]]:
    """Yields the files of a schema by the names that they import each other by."""
    for inner, each in schema.references:
        yield from _files(inner, each)
    yield name, schema.text


def _inside(name: str) -> str:
    """Returns the path of a file, which must not lead out of its folder; raises ValueError."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError(f"a schema imports the file {name!r}")
    return name


def _with(name: str, schema: RegisteredSchema, texts: dict[str, str]) -> RegisteredSchema:
    """Returns a schema with other texts; a file that nothing imports goes."""
    references = tuple(
        (inner, _with(inner, each, texts)) for inner, each in schema.references if inner in texts
    )
    return RegisteredSchema(schema.kind, texts[name], references)
