"""What a peer knows and learns. Pure: no network, no clock, no global randomness."""
