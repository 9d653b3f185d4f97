import re

from memorysam.evaluation.page import Page


def saved(page, tmp_path):
    page.save(tmp_path / "page.html")
    return (tmp_path / "page.html").read_text()


def test_what_is_not_known_is_a_dash_without_a_bar(tmp_path):
    page = Page("x")
    page.table(["class", "IoU"], [["road", 50.0], ["bus", float("nan")], ["car", None]], bar=1)
    text = saved(page, tmp_path)
    assert re.findall(r"<td class=\"number\">([^<]*)</td>", text) == ["50.0", "-", "-"]
    assert re.findall(r"width:([\d.]+)%", text) == ["50.0", "0.0", "0.0"]


def test_a_drawing_and_a_long_text_need_no_other_file(tmp_path):
    page = Page("x")
    page.drawing(b"<svg/>", "a <curve>")
    page.more("settings", "a: <b>")
    text = saved(page, tmp_path)
    assert 'src="data:image/svg+xml;base64,PHN2Zy8+"' in text
    assert "a &lt;curve&gt;" in text
    assert "<pre>a: &lt;b&gt;</pre></details>" in text
    assert not re.search(r"(href|src)=\"(?!data:)", text)


def test_it_has_colours_for_the_dark(tmp_path):
    text = saved(Page("x"), tmp_path)
    assert "prefers-color-scheme: dark" in text
    style = text[text.index("<style>") : text.index("</style>")]
    rules = style[style.index("body {") :]
    assert set(re.findall(r"#\w{3,6}", rules)) <= {"#fff", "#888"}, "other colours are named once for light and dark"
