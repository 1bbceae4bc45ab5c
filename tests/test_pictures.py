"""Pictures of points on the line, in the plane and beyond, and grids of images of many classes."""

import math

import numpy as np
import pytest
import torch

from ganrun.engine import pictures
from ganrun.ground.spec import Spec

BLUE, GREY = (31, 90, 180), (190, 190, 190)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def area(picture, colour):
    return (np.asarray(picture) == colour).all(2)


def test_a_histogram_shows_real_shares_by_height():
    real = torch.cat([torch.full((300, 1), -1.0), torch.full((100, 1), 1.0)])
    grey = area(pictures.bars(torch.full((5, 1), 9.0), real), GREY)
    low, high = grey[:, :256].sum(0).max(), grey[:, 256:].sum(0).max()
    assert low / high == pytest.approx(3, rel=0.05)
    columns = np.nonzero(grey.sum(0) > 10)[0]
    assert columns[0] < 512 * (0.5 / 3) < columns[-1]
    assert columns[0] == pytest.approx(512 * 0.5 / 3, abs=10)
    assert columns[-1] == pytest.approx(512 * 2.5 / 3, abs=10)


def test_generated_points_on_the_line_are_drawn_over_real_ones_at_equal_scale():
    real = random(4000, 1)
    picture = pictures.drawing(random(4000, 1, seed=1), real)
    blue, grey = area(picture, BLUE), area(picture, GREY)
    top = [int(np.nonzero(column)[0][0]) for column in blue.T]
    heights = 511 - np.array(top)
    peak = int(np.argmax(heights))
    assert abs(peak - 256) < 60
    assert abs(int(heights.max()) - int(grey.sum(0).max())) < 120
    assert area(pictures.drawing(real), BLUE).any()


def test_points_that_are_not_finite_or_all_alike_have_a_picture():
    bad = torch.tensor([[float("nan")], [float("inf")], [0.0]])
    for points, real in ((bad, None), (bad, bad), (torch.zeros(4, 1), None), (torch.full((3, 1), float("nan")), None)):
        assert pictures.drawing(points, real).size == (512, 512)
    assert pictures.drawing(torch.full((3, 7), float("nan")), random(9, 7)).size == (512, 512)
    assert pictures.drawing(torch.full((3, 7), float("nan"))).size == (512, 512)


def test_the_plane_of_the_picture_is_that_of_the_largest_variance():
    wide = random(500, 6) * torch.tensor([0.1, 5.0, 0.1, 0.1, 2.0, 0.1]) + 3
    middle, directions = pictures.plane(wide)
    torch.testing.assert_close(middle, wide.mean(0))
    assert directions[1, 0] > 0.99
    assert directions[4, 1] > 0.99
    covariance = np.linalg.eigh(np.cov(wide.numpy().T))[1][:, ::-1][:, :2]
    assert np.abs((covariance * directions.numpy()).sum(0)) == pytest.approx([1, 1], abs=1e-4)
    torch.testing.assert_close(directions.T @ directions, torch.eye(2))


def test_beyond_the_plane_real_and_generated_points_fall_on_the_same_one():
    real = torch.cat([random(100, 50) * 0.01 + 4 * torch.eye(50)[3], random(100, 50) * 0.01 - 4 * torch.eye(50)[3]])
    picture = pictures.picture_of(real[:100], Spec("points", (50,)), real)
    blue, grey = area(picture, BLUE), area(picture, GREY)
    assert blue[:, 256:].any() != blue[:, :256].any()
    assert grey[:, 256:].any() or grey[:, :256].any()
    shown = (np.nonzero(blue)[1].mean() - 256) * (np.nonzero(grey)[1].mean() - 256)
    assert shown < 0


def test_what_generated_points_do_across_the_real_plane_is_not_shown():
    along, across = torch.eye(50)[3], torch.eye(50)[7]
    real = random(100, 50) * 0.01 + 4 * random(100, 1) * along
    made = random(100, 50, seed=2) * 0.01 + 4 * random(100, 1) * across
    width = np.nonzero(area(pictures.drawing(made, real), BLUE).any(0))[0]
    assert width[-1] - width[0] < 20
    width = np.nonzero(area(pictures.drawing(made), BLUE).any(0))[0]
    assert width[-1] - width[0] > 300


def test_the_plane_of_two_dimensions_is_left_as_it_is():
    points = random(30, 2)
    assert pictures.drawing(points).tobytes() == pictures.scatter(points).tobytes()


@pytest.mark.parametrize(
    ("classes", "columns", "across"), [(1000, None, 5), (10, None, 5), (2, None, 5), (None, None, 5), (1000, 8, 8), (1, None, 5)]
)
def test_images_of_many_classes_have_a_square_grid(classes, columns, across):
    picture = pictures.picture_of(torch.zeros(25, 1, 4, 4), Spec("image", (1, 4, 4), classes), columns=columns)
    narrow = across * 5 + 1
    assert picture.width == narrow * max(1, round(512 / narrow))


@pytest.mark.parametrize("group", [1, 2, 3, 7, 10, 16, 26, 100])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 10, 64, 65, 100, 1000])
def test_no_picture_is_a_strip_and_columns_are_classes_where_that_can_be(count, group):
    columns = pictures.across(count, group)
    rows = math.ceil(count / columns)
    assert 1 <= columns <= max(count, 1)
    assert max(rows, columns) <= 3 * min(rows, columns)
    multiples = range(group, count + 1, group)
    ratios = [max(math.ceil(count / wide), wide) / min(math.ceil(count / wide), wide) for wide in multiples]
    if any(ratio <= 3 for ratio in ratios):
        assert columns % group == 0
        assert max(rows, columns) / min(rows, columns) == min(ratios) or group == 1


@pytest.mark.parametrize(("count", "group", "wanted"), [(64, 2, 8), (64, 10, 10), (64, 100, 8), (100, 100, 10), (3, 10, 2)])
def test_the_number_of_columns(count, group, wanted):
    assert pictures.across(count, group) == wanted


@pytest.mark.parametrize(("rows", "columns"), [(2, 32), (1, 64), (100, 1), (101, 1), (3, 21), (40, 8), (10, 6), (13, 97), (2, 7)])
def test_a_long_table_is_cut_into_bands_that_keep_its_rows_and_columns(rows, columns):
    cells = torch.arange(1, rows * columns + 1, dtype=torch.int32).reshape(-1, 1, 1, 1)
    found, wide = pictures.folded(cells, columns)
    high = len(found) // wide
    assert high * wide == len(found)
    assert max(high, wide) <= 4 * min(high, wide)
    cells, found = cells.reshape(rows, columns), found.reshape(high, wide)
    shown = found[found != pictures.BACKGROUND]
    assert set(shown.tolist()) | {pictures.BACKGROUND} == set(cells.flatten().tolist()) | {pictures.BACKGROUND}
    place = {int(value): divmod(index, wide) for index, value in enumerate(found.flatten().tolist())}
    for value in cells[:, :-1].flatten().tolist():  # whoever stands beside or below another one still does, or begins a band
        if value in place and value + 1 in place and pictures.BACKGROUND not in (value, value + 1):
            (row, column), (next_row, next_column) = place[value], place[value + 1]
            assert (next_row, next_column) == (row, column + 1) or (next_column == 0 and next_row > row)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 32, 500])
@pytest.mark.parametrize("target", [False, True])
def test_translations_stand_beside_their_sources_in_no_strip(count, target):
    x = torch.zeros(count, 1, 8, 8)
    picture = pictures.beside(x, Spec("image", (1, 8, 8)), x - 1, x + 1 if target else None)
    assert max(picture.size) <= 3.2 * min(picture.size)
