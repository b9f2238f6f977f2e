"""Pages: what comes from data is escaped, figures are vector graphics with a caption."""

from html import unescape

import pytest
from matplotlib.figure import Figure

from components import page


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
    def drawn() -> str:
        drawing = Figure()
        drawing.subplots().plot([1, 2], [3, 4])
        return page.figure(drawing, "a <line>")

    assert drawn() == drawn()
    assert drawn().startswith("<figure")
    assert "<svg" in drawn()
    assert "a &lt;line&gt;</figcaption>" in drawn()


@pytest.mark.parametrize("label", ["$$", "$100%-$200", "a$^$b", "{$a}$"])
def test_dollar_signs_are_no_mathematics(label: str) -> None:
    drawing = Figure()
    drawing.subplots().set_title(label)
    assert f">{label}</text>" in unescape(page.figure(drawing, "labels"))


def test_the_chosen_row_is_set_off() -> None:
    html = page.table(["name"], [["a"], ["b"]], chosen=1)
    assert "<tr><td>a</td></tr><tr class=chosen><td>b</td></tr>" in html
