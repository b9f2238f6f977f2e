"""Pages: what comes from data is escaped, figures are vector graphics with a caption."""

import re
from html import unescape

import pytest
from matplotlib.figure import Figure

from slipway.components.step_runtime import html as page


def test_text_from_data_is_escaped() -> None:
    bad = "<script>alert(1)</script>"
    parts = [
        page.heading(bad),
        page.paragraph(bad),
        page.notice(bad, "bad"),
        page.facts({bad: bad}),
        page.table([bad], [[bad]]),
        page.details(bad, ""),
        page.document(bad, ""),
    ]
    assert "<script>" not in "".join(parts)


def test_a_figure_is_inline_and_the_same_every_time() -> None:
    def draw(width: float) -> Figure:
        drawing = Figure(figsize=(width, 2))
        drawing.subplots().plot([1, 2], [3, 4])
        return drawing

    def drawn() -> str:
        return page.figure(draw, "a <line>")

    assert drawn() == drawn()
    assert drawn().startswith("<figure")
    assert "<svg" in drawn()
    assert "a &lt;line&gt;</figcaption>" in drawn()


@pytest.mark.parametrize("label", ["$$", "$100%-$200", "a$^$b", "{$a}$"])
def test_dollar_signs_are_no_mathematics(label: str) -> None:
    def draw(width: float) -> Figure:
        drawing = page.new_figure(width, 2)
        drawing.subplots().set_title(label)
        return drawing

    assert f">{label}</text>" in unescape(page.figure(draw, "labels"))


def test_the_two_drawings_of_a_figure_share_no_clip_path() -> None:
    def draw(width: float) -> Figure:
        drawing = Figure(figsize=(width, 2))
        drawing.subplots().plot([1, 2], [3, 4])
        return drawing

    ids = re.findall(r'<clipPath id="(\w+)"', page.figure(draw, "a line"))
    assert len(ids) == len(set(ids)) == 2


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("billing", "billing"),
        ("Rechtsschutzversicherungsgesellschaft", "Rechtsschutzversi…"),
        ("カードの支払いが拒否されました", "カードの支払いが…"),
    ],
)
def test_a_label_leaves_room_for_the_picture(label: str, shown: str) -> None:
    assert page.shortened(label, page.NARROW) == shown


def test_numbers_do_not_wrap_and_prose_has_room() -> None:
    html = page.table(["name", "value", "words"], [["a", "3.1 / 4.2", "because " * 9]])
    assert "<td>a</td><td class=numbers>3.1 / 4.2</td><td class=long>because" in html


def test_the_chosen_row_is_set_off() -> None:
    html = page.table(["name"], [["a"], ["b"]], chosen=1)
    assert "<tr><td>a</td></tr><tr class=chosen><td>b</td></tr>" in html
