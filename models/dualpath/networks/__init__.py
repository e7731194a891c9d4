"""The network: fixed front ends, backbones, encoders and heads of both modalities, the fused space.

picture_cues, picture_texture                 what is computed of a picture and never learned
music_spectra, music_cues, music_statistics   what is computed of music and never learned
music_reading                                 the emotion of music from what is never learned
backbones                                     learned features of pictures and of log-mel windows, by name
video, music                                  encoders of a frame or window, heads of a clip or passage
paths                                         what both modalities share: content, emotion, fusion
dual_path                                     everything put together
canonical, course, feature_paths              the dual path on precomputed features
towers                                        the networks of existing methods
"""
