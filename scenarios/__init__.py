"""TOML files, and the scripts that run and compare them."""

import peers  # noqa: F401 - says how many threads NumPy takes, before the scripts load it
