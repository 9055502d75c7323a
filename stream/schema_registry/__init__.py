"""Fetches the schemas that values name by an id, from a schema registry, each once.

`client` asks the registry, `protos` compiles what it holds of Protobuf, `schemas` sees to it that
what a batch of records needs is known before the batch is read, `updates` registers the schema of
what workers publish. A registry that does not answer makes them wait, and never a record a bad one.
The room reads no value: what a schema means, stream/formats/framed says, and the audit anew.
"""
