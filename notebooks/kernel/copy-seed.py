"""copy-seed.py SEED WORK: a work folder for one kernel, in a fraction of a second.

Compiled libraries, nine tenths of the seed, are hard links: compilers and linkers replace such a file by another and
never write into it. Everything else is copied, with its times, by which cargo sees that nothing has changed.
"""

import os
import shutil
import sys

LIBRARIES = (".rlib", ".rmeta", ".so", ".dylib")


def link_or_copy(source, target):
    if source.endswith(LIBRARIES):
        try:
            os.link(source, target)
            return target
        except OSError:  # another disk, or one without links
            pass
    return shutil.copy2(source, target)


seed, work = sys.argv[1:]
shutil.copytree(seed, work, symlinks=True, copy_function=link_or_copy)
