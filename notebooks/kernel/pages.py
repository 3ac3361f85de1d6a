"""Writes the stored notebooks, their slides and their table of contents as web pages that need no network.

pages.py NOTEBOOKS FOLDER
"""

import re
import shutil
import sys
from importlib import resources
from pathlib import Path

import nbformat
from markdown_it import MarkdownIt
from nbconvert import HTMLExporter

MATHJAX = "mathjax/MathJax.js?config=TeX-AMS-MML_HTMLorMML-full,Safe"
# the package brings one font of its own and no images of letters
FONTS = '<script>window.MathJax = {"HTML-CSS": {availableFonts: [], webFont: "STIX-Web", imageFont: null}}</script>'
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
img {{ max-width: 100% }} pre {{ overflow-x: auto }} table {{ border-collapse: collapse }} td, th {{ border-bottom: 1px solid #ddd; padding: .3rem .8rem;
text-align: left; vertical-align: top }}</style>{body}</html>
"""


# where on the front page, with the model, a reader can try what a notebook is about
TRY = {"02": "h-image", "03": "h-sample", "04": "h-image", "11": "h-image", "12": "h-between", "13": "h-sample", "14": "h-fill"}
LINKS = """<nav aria-label="Site" style="font: 15px system-ui, sans-serif; padding: .5rem 1rem"><a href="index.html">The course</a> ·
<a href="{slides}">as slides</a>{place}</nav>"""

# one slide after the other: a slide is a cell with the tag "slide" and those up to the next one
SLIDES = """<style>
.jp-Cell { display: none } .jp-Cell.now { display: block } main { zoom: 1.5; max-width: 62rem; margin: auto !important }
body:not(.code) .jp-CodeCell .jp-InputArea { display: none } .jp-InputPrompt, .jp-OutputPrompt { display: none !important }
#place { position: fixed; right: 1rem; bottom: .5rem; color: #57606a; font: 14px system-ui, sans-serif }
</style><div id="place" role="status"></div><script>
addEventListener("DOMContentLoaded", () => {
  const slides = []
  for (const cell of document.querySelectorAll(".jp-Cell")) {
    if (cell.querySelector(".celltag_slide") || !slides.length) slides.push([])
    slides.at(-1).push(cell)
  }
  let now = Math.min(Math.max(parseInt(location.hash.slice(1)) || 1, 1), slides.length)
  const show = to => {
    now = Math.min(Math.max(to, 1), slides.length)
    slides.forEach((cells, i) => cells.forEach(cell => cell.classList.toggle("now", i + 1 === now)))
    document.getElementById("place").textContent = `${now} / ${slides.length}`
    history.replaceState(null, "", `#${now}`)
    scrollTo(0, 0)
  }
  addEventListener("keydown", event => {
    if (["ArrowRight", "PageDown", " "].includes(event.key)) show(now + 1)
    else if (["ArrowLeft", "PageUp"].includes(event.key)) show(now - 1)
    else if (event.key === "Home") show(1)
    else if (event.key === "End") show(slides.length)
    else if (event.key === "c") document.body.classList.toggle("code")
    else return
    event.preventDefault()
  })
  addEventListener("click", event => { if (!event.target.closest("a")) show(now + 1) })
  show(now)
})
</script>"""


def slides(notebook):
    """The notebook with a new cell at each heading, which begins a slide."""
    cells = []
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            cells.append(cell)
            continue
        for part in re.split(r"(?m)^(?=#{1,3} )", cell.source):
            if part.strip():
                tags = ["slide"] if part.startswith("#") else []
                cells.append(nbformat.v4.new_markdown_cell(part, metadata={"tags": tags}))
    return nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)


def moving(notebook):
    """The notebook with its animations as HTML: nbconvert knows no GIF."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            gif = output.get("data", {}).pop("image/gif", None)
            if gif:
                output["data"]["text/html"] = f'<img alt="an animation" src="data:image/gif;base64,{gif}">'
    return notebook


def with_pictures(body, notebooks, folder):
    """Pictures of the repository come along."""
    for name in re.findall(r'src="\.\./figures/([\w.]+)"', body):
        (folder / "figures").mkdir(exist_ok=True)
        shutil.copy(notebooks / "../figures" / name, folder / "figures" / name)
    return body.replace('src="../figures/', 'src="figures/')


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
        notebook = moving(nbformat.read(path, as_version=4))
        for name, cells, end in [(path.stem, notebook, ""), (f"{path.stem}.slides", slides(notebook), SLIDES)]:
            body, _ = exporter.from_notebook_node(cells, resources={"metadata": {"name": path.stem}})
            body = body.replace("<head>", f"<head>{FONTS}", 1)
            if not end:
                place = TRY.get(path.name[:2])
                place = f' · <a href="../index.html#{place}">try it with the model</a>' if place else ""
                links = LINKS.format(slides=f"{path.stem}.slides.html", place=place)
                body = re.sub(r"(<body[^>]*>)", lambda match: match.group(1) + links, body, count=1)
            before, close, after = body.rpartition("</body>")
            (folder / f"{name}.html").write_text(before + end + close + after, "utf-8")
    for path in notebooks.glob("*.md"):
        name = "index" if path.stem == "README" else path.stem
        (folder / f"{name}.html").write_text(with_pictures(page(path), notebooks, folder), "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
