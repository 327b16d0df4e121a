"""Fitting the networks to labelled frames; nothing that judges a finished model."""
