"""Training: the objective, the loop, the run folder.

objective    the weighted sum of the losses
average      exponential moving average of the weights
run_folder   checkpoints and the log of a run, written whole or not at all
loop         fit: epochs, schedule, early stopping, exact resume
features     the loop of networks on precomputed features
dual_path_features   the dual path on features as a method of the benchmark
calibration  what services must know of a trained model: error and spread of its emotion, ranking weights
"""
