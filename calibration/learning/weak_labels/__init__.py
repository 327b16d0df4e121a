"""Masks that a teacher network writes for frames without one, and which of them may be learned from."""
