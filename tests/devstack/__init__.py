"""Real services for development and tests, on free ports of 127.0.0.1.

`python3 -m devstack` (with PYTHONPATH=tests) runs the whole stack for a person; pytest uses the
modules one by one. Every wait has a bound, and every failure shows the tail of the log.
docs/devstack.md tells what there is.
"""
