"""Fitting the network to labelled frames."""
