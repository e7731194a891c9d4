"""From a run to the model repository of the services: five ONNX models in Triton's layout, and the manifest.

graphs       the five models as modules from raw input to named outputs
onnx         a graph to a file, and the parity of torch and ONNX Runtime
repository   folders, config.pbtxt, kinoscore.json, the embedding space id
"""
