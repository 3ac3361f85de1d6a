#!/usr/bin/env python3
"""Collects the paintings of training.csv from the museums' open-access programmes (CC0).

    python3 assets/paintings-ddpm/collect.py FOLDER

Pictures that are in the folder already are not fetched again, so that an interrupted collection goes on. Those that a
museum no longer offers are named at the end. A picture per second, as the museums ask.
"""

import csv
import json
import os
import pathlib
import sys
import time
import urllib.request

# the addresses of the interfaces; tests set others
MET = os.environ.get("DDPM_MET", "https://collectionapi.metmuseum.org/public/collection/v1/objects")
AIC = os.environ.get("DDPM_AIC", "https://api.artic.edu/api/v1/artworks")
PAUSE = float(os.environ.get("DDPM_PAUSE", "1"))


def fetch(address):
    request = urllib.request.Request(address, headers={"User-Agent": "ddpm (collect.py)"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def picture(museum, number):
    """The address of a picture of some hundred pixels, if its work is in the public domain."""
    if museum == "met":
        work = json.loads(fetch(f"{MET}/{number}"))
        return work["primaryImageSmall"] if work["isPublicDomain"] else None
    answer = json.loads(fetch(f"{AIC}/{number}?fields=image_id,is_public_domain"))
    work, server = answer["data"], answer["config"]["iiif_url"]
    return f"{server}/{work['image_id']}/full/843,/0/default.jpg" if work["is_public_domain"] else None


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    missing = []
    with open(pathlib.Path(__file__).with_name("training.csv"), newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    for n, row in enumerate(rows, 1):
        file = folder / row["file"]
        if file.exists():
            continue
        print(f"{n}/{len(rows)} {row['title']}, {row['artist']}", flush=True)
        try:
            address = picture(row["museum"], row["object"])
            if not address:
                raise ValueError("not in the public domain, or without a picture")
            whole = file.with_suffix(".part")
            whole.write_bytes(fetch(address))
            whole.rename(file)  # it appears whole or not at all
        except (OSError, ValueError, KeyError, TypeError) as error:
            missing.append(f"{row['file']}: {error}")
        time.sleep(PAUSE)
    for line in missing:
        print(line, file=sys.stderr)
    print(f"{len(rows) - len(missing)} of {len(rows)} pictures in {folder}")
    sys.exit(1 if missing else 0)


main()
