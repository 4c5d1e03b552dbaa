import numpy as np

from data_prep import splits


def test_centres_in_one_square_share_a_block():
    centre_m = np.array(
        [[100.0, 2900.0], [1900.0, 2100.0], [2100.0, 2900.0], [100.0, 900.0]]
    )
    # Blocks of 1 km: row 2 (north) holds columns 0, 1, 2; row 0 holds column 0.
    assert splits.block_ids(centre_m, 1000.0).tolist() == [0, 1, 2, 3]
    # Blocks of 2 km: the third centre lies east, the last one south.
    assert splits.block_ids(centre_m, 2000.0).tolist() == [0, 0, 1, 2]


def test_ids_are_dense_and_do_not_depend_on_order():
    rng = np.random.default_rng(0)
    centre_m = rng.uniform(-50_000, 50_000, (500, 2))
    ids = splits.block_ids(centre_m, 3000.0)
    assert ids.dtype == np.int32
    assert sorted(set(ids.tolist())) == list(range(ids.max() + 1))
    order = rng.permutation(500)
    np.testing.assert_array_equal(splits.block_ids(centre_m[order], 3000.0), ids[order])


def test_other_regions_do_not_move_the_block_edges():
    rng = np.random.default_rng(0)
    centre_m = rng.uniform(0, 9000, (100, 2))
    some = splits.block_ids(centre_m[:40], 2500.0)
    all_ids = splits.block_ids(centre_m, 2500.0)[:40]
    together = some[:, None] == some[None]
    np.testing.assert_array_equal(together, all_ids[:, None] == all_ids[None])


def test_a_point_on_an_edge_belongs_to_the_north_east():
    edge = np.array([[1000.0, 1000.0], [1001.0, 1001.0], [999.0, 999.0]])
    ids = splits.block_ids(edge, 1000.0)
    assert ids[0] == ids[1] != ids[2]
