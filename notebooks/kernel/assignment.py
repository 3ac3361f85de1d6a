"""Makes the source of an nbgrader assignment from a notebook and its solutions.

assignment.py NOTEBOOK.rs SOURCE.ipynb [POINTS]

The functions of the exercises become solution cells, and a cell that returns points (POINTS for each, 1 if not
given) stands behind every check. `nbgrader generate_assignment` then takes the solutions out.
"""

import re
import sys
from pathlib import Path

import nbformat

import run

ITEM = re.compile(r"^(?:(?:///|//|#\[).*\n)*(?:pub )?(?:fn|struct|enum|const|type|impl|trait)\b", re.MULTILINE)


def items(text):
    """The items of a file of solutions: (the name if it is a function, its text), and its `use` lines."""
    # the notebook has the crate's names; once more inside a function they would hide what the student has defined
    uses = re.findall(r"^use (?!ddpm)[^;]*;", text, re.MULTILINE)
    text = re.sub(r"^use [^;]*;\n", "", text, flags=re.MULTILINE)
    starts = [match.start() for match in ITEM.finditer(text)] + [len(text)]
    found = []
    for start, end in zip(starts, starts[1:]):
        item = text[start:end].strip()
        name = re.search(r"^(?:pub )?fn (\w+)", item, re.MULTILINE)
        found.append((name.group(1) if name else None, item))
    return found, uses


def solved(stub, name, solutions, exercises):
    """A stub with its `todo!()` replaced by the solution, between the marks that nbgrader looks for."""
    found, uses = items(solutions)
    function = dict(found)[name]
    body = function[function.index("{\n", function.index(f"fn {name}")) + 2:function.rindex("}")].rstrip()
    helpers = [item for other, item in found if other not in exercises]
    inside = [f"    {line}".rstrip() for text in [*uses, *helpers] for line in text.splitlines()]
    lines = ["    // BEGIN SOLUTION", *inside, body, "    // END SOLUTION"]
    before, after = re.split(r"^ *todo!\(\)\n?", stub, maxsplit=1, flags=re.MULTILINE)
    return before + "\n".join(lines) + "\n" + after


def marked(cell, grade_id, **marks):
    """A cell as nbgrader wants it."""
    cell.metadata["nbgrader"] = {"grade": False, "solution": False, "locked": True, "task": False,
                                 "schema_version": 3, "grade_id": grade_id, **marks}
    return cell


def assignment(source, points):
    notebook = run.read(source)
    solutions = (source.parent.parent / "solutions" / source.name).read_text("utf-8")
    checks = [cell.source for cell in notebook.cells if "check" in cell.metadata.get("tags", [])]
    exercises = [re.search(r"check::(\w+)\(", check).group(1) for check in checks]
    cells, waiting = [], iter(exercises)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "exercise" in tags:
            name = next(waiting)
            cell.source = solved(cell.source, name, solutions, exercises)
            marked(cell, name, solution=True, locked=False)
        cells.append(cell)
        if "check" in tags:
            graded = nbformat.v4.new_code_cell(f"{cell.source}.points({points:.1f})", id=f"{cell.id}-points")
            cells.append(marked(graded, f"{name}-points", grade=True, points=points))
    notebook.cells = cells
    return notebook


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    target = Path(sys.argv[2])
    target.parent.mkdir(parents=True, exist_ok=True)
    run.write(assignment(Path(sys.argv[1]), float(sys.argv[3]) if len(sys.argv) == 4 else 1.0), target)
