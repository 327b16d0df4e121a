"""What the networks of the grouped folds say of the frames that each has not seen, and how right that is."""
