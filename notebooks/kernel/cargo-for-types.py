#!/usr/bin/env python3
"""The `cargo` that evcxr's rust-analyzer finds: it hides the packages that no type in a notebook is made of.

evcxr asks rust-analyzer for the types of variables. rust-analyzer reads the sources of every package that
`cargo metadata` names, a hundred of them; with these few a kernel starts in 8 seconds instead of 27. What is compiled
does not change: evcxr builds with the toolchain's own cargo.
"""

import json
import os
import subprocess
import sys

TYPES = {"ctx",  # the crate into which evcxr puts the cells
         "ddpm-notebook", "ddpm", "ndarray", "ndarray-rand", "rand", "rand_core", "rand_distr", "rand_chacha"}

os.environ["CARGO_HOME"] = os.environ["DDPM_CARGO_HOME"]
cargo = os.environ["DDPM_CARGO"]
arguments = sys.argv[1:]
manifest = os.path.join(os.environ["EVCXR_TMPDIR"], "Cargo.toml")
if arguments[:1] != ["metadata"] or "--no-deps" in arguments or manifest not in arguments:
    os.execv(cargo, [cargo, *arguments])

answer = subprocess.run([cargo, *arguments], stdout=subprocess.PIPE, check=False)
if answer.returncode != 0:
    sys.exit(answer.returncode)
metadata = json.loads(answer.stdout)
metadata["packages"] = [package for package in metadata["packages"] if package["name"] in TYPES]
kept = {package["id"] for package in metadata["packages"]}
nodes = [node for node in metadata["resolve"]["nodes"] if node["id"] in kept]
for node in nodes:
    node["dependencies"] = [package for package in node["dependencies"] if package in kept]
    node["deps"] = [dependency for dependency in node["deps"] if dependency["pkg"] in kept]
metadata["resolve"]["nodes"] = nodes
json.dump(metadata, sys.stdout)
