"""The losses of the method, one module each: pure functions of tensors.

reconstruction   the decoders of the content path
distinguish      the emotion distinguish loss: does the network really carry emotion?
distribution     emotion classes as a distribution
emotion          regression of valence and arousal
metric           max-margin and InfoNCE, each with the polarity penalty factor
triplet          the hinge of two-branch embeddings, a baseline
structure        the soft intra-modal structure constraint of the same
"""
