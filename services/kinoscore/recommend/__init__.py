"""The front door: composes the encoders, fusion and ranking into one call."""
