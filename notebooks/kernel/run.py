"""Runs notebooks without a browser; needs nbclient and jupytext, and the kernel "ddpm".

run.py seed                       compile everything that a kernel begins with
run.py execute NOTEBOOK.rs OUT    run the cells of a paired file, write OUT (.ipynb) with their outputs
run.py pair NOTEBOOK.rs OUT       write OUT without running anything; outputs of unchanged cells stay
"""

import os
import re
import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

KERNEL = {"display_name": "Rust (ddpm)", "language": "rust", "name": "ddpm"}
# what Jupyter would write after the first run; the notebooks never differ in it
LANGUAGE = {"codemirror_mode": "rust", "file_extension": ".rs", "mimetype": "text/rust", "name": "Rust",
            "pygment_lexer": "rust", "version": ""}
SETUP = ':dep ddpm = { package = "ddpm-notebook", path = "kernel" }\nuse ddpm::prelude::*;\nddpm::start();'
WARM = [SETUP, "Schedule::linear(1000).alpha_bar(1000)", "let mut x = 1.0_f64; x += 1.0; x",
        "let model = checkpoint::shipped().expect(\"the shipped network\"); model.unet.config", "let answer = no_such_function();"]
SECONDS = 1800  # for one cell: the first one of the seed compiles the crate


def read(path):
    """The notebook of a paired file; cells have the ids of their place, so that a diff shows what changed."""
    notebook = jupytext.read(path, fmt="rs:percent")
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i:02}"
    # nothing of jupytext's own: with it, JupyterLab would rewrite the paired file whenever a student saves
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    return notebook


def tidy(cell):
    """Drops what differs from run to run and joins what was printed line by line."""
    cell.metadata.pop("execution", None)
    if cell.cell_type != "code":
        return
    outputs = []
    for output in cell.outputs:
        before = outputs[-1] if outputs else {}
        if output.output_type == "stream" and before.get("name") == output.name:
            before["text"] += output.text
        else:
            outputs.append(output)
    for output in outputs:
        if output.output_type == "execute_result":  # evcxr adds how long a cell took
            output.metadata = {}
    cell.outputs = outputs


def failures(notebook):
    """What a student would see and evcxr reports as a success."""
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            text = output.get("text", "")
            if "panicked" in text:
                yield f"cell {number}: {text.strip()}\n{cell.source}"


def execute(source, target):
    notebook = read(source)
    os.environ.setdefault("NB_STRICT", "1")
    client = NotebookClient(notebook, timeout=SECONDS, startup_timeout=120, kernel_name=KERNEL["name"])
    try:
        client.execute()
    except (CellExecutionError, DeadKernelError) as error:
        said = [line for cell in notebook.cells for output in cell.get("outputs", [])
                for line in output.get("traceback", [output.get("text", "")])]
        plain = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join([f"{error}".strip(), *said[-12:]]))
        sys.exit(f"{source.name}: {plain}")
    bad = list(failures(notebook))
    if bad:
        sys.exit(f"{source.name}: " + "\n".join(bad))
    for cell in notebook.cells:
        tidy(cell)
    write(notebook, target)


def pair(source, target):
    notebook = read(source)
    if target.exists():
        stored = {cell.source: cell for cell in nbformat.read(target, as_version=4).cells}
        for cell in notebook.cells:
            old = stored.get(cell.source)
            if cell.cell_type == "code" and old is not None:
                cell.outputs, cell.execution_count = old.outputs, old.execution_count
    write(notebook, target)


def write(notebook, target):
    notebook.metadata["language_info"] = nbformat.from_dict(LANGUAGE)
    nbformat.validate(notebook)
    scratch = target.with_suffix(".new")
    nbformat.write(notebook, scratch)
    scratch.replace(target)


def seed():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in WARM])
    # the last cell is an error on purpose: its messages need `cargo check`, whose files are then there as well
    client = NotebookClient(notebook, timeout=SECONDS, startup_timeout=120, allow_errors=True, kernel_name=KERNEL["name"])
    client.execute()
    for cell in notebook.cells[:-1]:
        for output in cell.outputs:
            if output.output_type == "error":
                sys.exit("\n".join(output.traceback))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["seed"]:
            seed()
        case ["execute", source, target]:
            execute(Path(source), Path(target))
        case ["pair", source, target]:
            pair(Path(source), Path(target))
        case _:
            sys.exit(__doc__)
