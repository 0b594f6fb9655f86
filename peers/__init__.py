"""The peer that lives on a device: everything that touches a network, a disk or a clock."""
