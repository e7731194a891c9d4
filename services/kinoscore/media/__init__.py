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
    process     starting and confining such processes
    live_pool   live streams of bytes in worker processes, for asyncio
    live_worker   the program of such a process, a thread for each stream
    live_channel  what the two say to each other
    live_decoding the bytes of a stream to sampled pictures
      live_feed     the bytes as a file for FFmpeg, with the times at which they came
      live_sampling which samples the frames of a stream give, on plain numbers
      stream_filters  what keeps a demuxer in step, for each form; initialisation segments
        box_filter, fragments         MP4
        packet_filter                 MPEG-TS
        element_filter                WebM
        unit_filter, picture_numbers  H.264
        held_bytes                    a queue of bytes
      stream_forms  which form of stream bytes are of
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
