"""Tests of the augmentation of training frames."""
