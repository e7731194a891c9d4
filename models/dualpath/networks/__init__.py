"""The network: fixed front ends, backbones, encoders and heads of both modalities, the fused space.

picture_cues, music_spectra, music_cues   what is computed and never learned
backbones                                 learned features of pictures and of log-mel windows, by name
video, music                              the encoder of a frame or window, the head of a clip or passage
paths                                     what both modalities share: content, emotion, the fused space
dual_path                                 everything put together
"""
