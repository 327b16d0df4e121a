"""From label masks to AoP, HSD and landmarks, or the reason why not; no files, no time."""
