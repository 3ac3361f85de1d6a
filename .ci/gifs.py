"""Every frame of the committed animations, decoded by Pillow: none is black, none repeats the one before."""

import pathlib

from PIL import Image

for path in sorted(pathlib.Path("figures").glob("*.gif")):
    with Image.open(path) as animation:
        before = None
        for n in range(animation.n_frames):
            animation.seek(n)
            frame = animation.convert("RGB")
            darkest, brightest = frame.convert("L").getextrema()
            assert darkest < 32 and brightest > 224, f"{path}, frame {n}: {darkest} to {brightest}"
            assert frame.tobytes() != before, f"{path}, frame {n}: as the one before"
            before = frame.tobytes()
        print(f"{path}: {animation.n_frames} frames")
