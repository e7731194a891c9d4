"""FusionService: content and emotion into the fused shared space, for video and music alike."""
