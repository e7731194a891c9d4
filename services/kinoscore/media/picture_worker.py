"""The program of one process that decodes pictures: `kinoscore.media.picture_worker SOCKET MEMORY_LIMIT`.

`kinoscore.media.picture_pool` starts it and shares the slots first; what they say then is in
`picture_channel`. It ends when the socket is closed, or standard input: it never outlives its parent.
"""

import logging
import socket
import sys

from kinoscore.errors import InternalError, KinoscoreError
from kinoscore.media.picture_channel import MESSAGE_BYTES, PictureReply, PictureRequest, SharedSlots
from kinoscore.media.pictures import decode_picture
from kinoscore.media.process import confine, end_with_parent
from kinoscore.media.types import Limits

__all__ = ["main"]

logger = logging.getLogger(__name__)


def main() -> None:
    """Decodes one picture after the other until the socket is closed."""
    channel, memory_limit = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    # Before the limit is set, which counts from the idle process.
    slots = SharedSlots.received_from(channel)
    output = confine(memory_limit)
    end_with_parent()
    print("ready", file=output, flush=True)
    while message := channel.recv(MESSAGE_BYTES):
        channel.send(_decoded(PictureRequest.decode(message), slots).encode())


def _decoded(request: PictureRequest, slots: SharedSlots) -> PictureReply:
    try:
        pixels = decode_picture(
            request.picture_format,
            slots.read(request.slot, request.size),
            request.width,
            request.height,
            request.spec,
            # Its bytes were counted before they came into a slot.
            Limits(max_pixels=request.max_pixels),
        )
    except KinoscoreError as error:
        return PictureReply(request.slot, error)
    except Exception as error:
        logger.exception("a picture could not be decoded")
        failure = InternalError(f"the decoder failed: {type(error).__name__}: {error}")
        return PictureReply(request.slot, failure)
    slots.write_pixels(request.slot, pixels)
    return PictureReply(request.slot)


if __name__ == "__main__":
    main()
