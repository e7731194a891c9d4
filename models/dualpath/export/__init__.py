"""From a run to the model repository of the services: five ONNX models in Triton's layout, and the manifest.

graphs       the five models as modules from raw input to named outputs
onnx         a graph to a file, and the parity of torch and ONNX Runtime
features     the heads of a dual path on features, with a manifest that names the features
repository   folders, config.pbtxt, kinoscore.json, the embedding space id
"""
