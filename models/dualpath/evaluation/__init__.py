"""How good is it: retrieval figures, with the random row and the oracle beside them.

retrieval   recall@k, median rank, mean reciprocal rank, bootstrap intervals: pure functions on arrays
embeddings  a trained network over the pairs of a split
oracle      the similarity matrix of a rater who sees the rendered cues
matching    match against mismatch, the area under the curve
twins       clips and tracks that occur twice
report      the tables of `dualpath evaluate`
"""
