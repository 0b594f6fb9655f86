"""The peer's life: one state machine without I/O."""
