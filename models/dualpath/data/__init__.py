"""Pairs of media files, decoded once into memory-mapped arrays, and augmented on the fly.

sources        where pairs come from, as the commands see it: a world, or a user's files
listing        a CSV or a folder of media files
media_facts    digests and lengths of files, read once
files          listed files as pairs: splits, items, passages
index          which pairs there are, and their labels
emotion        whether the emotion that is known serves the losses
reading        the part of a file that a pair needs
cache          files to arrays, resumable
augmentation   what may change without changing the match
batches        arrays to batches of tensors
features       pairs given as precomputed features, in documented layouts
"""
