from collections import Counter

import pytest

from monai_brain.training.sampling import BalancedSlices, BalancedSources

ITEMS = [{"tumor_pixels": 5 if number % 5 == 0 else 0} for number in range(50)]
"""10 slices with tumor, 40 without."""


def sampler(epoch=1, **options):
    made = BalancedSlices(ITEMS, ITEMS, **{"num_replicas": 1, "rank": 0, "seed": 3, **options})
    made.set_epoch(epoch)
    return made


def test_half_of_an_epoch_has_tumor_and_every_such_slice_is_shown_about_as_often():
    drawn = list(sampler())
    counts = Counter(drawn)
    assert len(drawn) == 50
    assert sum(ITEMS[index]["tumor_pixels"] > 0 for index in drawn) == 25
    assert {counts[index] for index in range(0, 50, 5)} <= {2, 3}
    assert max(counts[index] for index in range(50) if index % 5) == 1


def test_share_is_an_option():
    assert sum(ITEMS[index]["tumor_pixels"] > 0 for index in sampler(share=0.2)) == 10


def test_epoch_alone_decides():
    assert list(sampler(4)) == list(sampler(4))
    assert list(sampler(4)) != list(sampler(5))


def test_processes_share_an_epoch():
    parts = [list(sampler(2, num_replicas=2, rank=rank)) for rank in (0, 1)]
    assert [len(part) for part in parts] == [25, 25]
    assert sorted(parts[0] + parts[1]) == sorted(sampler(2))


def test_one_kind_alone_cannot_be_balanced():
    with pytest.raises(ValueError, match="cannot be balanced"):
        BalancedSlices(ITEMS[:1], ITEMS[:1], num_replicas=1, rank=0)


SOURCES = [{"label": 0, "source": "a"}] * 64 + [{"label": 0, "source": "b"}] * 16 + [{"label": 2, "source": "c"}] * 200
"""Two sources of one class, 4 to 1; and a class of one source."""


def balanced(epoch=1, **options):
    made = BalancedSources(SOURCES, SOURCES, **{"num_replicas": 1, "rank": 0, "seed": 3, **options})
    made.set_epoch(epoch)
    return list(made)


def test_classes_count_the_same_and_sources_by_the_root_of_their_size():
    drawn = Counter((SOURCES[index]["label"], SOURCES[index]["source"]) for index in balanced(slices_per_epoch=120))
    assert drawn == {(0, "a"): 40, (0, "b"): 20, (2, "c"): 60}


def test_epoch_of_sources_is_as_long_as_the_data_set_and_decided_by_its_number():
    assert len(balanced()) == 280
    assert balanced(4) == balanced(4)
    assert balanced(4) != balanced(5)


def test_processes_share_an_epoch_of_sources():
    parts = [balanced(2, num_replicas=2, rank=rank, slices_per_epoch=120) for rank in (0, 1)]
    assert sorted(parts[0] + parts[1]) == sorted(balanced(2, slices_per_epoch=120))


def test_items_without_a_source_are_one_source():
    items = [{"label": 0}] * 3 + [{"label": 1}]
    made = BalancedSources(items, items, num_replicas=1, rank=0, slices_per_epoch=4)
    made.set_epoch(1)
    assert Counter(items[index]["label"] for index in made) == {0: 2, 1: 2}
