"""Training: the objective, the loop, the run folder.

objective    the weighted sum of the losses
average      exponential moving average of the weights
files        files written whole or not at all
run_folder   checkpoints and the log of a run; who owns it
tensorboard  the same log for TensorBoard
origin       command, git revision and versions of a run
model_card   what a run folder holds, in words
devices      accelerators, precision and processes: Lightning Fabric
state        all that an epoch changes; checkpoints hold it
loop         fit: epochs, early stopping, exact resume
data_facts   which data a run was trained on, and an evaluation measured
features     the loop of networks on precomputed features
reading      fitting how the emotion of music is read from fixed cues
calibration  what services must know of a trained model: error and spread of its emotion, ranking weights
"""
