"""A grid shows every picture where its labels say it is."""

from __future__ import annotations

from PIL import Image

from ecad_search.drawing.grid import LARGEST_SIDE, picture_grid, shown_size

RED, BLUE = (200, 0, 0), (0, 0, 200)


def plain(colour, size=(96, 96)):
    return Image.new("RGB", size, colour)


def pixels(image, colour):
    return sum(
        count for count, found in image.getcolors(image.width * image.height) if found == colour
    )


def test_small_pictures_are_enlarged_and_large_ones_reduced():
    assert (128, 128) == shown_size([[plain(RED)]])
    assert (300, 200) == shown_size([[plain(RED, (300, 200))]])
    assert (LARGEST_SIDE, LARGEST_SIDE // 2) == shown_size([[plain(RED, (2048, 1024))]])


def test_columns_are_schedules_and_rows_are_samples():
    image = picture_grid(
        [[plain(RED), plain(BLUE)], [plain(RED), plain(RED)]], ["a", "b"], ["x", "y"]
    )
    assert 128 * 128 == pixels(image, BLUE)
    assert 3 * 128 * 128 == pixels(image, RED)
    blue = [
        (x, y)
        for x in range(image.width)
        for y in range(0, image.height, 7)
        if image.getpixel((x, y)) == BLUE
    ]
    assert min(x for x, _ in blue) > image.width / 2
    assert max(y for _, y in blue) < image.height * 0.6


def test_labels_may_be_long_strange_and_have_a_second_line():
    image = picture_grid(
        [[plain(RED)] * 2], ["a cat " * 60 + "猫"], ["a schedule with a long name", "b\n1.98x"]
    )
    assert 2 * 128 * 128 == pixels(image, RED)


def test_an_empty_grid_is_a_picture():
    assert picture_grid([], [], ["uncached"]).width > 0
