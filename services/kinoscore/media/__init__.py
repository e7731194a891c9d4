"""Decoding, sampling, resampling, key frames: everything between a file and arrays. The only room with PyAV; free of torch.

    types       the values that leave this room: frames, sound, summaries, limits
    container   opening a hostile file: limits, streams, tags, digest
    sampling    which frames a sampling rate needs, on plain numbers
    decoding    a file to arrays, in this process
    pool        the same in worker processes with limits, for asyncio
    worker      the program that a worker process runs
    pictures    single pictures to arrays
    keyframes   the online choice of emotion key frames
    writing     arrays to files

Import from the modules; this package imports none of them, so that `kinoscore.media.types` does not load FFmpeg.
"""
