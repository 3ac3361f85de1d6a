"""Every frame of the committed animations, decoded by Pillow: none is black or blank, none repeats the one before."""

import pathlib

from PIL import Image

for path in sorted(pathlib.Path("figures").glob("*.gif")):
    with Image.open(path) as animation:
        before = None
        for n in range(animation.n_frames):
            animation.seek(n)
            frame = animation.convert("RGB")
            grey = frame.convert("L")
            darkest, brightest = grey.getextrema()
            levels = len(grey.getcolors(256))
            # a frame that is lost is of one colour; pictures on white paper are not, though a decoder of latents, given noise,
            # draws none that is black
            assert darkest < 64 and brightest > 224, f"{path}, frame {n}: {darkest} to {brightest}"
            assert levels > 64, f"{path}, frame {n}: {levels} grey levels"
            assert frame.tobytes() != before, f"{path}, frame {n}: as the one before"
            before = frame.tobytes()
        print(f"{path}: {animation.n_frames} frames")
