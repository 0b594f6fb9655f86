"""Item tables by name: a new one is one file and one line."""

from __future__ import annotations

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.amtl import AdaptivelyMasked
from p2prec.embeddings.autoemb import SoftlySelected
from p2prec.embeddings.cerp import CompositionalPruned
from p2prec.embeddings.ciess import SizesByAgent
from p2prec.embeddings.compositional_codes import CompositionalCodes
from p2prec.embeddings.dcf import DiscreteFiltering
from p2prec.embeddings.full import Full
from p2prec.embeddings.hashgnn import GuidedHash
from p2prec.embeddings.integers import EightBits, FourBits
from p2prec.embeddings.legcf import LearnedAssignment
from p2prec.embeddings.magnitude import MagnitudePruned
from p2prec.embeddings.narrow import Narrow
from p2prec.embeddings.optembed import GatedRows
from p2prec.embeddings.pee import PersonalElastic
from p2prec.embeddings.pep import Thresholded
from p2prec.embeddings.quotient_remainder import QuotientRemainder
from p2prec.embeddings.rule import RowElastic
from p2prec.embeddings.sseds import SingleShot
from p2prec.embeddings.table import COMPRESSIONS, ItemTable
from p2prec.embeddings.tensor_train import SemiTensorProduct, TensorTrain
from p2prec.errors import ConfigError
from p2prec.text import nearest

TABLES: dict[str, type[ItemTable]] = {
    "amtl": AdaptivelyMasked,
    "autoemb": SoftlySelected,
    "cerp": CompositionalPruned,
    "ciess": SizesByAgent,
    "codes": CompositionalCodes,
    "dcf": DiscreteFiltering,
    "full": Full,
    "hashgnn": GuidedHash,
    "int4": FourBits,
    "int8": EightBits,
    "legcf": LearnedAssignment,
    "magprune": MagnitudePruned,
    "narrow": Narrow,
    "optembed": GatedRows,
    "pee": PersonalElastic,
    "pep": Thresholded,
    "qrt": QuotientRemainder,
    "rule": RowElastic,
    "sseds": SingleShot,
    "stp": SemiTensorProduct,
    "tt": TensorTrain,
}


def compressions_of(table: str) -> list[int]:
    """How many times smaller than a full table a known one can be."""
    return [c for c in COMPRESSIONS if c <= TABLES[table].smallest]


def check_table(*, table: str, compression: int) -> None:
    """Refuse what cannot be.

    Raises:
        ConfigError: No such table, or it cannot be as small.
    """
    if table not in TABLES:
        raise ConfigError(f"unknown item table {table!r}; {nearest(table, TABLES)}")
    able = compressions_of(table)
    if compression not in able:
        raise ConfigError(
            f"compression = {compression} is none of the table {table!r}; "
            f"take one of {', '.join(map(str, able))}"
        )


def build_table(catalogue: Catalogue, *, table: str, size: int, compression: int) -> ItemTable:
    """The functions of one table.

    Raises:
        ConfigError: As of ``check_table``.
    """
    check_table(table=table, compression=compression)
    return TABLES[table](catalogue, size, compression)
