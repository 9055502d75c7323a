"""Reads values in the wire format of a schema registry as the JSON documents that they stand for.

Such a value is a zero byte, the id of a schema in four bytes, and what the schema describes: Avro,
JSON of a JSON Schema, or Protobuf. Begin with `frame`; `readers` knows a reader for each id; the
others make one. What an id stands for is fetched elsewhere (stream/schema_registry) before a record
is read, so nothing here waits. Behind it any format or mapping reads the document. Events of the
contract whose schema is flat are read without one (`flat_avro`, `flat_protobuf`), and many of Avro
at once (`flat_columns`).
"""
