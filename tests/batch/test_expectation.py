"""What the user is told of small batches and of parts scanned twice."""

from threedzal.batch.expectation import CURVE, duplicate_sentences, few_scans_sentence


def test_a_small_batch_is_told_what_a_batch_of_its_size_reached():
    assert few_scans_sentence("nut", 64) is None
    for scans, expected in ((2, CURVE[4]), (4, CURVE[4]), (31, CURVE[16]), (63, CURVE[48])):
        assert f"nut: a batch of {scans} scans" in few_scans_sentence("nut", scans)
        assert f"expect about {expected:.2f} here" in few_scans_sentence("nut", scans)


def test_near_duplicates_are_named_the_first_five_only():
    assert duplicate_sentences("nut", []) == []
    (one,) = duplicate_sentences("nut", [("nut/a#12", "nut/b#34")])
    assert "1 pair of scans" in one and "nut/a and nut/b" in one and "#" not in one
    (many,) = duplicate_sentences("nut", [(f"a{i}", f"b{i}") for i in range(7)])
    assert "7 pairs" in many and "a4 and b4; ..." in many and "a5" not in many
