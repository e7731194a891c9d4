"""MusicEncoderService: a track's sound to content and emotion, of each passage and of the whole."""
