"""Everything between a media file and arrays. The only room with PyAV; free of torch.

    types       the values that leave this room: frames, sound, summaries, limits
    decoding    a file to arrays, in this process
      container   opening a hostile file: limits, streams, tags, digest
      salvage     packets and frames of one stream, damage passed over
      sampling    which frames a sampling rate needs, on plain numbers
      frames      sampled pictures
      sound       mono samples
    pool        the same in worker processes with limits, for asyncio
    worker      the program that a worker process runs
    pictures    single pictures to arrays
    live_source the pictures of a source that plays
    codecs      what the FFmpeg at hand can read and write
    keyframes   the online choice of emotion key frames
    files       opening files to read, and to replace them whole
    writing     arrays to files
    mixing      pieces of music, each faded over into the next
    recording   a stream and the music that followed it to a file

Import from the modules: this package imports none of them, so that `kinoscore.media.types` is light.
"""
