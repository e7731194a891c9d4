"""Resume tokens: what a client must show to go on with a live session, here or at another front door.

A token names the session, its embedding space and the moment until which it holds, and is signed: nobody who
does not know the key can make one. The session itself lies in the cache.
"""

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass

from kinoscore.cache import Cache
from kinoscore.errors import InvalidRequest, NotFound, SpaceMismatch
from kinoscore.v1 import recommend_pb2

__all__ = ["SavedSessions", "new_session_id"]

_FIELD = "settings.resume_token"


@dataclass(frozen=True, slots=True)
class _Claim:
    session: str
    space: str
    expires: int
    """Seconds since 1970."""

    def text(self) -> str:
        return f"{self.session}.{self.space}.{self.expires}"


def new_session_id() -> str:
    """A name that nobody can guess."""
    return secrets.token_hex(16)


class SavedSessions:
    """Keeps live sessions in the cache, and signs the tokens that name them.

    Args:
        cache: shared by all front doors that shall go on with each other's sessions.
        key: the same in all of them; where it is empty, only this process takes its own tokens.
        seconds: how long after its last update a session can be resumed.
    """

    def __init__(self, cache: Cache, key: str, seconds: float) -> None:
        self._cache = cache
        self._key = key.encode() or secrets.token_bytes(32)
        self.seconds = seconds

    async def save(self, session: str, state: recommend_pb2.LiveSession) -> str:
        """Keeps a session as it is now; returns the token, an empty one where the cache did not take it."""
        if not await self._cache.set(_cache_key(session), state.SerializeToString(), self.seconds):
            return ""
        claim = _Claim(session, state.space, int(time.time() + self.seconds) + 1)
        return f"{claim.text()}.{self._signature(claim)}"

    async def load(self, token: str) -> tuple[str, recommend_pb2.LiveSession]:
        """The id and the state of the session that a token names.

        Raises:
            InvalidRequest: the token was not made with this key, or its time is over.
            SpaceMismatch: the session is of another embedding space than its token.
            NotFound: the cache has lost the session.
        """
        claim = self._checked(token)
        saved = await self._cache.get(_cache_key(claim.session))
        if saved is None:
            raise NotFound(
                "the session to resume is gone; begin a new one, and see that all front doors share a cache",
                field=_FIELD,
            )
        state = recommend_pb2.LiveSession.FromString(saved)
        if state.space != claim.space:
            raise SpaceMismatch(f"the session is of the embedding space {state.space} now", field=_FIELD)
        return claim.session, state

    def _checked(self, token: str) -> _Claim:
        try:
            session, space, expires, signature = token.split(".")
            claim = _Claim(session, space, int(expires))
        except ValueError:
            raise InvalidRequest("this is no resume token; begin a new session", field=_FIELD) from None
        if not hmac.compare_digest(signature.encode(), self._signature(claim).encode()):
            raise InvalidRequest(
                "the resume token was not made here; begin a new session, and see that all front doors have "
                "the same live_key",
                field=_FIELD,
            )
        if claim.expires < time.time():
            raise InvalidRequest("the resume token has expired; begin a new session", field=_FIELD)
        return claim

    def _signature(self, claim: _Claim) -> str:
        return hmac.new(self._key, claim.text().encode(), hashlib.sha256).hexdigest()


def _cache_key(session: str) -> str:
    return f"kinoscore:live:{session}"
