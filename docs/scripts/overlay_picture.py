"""Makes docs/overlay.jpg: one picture of what `partum replay` writes of the demonstration clip.

python docs/scripts/overlay_picture.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import av
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
PICTURE = REPOSITORY / "docs" / "overlay.jpg"
FRAME = 300
"""Late in the clip, so that the trend has something to show, and a standard plane."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(REPOSITORY / "partum.py"), "replay", "--out", folder]
        subprocess.run(command, check=True)
        with av.open(str(Path(folder) / "overlay.mp4")) as film:
            for number, frame in enumerate(film.decode(video=0)):
                if number == FRAME:
                    Image.fromarray(frame.to_ndarray(format="rgb24")).save(PICTURE, quality=85, optimize=True)
                    return
    sys.exit(f"overlay.mp4 has no frame {FRAME}")


if __name__ == "__main__":
    main()
