"""The documentation site builds without a warning, and everything on it leads somewhere that is on it."""

import json
import os
import re
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest
import yaml

import memorysam

from .app import browser
from .docs.blocks import ROOT, in_navigation

pytest.importorskip("material", reason="needs mkdocs-material: pip install -e '.[docs]'")
pytest.importorskip("mkdocstrings", reason="needs mkdocstrings: pip install -e '.[docs]'")

pytestmark = pytest.mark.slow


class Links(HTMLParser):
    """What a page is called, points to, and loads."""

    def __init__(self):
        super().__init__()
        self.names, self.links, self.loads = set(), set(), set()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.names.update(value for key in ("id", "name") if (value := given.get(key)))
        if tag == "a" and given.get("href"):
            self.links.add(given["href"])
        linked = given.get("href") if tag == "link" and given.get("rel") != "canonical" else None
        self.loads.update(one for one in (given.get("src"), given.get("poster"), given.get("data"), linked) if one)
        self.loads.update(one.split()[0] for one in (given.get("srcset") or "").split(",") if one.strip())


def build(config, out):
    """Build in a process of its own, as `make docs` does; with --quiet, warnings would not count."""
    command = [sys.executable, "-m", "mkdocs", "build", "--config-file", config, "--site-dir", out]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    done = build(ROOT / "mkdocs.yml", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return out


@pytest.fixture(scope="module")
def pages(site):
    found = {}
    for path in sorted(site.rglob("*.html")):
        found[path] = Links()
        found[path].feed(path.read_text(encoding="utf-8"))
    return found


def lost(pages, site, attribute):
    """Return what pages name that is not there."""
    for path, page in pages.items():
        for link in sorted(getattr(page, attribute)):
            parts = urlsplit(link)
            if parts.scheme in ("http", "https", "data", "mailto") or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target = target / "index.html"
            inside = target.is_relative_to(site.resolve()) and target.is_file()
            anchor = unquote(parts.fragment)
            if not inside or (anchor and target.suffix == ".html" and anchor not in pages[target].names):
                yield f"{path.relative_to(site)}: {link}"


def test_links_anchors_and_pictures_are_there(pages, site):
    assert sum(len(page.links) for page in pages.values()) > 1000
    assert list(lost(pages, site, "links")) == []
    assert list(lost(pages, site, "loads")) == []


def test_nothing_is_loaded_from_elsewhere(pages, site):
    """Links to other sites are for people to follow; whether they are still there cannot be seen without a network."""
    loaded = {one for page in pages.values() for one in page.loads}
    assert [one for one in loaded if urlsplit(one).netloc or one.startswith("//")] == []
    styles = [path.read_text(encoding="utf-8") for kind in ("*.css", "*.html") for path in site.rglob(kind)]
    assert styles
    assert [page.name for page in pages if 'class="mermaid"' in page.read_text(encoding="utf-8")] == [], (
        "the theme loads what draws these from elsewhere"
    )
    assert [found for style in styles for found in re.findall(r"(?:url\(|@import)\s*['\"]?https?:[^)]*", style)] == []
    followed = {link for page in pages.values() for link in page.links if link.startswith("http")}
    assert "https://arxiv.org/abs/2503.06700" in followed
    assert [link for link in followed if not re.fullmatch(r"https://[a-z0-9.-]+\.[a-z]+(/[^\s]*)?", link)] == []


def test_every_document_has_a_place_in_the_navigation(pages, site):
    named = in_navigation()
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    notebooks = {f"{path.stem}.md" for path in (ROOT / "docs").glob("*.ipynb")}
    assert notebooks
    assert written | notebooks <= named
    assert {site / place.replace(".md", ".html") for place in named} <= set(pages)


def test_every_public_name_is_explained(pages, site):
    names = set().union(*(page.names for path, page in pages.items() if path.parent == site / "api"))
    homes = {f"memorysam.{memorysam._HOME[name]}.{name}" for name in memorysam.__all__}
    assert homes <= names


def test_whatever_the_reference_shows_is_explained(site):
    """By words, before a list of its parameters begins; a class says its bases first."""
    contents = r'<div class="doc doc-contents[^>]*>'
    words = r'\s*(?:<p class="doc doc-class-bases">(?:(?!</p>).)*</p>\s*)?<p>(?!<span class="doc-section-title)'
    shown = "".join(path.read_text(encoding="utf-8") for path in sorted((site / "api").glob("*.html")))
    assert len(re.findall(contents, shown)) > 200
    assert [shown[at.end() : at.end() + 200] for at in re.finditer(f"{contents}(?!{words})", shown, re.DOTALL)] == []
    assert "<p><code>[B, C, 4h, 4w]</code>.</p>" in shown  # a comment beside a field


def test_every_setting_and_every_command_is_there(site):
    from memorysam.cli import VERBS
    from memorysam.config import RunSettings

    def leaves(group, prefix=""):
        for name, field in group.model_fields.items():
            if hasattr(field.annotation, "model_fields"):
                yield from leaves(field.annotation, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}"

    said = (site / "settings.html").read_text(encoding="utf-8")
    settings = list(leaves(RunSettings))
    assert len(settings) > 60
    assert [name for name in settings if f"<span id='{name}'></span><code>{name}</code>" not in said] == []
    assert "<code>train.dice</code> <small>number from 0 to 1; default <code>0.0</code></small>" in said
    assert "<code>model.latest</code> <small>whole number from 0; default <code>0</code></small>" in said
    commands = (site / "commands.html").read_text(encoding="utf-8")
    assert [verb for verb in VERBS if f"usage: memorysam {verb}" not in commands] == []


def test_what_was_written_can_be_found(site):
    index = json.loads((site / "search/search_index.json").read_text(encoding="utf-8"))["docs"]
    places = {one["location"] for one in index}
    assert {"start.html", "settings.html", "first-steps.html", "project/security.html"} <= places
    assert [place for place in places if place.startswith("files/")] == [], "numbers by the thousand"


@pytest.fixture(scope="module")
def opened(site, tmp_path_factory):
    """The site's first page, as somebody sees it who opens the file, without a server."""
    if browser.missing():
        pytest.skip(browser.missing())
    with browser.tab((site / "index.html").as_uri(), tmp_path_factory.mktemp("downloads")) as tab:
        yield tab


@pytest.fixture(scope="module")
def served(site):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_pages_fetch_nothing_from_elsewhere_and_fit_a_phone(opened, served, pages, site):
    """Whatever is wider than a phone scrolls by itself."""
    phone = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    opened.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    fetched = set()
    for path in pages:
        opened.driver.get(f"{served}/{path.relative_to(site).as_posix()}")
        fetched |= set(opened.driver.execute_script("return performance.getEntriesByType('resource').map(e => e.name)"))
        assert opened.driver.execute_script("return document.documentElement.scrollWidth") == 400, path.name
    opened.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert any(one.endswith(".css") for one in fetched)
    assert [one for one in fetched if not one.startswith((served, "data:", "blob:"))] == []
    assert opened.driver.get_log("browser") == []


def test_words_are_found_without_a_server(opened, site):
    opened.driver.get((site / "api/index.html").as_uri())
    opened.one(".md-search__input").send_keys("warmup")  # a part of train.warmup_epochs
    found = opened.until(lambda: [a.get_attribute("href") for a in opened.all(".md-search-result__link")])
    assert any(link.startswith((site / "settings.html").as_uri()) for link in found), found
    assert opened.driver.get_log("browser") == []


def test_a_click_makes_it_dark(opened, site):
    opened.driver.get((site / "index.html").as_uri())
    colour = "return getComputedStyle(document.body).backgroundColor"
    before = opened.driver.execute_script(colour)
    shown = lambda: [label for label in opened.all("[data-md-component=palette] label") if label.is_displayed()]  # noqa: E731
    opened.until(shown)[0].click()
    opened.until(lambda: opened.driver.execute_script(colour) != before)
    assert opened.one("body").get_attribute("data-md-color-scheme") == "slate"
    opened.driver.get((site / "start.html").as_uri())
    assert opened.one("body").get_attribute("data-md-color-scheme") == "slate", "the next page remembers"


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("[gone](nowhere.md)", "nowhere.md"),
        ("[gone](start.md#nowhere)", "nowhere"),
        ("::: memorysam.nowhere.Nothing", "memorysam.nowhere"),
    ],
    ids=["page", "anchor", "name"],
)
def test_what_leads_nowhere_fails_the_build(tmp_path, broken, said):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text(f"# Home\n\n{broken}\n")
    (tmp_path / "docs/start.md").write_text("# Start\n")
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    del config["nav"], config["hooks"], config["extra_css"]
    reference = next(one["mkdocstrings"] for one in config["plugins"] if "mkdocstrings" in one)
    del reference["handlers"]["python"]["options"]["extensions"]
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config))
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
