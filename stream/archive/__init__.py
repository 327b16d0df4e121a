"""Many recordings on a Ray cluster: each content once, into a partitioned Parquet dataset of frames and of loops."""
