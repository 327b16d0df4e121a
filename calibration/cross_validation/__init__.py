"""Out-of-fold predictions of the grouped folds, and how right they are; trains nothing."""
