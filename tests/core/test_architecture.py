from types import SimpleNamespace as Thing

import pytest

from ecad_search.architectures import ALL, EMOJI_PIXART, FLUX, FLUX2, PIXART, detect, find, sized
from ecad_search.core.architecture import Workload
from ecad_search.errors import EcadError, ModelMismatchError


def pixart_like(blocks: int, hidden: int, **more) -> Thing:
    block = Thing(attn=1, cross_attn=1, mlp=1)
    return Thing(blocks=[block] * blocks, hidden_size=hidden, patch_size=2, **more)


def flux_like(double: int, single: int, hidden: int, **more) -> Thing:
    attention = Thing(proj=1)
    both = Thing(img_attn=attention, txt_attn=attention, img_mlp=1, txt_mlp=1)
    one = Thing(linear1=1, linear2=1)
    return Thing(
        double_blocks=[both] * double,
        single_blocks=[one] * single,
        hidden_size=hidden,
        patch_size=2,
        **more,
    )


def test_cells_have_the_paper_s_number_and_order():
    listed = (PIXART, EMOJI_PIXART, FLUX, FLUX2)
    assert [84, 30, 171, 168] == [architecture.n_cells for architecture in listed]
    assert ["blocks.0.attn", "blocks.0.cross_attn", "blocks.0.mlp", "blocks.1.attn"] == [
        str(cell) for cell in PIXART.cells[:4]
    ]
    assert "single_blocks.0.attn" == str(FLUX.cells[57])
    assert "single_blocks.37.proj_out" == str(FLUX.cells[-1])


@pytest.mark.parametrize("architecture", ALL, ids=lambda a: a.id)
def test_every_cell_knows_its_place(architecture):
    assert list(range(architecture.n_cells)) == [cell.index for cell in architecture.cells]
    assert len(set(architecture.cells)) == architecture.n_cells == len(architecture.cell_components)
    for cell in architecture.cells:
        assert cell == architecture.cell(cell.group, cell.block, cell.component)
        assert cell.component == architecture.cell_components[cell.index].name


def test_an_architecture_describes_itself():
    assert "PixArt with 28 blocks" == PIXART.describe()
    assert "FLUX with 19 double blocks and 38 single blocks" == FLUX.describe()
    assert "FLUX with 1 double block and 2 single blocks" == (
        sized("flux", {"double_blocks": 1, "single_blocks": 2}).describe()
    )


def test_schedules_fit_by_family_and_counts_not_by_width():
    assert PIXART.fits(sized("pixart", {"blocks": 28}, hidden=48))
    assert not PIXART.fits(EMOJI_PIXART)
    assert not PIXART.fits(FLUX)


def test_an_unknown_architecture_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ModelMismatchError, match="pixart, emoji-pixart, flux"):
        find("sdxl")
    assert FLUX is find("flux")


@pytest.mark.parametrize(
    ("family", "counts", "size"),
    [
        ("unet", {"blocks": 3}, {}),
        ("pixart", {"layers": 3}, {}),
        ("pixart", {"blocks": 0}, {}),
        ("pixart", {"blocks": 10**9}, {}),
        ("pixart", {"blocks": True}, {}),
        ("pixart", {"blocks": 3}, {"hidden": 1.5}),
        ("pixart", {"blocks": 3}, {"depth": 3}),
        ("flux", {"double_blocks": 3}, {}),
    ],
)
def test_impossible_sizes_are_errors(family, counts, size):
    with pytest.raises(ModelMismatchError):
        sized(family, counts, **size)


def test_equal_sizes_are_equal_architectures():
    one, two = (sized("pixart", {"blocks": 3}, hidden=48) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    assert one != sized("pixart", {"blocks": 3}, hidden=64)


def test_detection_gives_the_listed_architecture_or_one_of_that_size():
    assert PIXART is detect(pixart_like(28, 1152))
    assert EMOJI_PIXART is detect(pixart_like(10, 160))
    assert FLUX is detect(flux_like(19, 38, 3072))
    tiny = detect(pixart_like(3, 48, in_channels=4, out_channels=4))
    assert tiny is not None
    assert ({"blocks": 3}, 48, "pixart") == (tiny.counts, tiny.hidden, tiny.family)
    assert FLUX2 is detect(flux_like(8, 48, 6144, double_stream_modulation_img=1))
    small = detect(flux_like(2, 3, 64))
    assert small is not None
    assert {"double_blocks": 2, "single_blocks": 3} == small.counts


@pytest.mark.parametrize(
    "model",
    [
        Thing(),
        Thing(blocks=[], hidden_size=4, patch_size=2),
        Thing(blocks=[Thing(attn=1, mlp=1)], hidden_size=4, patch_size=2),
        Thing(blocks=7, hidden_size=4, patch_size=2),
        flux_like(19, 38, 3072, distilled_guidance_layer=1),
        Thing(double_blocks=[Thing()], single_blocks=[], hidden_size=4, patch_size=2),
        Thing(double_blocks=[], single_blocks=[], hidden_size=4, patch_size=2),
    ],
)
def test_other_models_are_not_detected(model):
    assert detect(model) is None


def test_a_three_dimensional_patch_is_not_flux():
    video = flux_like(20, 40, 3072)
    video.patch_size = [1, 2, 2]
    assert detect(video) is None


def test_image_tokens_follow_the_picture():
    assert 256 == PIXART.dimensions(Workload(width=256, height=256)).image_tokens
    assert 64 == EMOJI_PIXART.dimensions(Workload(width=96, height=96)).image_tokens
    assert 4096 == FLUX.dimensions(Workload()).image_tokens
    assert 512 == FLUX.dimensions(Workload()).text_tokens
    assert 7 == FLUX.dimensions(Workload(text_tokens=7)).text_tokens


@pytest.mark.parametrize("field", ["batch", "width", "height", "text_tokens"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, 10**9, "8"])
def test_an_impossible_workload_is_an_error(field, value):
    with pytest.raises(EcadError, match=field):
        Workload(**{field: value})
