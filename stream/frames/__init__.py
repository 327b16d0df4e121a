"""One frame and what travels with it: spacing, regions, segment, time; no decoding and no measuring."""
