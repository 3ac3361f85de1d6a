"""Counts the predictions of a class.

tally.py NOTEBOOK.ipynb ...

Of each question: how many have chosen what, in the order of the choices, and how many nothing.
"""

import ast
import re
import sys
from collections import Counter
from pathlib import Path

import nbformat

CALL = re.compile(r'check::predict\(\s*("(?:[^"\\]|\\.)*"),\s*&(\[.*?\]),\s*(\d+),?\s*\)', re.DOTALL)


def predictions(path):
    """Of each question of a notebook: its text, the choices, and the number that was chosen."""
    for cell in nbformat.read(path, as_version=4).cells:
        for question, choices, chosen in CALL.findall(cell.source):
            yield ast.literal_eval(question), tuple(ast.literal_eval(choices)), int(chosen)


def main(paths):
    counts = {}
    for path in paths:
        for question, choices, chosen in predictions(path):
            counts.setdefault((question, choices), Counter())[chosen] += 1
    for (question, choices), chosen in counts.items():
        print(question)
        for number, choice in [*enumerate(choices, 1), (0, "(nothing)")]:
            print(f"{chosen[number]:5}  {choice}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(map(Path, sys.argv[1:]))
