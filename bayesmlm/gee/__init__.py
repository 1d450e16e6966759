"""The population reading: generalised estimating equations."""
