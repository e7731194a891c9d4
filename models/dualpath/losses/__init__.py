"""The losses of the method, one module each: pure functions of tensors.

reconstruction   the decoders of the content path
distinguish      the emotion distinguish loss: does the network really carry emotion?
emotion          regression of valence and arousal
metric           max-margin and InfoNCE, each with the polarity penalty factor
"""
