"""Facts: what we are told, checked, made one and projected into the tables that conditions ask.

`ingest_rows` and `ingest_files` take facts in, `arrive` lets in what waited for a virtual clock, and
`engine.facts.customers` serves the rights of the person.
"""
