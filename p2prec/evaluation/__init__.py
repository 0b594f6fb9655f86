"""Protocols, metrics, baselines, and what becomes of many answers."""

from p2prec.evaluation.frames import frame

__all__ = ["frame"]
