"""Grades four submissions of every notebook with nbgrader, end to end: a right one, a half, a thoughtless and a broken one.

grading.py [NN ...]        in the course's environment, with nbgrader installed (TEACHING.md); a notebook takes some minutes

Right is full marks. Half has every other exercise right and the rest not written: at most what those are worth. An answer that
takes no thought (the default value of its type), and text that does not compile, have nothing.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

KERNEL = Path(__file__).resolve().parent.parent
COURSE = KERNEL.parent
sys.path.insert(0, str(KERNEL))

import nbformat
from nbgrader.api import Gradebook

POINTS = 2.0
BODY = re.compile(r"^ *todo!\(\)\n?", re.MULTILINE)


def bodies(released, solved):
    """What each student hands in: the released notebook, with other cells where the solutions were."""
    def written(cell, n, who):
        if who == "right" or who == "half" and n % 2 == 0:
            return solved[n]
        if who == "half":
            return cell.source
        return BODY.sub("    Default::default()\n" if who == "thoughtless" else "    let = ;\n", cell.source)

    for who in ["right", "half", "thoughtless", "broken"]:
        notebook, n = nbformat.reads(nbformat.writes(released), as_version=4), 0
        for cell in notebook.cells:
            if cell.metadata.get("nbgrader", {}).get("solution"):
                cell.source, n = written(cell, n, who), n + 1
        yield who, notebook


def grade(number, folder):
    """The marks of one notebook's four submissions, and how many exercises it has."""
    [source] = (COURSE / "sources").glob(f"{number}_*.rs")
    name, notebook = f"nb{number}", f"{source.stem}.ipynb"
    run = lambda *command: subprocess.run([sys.executable, "-m", "nbgrader", *command], cwd=folder, check=True, capture_output=True)
    made = folder / "source" / name / notebook
    subprocess.run([sys.executable, KERNEL / "assignment.py", source, made, str(POINTS)], check=True)
    run("generate_assignment", name, "--create")
    released = nbformat.read(folder / "release" / name / notebook, as_version=4)
    is_solution = lambda cell: cell.metadata.get("nbgrader", {}).get("solution")
    unmarked = lambda text: "\n".join(line for line in text.splitlines() if " SOLUTION" not in line)
    solved = [unmarked(cell.source) for cell in nbformat.read(made, as_version=4).cells if is_solution(cell)]
    for who, submitted in bodies(released, solved):
        target = folder / "submitted" / who / name / notebook
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(submitted, target)
    run("autograde", name, "--create")
    with Gradebook(f"sqlite:///{folder}/gradebook.db") as book:
        return len(solved), {s.student.id: s.score for s in book.assignment_submissions(name)}


def main(numbers):
    numbers = numbers or sorted(path.stem[:2] for path in (COURSE / "sources").glob("[0-9][0-9]_*.rs"))
    wrong = 0
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            shutil.copy(KERNEL / "nbgrader_config.py", folder)
            exercises, marks = grade(number, folder)
        full, half = POINTS * exercises, POINTS * ((exercises + 1) // 2)
        fine = marks["right"] == full and marks["half"] == half and marks["thoughtless"] == marks["broken"] == 0
        wrong += not fine
        print(f"{'✓' if fine else '✗'} {number}  of {full:g}: " + ", ".join(f"{who} {mark:g}" for who, mark in marks.items()), flush=True)
    sys.exit(wrong)


if __name__ == "__main__":
    os.environ.pop("DDPM_CLASS", None)
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}" # nbgrader calls alembic by its name
    main(sys.argv[1:])
