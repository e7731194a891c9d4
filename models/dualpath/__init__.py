"""dualpath: the offline trainer of kinoscore's dual-path video-music retrieval network.

The method is that of Gu, Shen and Lv, "A Dual-Path Cross-Modal Network for Video-Music Retrieval", Sensors
2023, 23(2), 805 (doi 10.3390/s23020805). The publication's abstract gives no dimensions, formulas or data
sets; where a docstring says "our choice", the decision is ours.

    config       the numbers of a model and the switches of the method
    networks     fixed front ends, backbones, encoders and heads of both modalities, the fused space
    losses       one module a loss, pure functions
    data         a world of paired files, decoded once into a memory-mapped cache; pairs given as features
    training     the loop, devices, checkpoints, the run folder and its model card
    evaluation   recall, ranks, intervals, the oracle, items that occur twice
    plots        figures as PNG
    memory       what the allocator does with memory that is freed all the time
    methods      the dual path and existing methods on features, one module each, behind one interface
    benchmark    all methods on the same pairs, folds and budget
    export       torch to ONNX: the model repository that the services load
    cli          the `dualpath` command
"""
