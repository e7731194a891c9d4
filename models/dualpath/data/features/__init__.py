"""Pairs given as precomputed features, in documented layouts.

pairs      the common form: tokens of both sides, emotion, groups; its checks
loading    files of features, opened: what is wrong with one is a line that names it
prepare    what every method may assume: narrow, standardised tokens, emotion as a distribution
muvisync   597 + 75 music videos at 1 Hz, cut into a fixed number of tokens
emomv      one vector a segment, rows that match in emotion or do not
extract    a user's own files to features, by frozen backbones
extracted  what was so extracted
world      a generated world through the fixed front ends of the network
layouts    the layouts by name, and which arrays a model of each needs
mgsv       the published layout of MGSV-EC: CSV splits, a file of frames or windows an item
"""
