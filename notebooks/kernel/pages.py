"""Writes the stored notebooks and their table of contents as web pages that need no network.

pages.py NOTEBOOKS FOLDER
"""

import re
import shutil
import sys
from importlib import resources
from pathlib import Path

from markdown_it import MarkdownIt
from nbconvert import HTMLExporter

MATHJAX = "mathjax/MathJax.js?config=TeX-AMS-MML_HTMLorMML-full,Safe"
# the package brings one font of its own and no images of letters
FONTS = '<script>window.MathJax = {"HTML-CSS": {availableFonts: [], webFont: "STIX-Web", imageFont: null}}</script>'
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
img {{ max-width: 100% }} table {{ border-collapse: collapse }} td, th {{ border-bottom: 1px solid #ddd; padding: .3rem .8rem;
text-align: left; vertical-align: top }}</style>{body}</html>
"""


def page(markdown):
    """A Markdown file as a page; links to notebooks lead to their pages."""
    body = MarkdownIt("commonmark").enable("table").render(markdown.read_text("utf-8"))
    title = re.search(r"^# (.+)$", markdown.read_text("utf-8"), re.MULTILINE).group(1)
    return PAGE.format(title=title, body=re.sub(r'href="([\w/]+)\.(ipynb|md)"', r'href="\1.html"', body))


def main(notebooks, folder):
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(resources.files("jupyter_server_mathjax") / "static", folder / "mathjax", dirs_exist_ok=True)
    exporter = HTMLExporter(mathjax_url=MATHJAX, require_js_url="")
    for path in sorted(notebooks.glob("[0-9][0-9]_*.ipynb")):
        body, _ = exporter.from_filename(str(path))
        (folder / f"{path.stem}.html").write_text(body.replace("<head>", f"<head>{FONTS}", 1), "utf-8")
    for path in notebooks.glob("*.md"):
        name = "index" if path.stem == "README" else path.stem
        (folder / f"{name}.html").write_text(page(path), "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
