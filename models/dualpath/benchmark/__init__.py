"""`dualpath benchmark`: every method on the same pairs, folds and budget, in one table.

folds     which rows train, validate and test: k-fold by group, or the published split
tasks     what is measured: retrieval among pairs, or match against mismatch
tuning    the same number of tuning trials for every method
results   a file for each method, repetition and fold: what is there is not repeated
run       the loop over all of it
feature_run  fit --features: one model on features, kept as a run
end_to_end, world_methods, world   the methods on a generated world, and the loop over them
tables    text, CSV, JSON and Markdown, with paired intervals against the best baseline
"""
