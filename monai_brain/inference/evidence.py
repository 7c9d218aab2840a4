"""What a table says of explanations, of classes and of masks."""

from monai_brain.explain.trust import Trust

EVIDENCE = ("evidence_in_head", "evidence_at_border")
"""Columns of every explained case: shares of the map's mass."""

EVIDENCE_DROP = "evidence_drop"
"""Column of a classifier: by how much the class's probability falls without the hottest tenth of the pixels."""

MASK_EVIDENCE = ("evidence_in_mask", "evidence_peak_in_mask")
"""Columns of a segmenter: share of the map's mass inside the mask; whether its hottest pixel is inside, 1 or 0."""


def evidence_of(trust: Trust) -> dict[str, str]:
    """The columns of one map; those that are undefined are left out."""
    peak = None if trust.hits_mask is None else int(trust.hits_mask)
    shares = dict(zip((*EVIDENCE, MASK_EVIDENCE[0]), trust[:3], strict=True))
    known = {name: f"{share:.3f}" for name, share in shares.items() if share is not None}
    return known if peak is None else {**known, MASK_EVIDENCE[1]: str(peak)}
