"""Whom a peer learns with. Pure: no network, no clock, no global randomness."""
