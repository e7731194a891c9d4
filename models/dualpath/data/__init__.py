"""Pairs of media files, decoded once into memory-mapped arrays, and augmented on the fly.

index          which pairs there are, and their labels
cache          files to arrays, resumable
augmentation   what may change without changing the match
batches        arrays to batches of tensors
features       pairs given as precomputed features, in documented layouts
"""
