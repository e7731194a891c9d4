"""The network: fixed front ends, backbones, encoders and heads of both modalities, the fused space.

picture_cues, music_spectra, music_cues   what is computed and never learned
backbones                                 learned features of pictures and of log-mel windows, by name
video, music                              the encoder of one frame or window, and the head of a clip or passage
paths                                     what both modalities share: content encoder, emotion head, fused space
dual_path                                 everything put together
"""
