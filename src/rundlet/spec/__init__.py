"""What the standards say, as immutable values: no files, sockets or clocks here.

One module a standard.  Models transcribe it one field a line (`msgspec.Struct`,
JSON names in camelCase); unknown keys are ignored as the standards ask, and
whoever needs the exact bytes (digests, signatures) keeps them beside the value.
"""
