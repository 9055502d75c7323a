"""Reads whatever bytes a broker holds as records, where aiokafka would raise or fill the memory.

Only `stream.kafka` imports it. Begin with `checked_records`, which is where aiokafka's fetcher is
made to read by it; `reading` judges one batch, `one_by_one` reads a damaged one, and
`decompression` bounds both.
"""
