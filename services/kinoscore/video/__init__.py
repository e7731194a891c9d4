"""VideoEncoderService: a clip's frames to content and emotion, of each window and of the whole."""
