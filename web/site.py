"""Writes the site around the course's pages: the model in the browser, the results, what a search needs.

site.py REPOSITORY MODEL.wasm DOCUMENTATION FOLDER

FOLDER/course has the pages of the notebooks already.
"""

import base64
import csv
import gzip
import json
import re
import shutil
import sys
from html import unescape
from pathlib import Path

from markdown_it import MarkdownIt

PIXELS = 784
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><link rel="stylesheet" href="style.css"><style>body {{ max-width: 70rem }} img {{ max-width: 100% }}
table {{ border-collapse: collapse; display: block; overflow-x: auto }} td, th {{ border-bottom: 1px solid var(--line);
padding: .3rem .8rem; text-align: left; vertical-align: top }}</style><nav aria-label="Site"><a href="index.html">The model</a>
<a href="course/index.html">The course</a> <a href="api/ddpm/index.html">API</a></nav><main>{body}</main></html>
"""


def idx(path):
    """The bytes of a gzipped IDX file behind its header."""
    data = gzip.decompress(path.read_bytes())
    return data[4 + 4 * data[3]:]


def garments(assets, classes):
    """The first two test images of each class, and the names of their classes."""
    [images] = assets.glob("t10k-images*.gz")
    [labels] = assets.glob("t10k-labels*.gz")
    images, labels = idx(images), idx(labels)
    chosen = [[n for n, label in enumerate(labels[:1000]) if label == klass][:2] for klass in range(10)]
    chosen = [pair[i] for i in range(2) for pair in chosen]
    return b"".join(images[n * PIXELS:(n + 1) * PIXELS] for n in chosen), [classes[labels[n]] for n in chosen]


def paid(path):
    """Entry t: the bits/dim of the bound's terms from T down to step t + 1, of the shipped network on test images (Eq. 5)."""
    terms = {"L_T": 0.0}
    with path.open(encoding="utf-8") as table:
        for row in csv.DictReader(table):
            if row["variance"] == "beta":
                terms["L_T" if row["term"] == "L_T" else int(row["t"])] = float(row["bits_per_dim"])
    paid = [terms["L_T"]]
    for t in range(1000, 0, -1):
        paid.append(paid[-1] + terms[t])
    return [round(bits, 6) for bits in reversed(paid)]


def results(repository, folder):
    """RESULTS.md and its pictures."""
    text = (repository / "RESULTS.md").read_text("utf-8")
    body = MarkdownIt("commonmark").enable("table").render(text)
    for name in set(re.findall(r'(?:src|href)="figures/([\w.]+)"', body)):
        (folder / "figures").mkdir(exist_ok=True)
        shutil.copy(repository / "figures" / name, folder / "figures" / name)
    body = re.sub(r'href="notebooks/(\w+)\.(?:ipynb|md)', r'href="course/\1.html', body)
    (folder / "results.html").write_text(PAGE.format(title="Results", body=body), "utf-8")


def index(course):
    """Every heading of the notebooks' pages, with the text below it."""
    found = []
    for path in sorted(course.glob("[0-9][0-9]_*.html")):
        if path.name.endswith(".slides.html"):
            continue
        body = path.read_text("utf-8")
        body = re.sub(r"<(script|style|svg|pre)\b.*?</\1>|data:image/[^\"]*", " ", body, flags=re.DOTALL)
        title = unescape(re.sub(r"<[^>]*>|¶", "", re.search(r"<h1[^>]*>(.*?)</h1>", body, re.DOTALL).group(1))).strip()
        parts = re.split(r'<h[123] id="([^"]*)"[^>]*>(.*?)</h[123]>', body, flags=re.DOTALL)
        for place, heading, text in zip(parts[1::3], parts[2::3], parts[3::3]):
            heading, text = (unescape(re.sub(r"<[^>]*>|¶", " ", x)) for x in (heading, text))
            text = " ".join(f"{heading} {text}".lower().split())
            found.append({"title": title, "heading": heading.strip(), "url": f"course/{path.name}#{place}", "text": text[:1500]})
    return found


def main(repository, model, documentation, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for path in (repository / "web/page").iterdir():
        shutil.copy(path, folder / path.name)
    shutil.copy(model, folder / "model.wasm")
    classes = json.loads((repository / "assets/fashion-mnist-told/about.json").read_text("utf-8"))["classes"]["names"]
    images, labels = garments(repository / "assets/fashion-mnist", classes)
    data = {"garments": base64.b64encode(images).decode(), "labels": labels, "classes": classes,
            "paid": paid(repository / "figures/elbo.csv"), "size": model.stat().st_size}
    (folder / "data.js").write_text(f"const DATA = {json.dumps(data)}\n", "utf-8")
    # what a page that was opened from a folder may not fetch
    (folder / "model.js").write_text(f'const MODEL = "{base64.b64encode(model.read_bytes()).decode()}"\n', "utf-8")
    results(repository, folder)
    shutil.copytree(documentation, folder / "api", dirs_exist_ok=True)
    found = index(folder / "course") if (folder / "course").is_dir() else []
    (folder / "search-index.js").write_text(f"const INDEX = {json.dumps(found, ensure_ascii=False)}\n", "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
