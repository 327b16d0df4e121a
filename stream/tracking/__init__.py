"""AoP and HSD over time: filtered values with intervals; single readings come from `measurement`."""
