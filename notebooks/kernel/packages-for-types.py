"""packages-for-types.py CARGO metadata …: the answer of `cargo metadata`, with the packages that types come from.

evcxr asks rust-analyzer for the types of variables. rust-analyzer reads the sources of every package that
`cargo metadata` names, a hundred of them and those of the standard library; with these few a kernel starts in 7 seconds
instead of 27. What is compiled does not change: evcxr builds with the toolchain's own cargo.
"""

import json
import subprocess
import sys

TYPES = {"ctx",  # the crate into which evcxr puts the cells
         "ddpm-notebook", "ddpm", "ndarray", "ndarray-rand", "rand", "rand_core", "rand_distr", "rand_chacha",
         # the standard library, which is a workspace of its own
         "core", "alloc", "std", "proc_macro", "test", "sysroot",
         "rustc-std-workspace-core", "rustc-std-workspace-alloc", "rustc-std-workspace-std"}

answer = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, check=False)
if answer.returncode != 0:
    sys.exit(answer.returncode)
metadata = json.loads(answer.stdout)
metadata["packages"] = [package for package in metadata["packages"] if package["name"] in TYPES]
kept = {package["id"] for package in metadata["packages"]}
for members in ["workspace_members", "workspace_default_members"]:
    metadata[members] = [package for package in metadata.get(members, []) if package in kept]
nodes = [node for node in metadata["resolve"]["nodes"] if node["id"] in kept]
for node in nodes:
    node["dependencies"] = [package for package in node["dependencies"] if package in kept]
    node["deps"] = [dependency for dependency in node["deps"] if dependency["pkg"] in kept]
metadata["resolve"]["nodes"] = nodes
json.dump(metadata, sys.stdout)
