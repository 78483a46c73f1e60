"""Properties by the members of a committee as bands, from the records of their simulations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from agal_toolkit.analysis.estimates import Band, Estimate

from ..jobs import Record

PAIRS = ("OO", "OH", "HH")


def survivors(members: Sequence[Record]) -> list[Record]:
    """Return the properties of the members that survived."""
    return [member["properties"] for member in members if member["reason"] is None]


def as_estimate(properties: Record, key: str) -> Estimate:
    """Return a property with its error; keys of g(r) are those of PAIRS."""
    value = properties[key]
    if isinstance(value, Mapping):
        return Estimate(np.array(value["g"]), np.array(value["error"]))
    return Estimate(float(value[0]), float(value[1]))


def band(members: Sequence[Record], key: str) -> Band:
    """Return the band of a property, or of a g(r), over the members of a committee."""

    def estimate(record: Record) -> Estimate | str:
        if record["reason"] is not None:
            return str(record["reason"])
        return as_estimate(record["properties"], key)

    return Band.of([estimate(record) for record in members])


def distribution(
    members: Sequence[Record], truth: Record, pair: str
) -> tuple[NDArray, Band, Estimate]:
    """Return r, the band of a g(r) and the truth's, in the bins that all have: boxes differ."""
    count = min(len(properties[pair]["r"]) for properties in [truth, *survivors(members)])

    def cut(properties: Record) -> Record:
        return {pair: {key: values[:count] for key, values in properties[pair].items()}}

    short = [
        member
        if member["reason"] is not None
        else {**member, "properties": cut(member["properties"])}
        for member in members
    ]
    r = np.array(truth[pair]["r"][:count])
    return r, band(short, pair), as_estimate(cut(truth), pair)


def covered(members: Sequence[Record], truth: Record, pair: str) -> float:
    """Return the share of bins of a g(r) in which the truth lies in the band of the members."""
    _, found, exact = distribution(members, truth, pair)
    return found.covered(exact)
