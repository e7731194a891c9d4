"""The fault table: what callers of the front door meet while a part of kinoscore fails, and afterwards.

A steady load of four kinds of requests runs while a fault strikes and is mended. `play` checks what every
fault has in common and tells the rest:

- no answer is wrong, and none comes after its deadline;
- what needs the part fails with the right status, what does not need it goes on;
- soon after the part is ready again everything is answered, without a restart of anything else;
- no track is lost whose indexing was acknowledged.
"""

import asyncio
import itertools
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import psutil
from redis import Redis
from support.deployment import OTHER_SPACE, Deployment
from support.media_files import noise_frames, sine, write_clip, write_sound
from support.repository import write_tiny_repository

from kinoscore import AsyncClient, Recommendation, Track
from kinoscore.errors import KinoscoreError
from kinoscore.inference import ModelRepository
from kinoscore.inference.conversion import convert_repositories
from kinoscore.inference.targets import Target, TargetOptions
from kinoscore.ranking.spaces import switch_space

__all__ = ["FAULTS", "HEAL_SECONDS", "Fault", "Library", "Outcome", "Played", "play"]

HEAL_SECONDS = 5.0
"""How long after a part is ready again everything must be answered, on a machine that is not busy."""
LIMIT_SECONDS = 120.0
"""For what must come to pass in the end."""
LEAST_DEADLINE_SECONDS = 2.0
REQUESTS_A_DEADLINE = 6.0
"""A request's deadline, in times of the slowest request when all is well."""
OVERRUN_SECONDS = 1.0
"""How long after its deadline an answer may be seen here: the machine may be busy."""
PAUSE_SECONDS = 0.05
PASSWORD = "another"
TRACKS = 3
K = 2
GROWING = "growing"
SCORE_TOLERANCE = 1e-3

OPERATIONS = ("recommend", "again", "list", "index")
"""`recommend` sends a clip, and asks for a search, that no cache knows; `again` sends the same each time;
`index` adds a track to a catalogue of its own."""


# The statuses of one operation while a fault lasts. STALE is an old answer, marked as such.
FINE = frozenset({"OK"})
GONE = frozenset({"UNAVAILABLE"})
SILENT = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED"})
REFUSED = frozenset({"FAILED_PRECONDITION"})
OLD = frozenset({"OK", "STALE"})
SHAKEN = frozenset({"OK", "UNAVAILABLE"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request ended; times on the monotonic clock in seconds."""

    operation: str
    started: float
    deadline: float
    ended: float
    status: str
    message: str = ""

    @property
    def seconds(self) -> float:
        return self.ended - self.started


@dataclass(frozen=True, slots=True)
class Fault:
    """A line of the table.

    Attributes:
        part: what fails.
        name: how.
        strike: lets it happen; returns when it has.
        mend: ends it; returns when the part is ready.
        met: what each operation may meet while it lasts; those that are not named go on.
        back: what else it may meet while the part comes back.
        needs_seconds: by how much an answer may come later than usual and still must come.
        loses_all: whether the index is lost with all that was in it, which mending brings back by and by.
    """

    part: str
    name: str
    strike: "Deed"
    mend: "Deed"
    met: Mapping[str, frozenset[str]] = field(default_factory=dict)
    back: frozenset[str] = SILENT
    needs_seconds: float = 0.0
    loses_all: bool = False

    def __str__(self) -> str:
        return f"{self.part}-{self.name}".replace(" ", "-")

    def expected(self, operation: str) -> frozenset[str]:
        """What an operation must come to meet while the fault lasts."""
        return self.met.get(operation, FINE)

    def allowed(self, operation: str) -> frozenset[str]:
        """What it may meet as well: a right answer, always.

        A cache that is busy is passed over, and then `again` needs what `recommend` needs.
        """
        needs = ("again", "recommend") if operation == "again" else (operation,)
        return FINE.union(*map(self.expected, needs))


@dataclass(frozen=True, slots=True)
class Played:
    """What was met.

    Attributes:
        statuses: of each operation while the fault lasted.
        slowest_seconds: the longest that a caller waited then.
        deadline_seconds: the most that it would have.
        healed_seconds: from the part's readiness until each operation had been answered.
    """

    statuses: Mapping[str, list[str]]
    slowest_seconds: float
    deadline_seconds: float
    healed_seconds: float


class Library:
    """What the requests are about: three tracks in the default catalogue, and a clip."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.acknowledged: set[str] = set()
        self._numbers = itertools.count()
        folder = deployment.folder
        self._tracks = [
            write_sound(folder / f"tone{number}.wav", sine(4.0, frequency=220.0 * (number + 1)))
            for number in range(TRACKS)
        ]
        self._clip = write_clip(folder / "clip.mp4", noise_frames(16)).read_bytes()
        self._answer: list[tuple[str, float]] = []

    async def fill(self) -> None:
        """Indexes the tracks and takes what is recommended now as the right answer."""
        async with AsyncClient(self.deployment.address) as client:
            for number, file in enumerate(self._tracks):
                await client.index(file, Track(track_id=f"tone{number}"), timeout=LIMIT_SECONDS)
            answer = await client.recommend(self._clip, k=K, timeout=LIMIT_SECONDS)
        self._answer = _hits(answer)
        assert len(self._answer) == K

    async def request(self, client: AsyncClient, operation: str, seconds: float) -> Outcome:
        """Makes one request with a deadline of so many seconds."""
        started = time.monotonic()
        message = ""
        try:
            status = await getattr(self, f"_{operation}")(client, seconds)
        except KinoscoreError as error:
            status, message = error.status, error.message
        return Outcome(operation, started, started + seconds, time.monotonic(), status, message)

    async def lost(self) -> set[str]:
        """The tracks that were acknowledged and are not there."""
        async with AsyncClient(self.deployment.address) as client:
            there = client.list_tracks(catalogue=GROWING, timeout=LIMIT_SECONDS)
            return self.acknowledged - {track.track_id async for track in there}

    def another_clip(self) -> bytes:
        """The clip with a number in a box that says nothing."""
        return self._clip + struct.pack(">I4sI", 12, b"free", next(self._numbers))

    async def _recommend(self, client: AsyncClient, seconds: float) -> str:
        # More than there are, so the answer is the same, and the search another one.
        most = TRACKS + next(self._numbers)
        clip = self.another_clip()
        return self._judged(await client.recommend(clip, k=K, max_per_artist=most, timeout=seconds))

    async def _again(self, client: AsyncClient, seconds: float) -> str:
        return self._judged(await client.recommend(self._clip, k=K, timeout=seconds))

    async def _list(self, client: AsyncClient, seconds: float) -> str:
        listed = {track.track_id async for track in client.list_tracks(timeout=seconds)}
        return "OK" if listed == {f"tone{number}" for number in range(TRACKS)} else "WRONG"

    async def _index(self, client: AsyncClient, seconds: float) -> str:
        track = Track(track_id=f"growing{next(self._numbers)}")
        await client.index(self._tracks[0], track, catalogue=GROWING, timeout=seconds)
        self.acknowledged.add(track.track_id)
        return "OK"

    def _judged(self, answer: Recommendation) -> str:
        found = _hits(answer)
        right = [name for name, _ in found] == [name for name, _ in self._answer] and all(
            abs(score - expected) < SCORE_TOLERANCE
            for (_, score), (_, expected) in zip(found, self._answer, strict=True)
        )
        return ("STALE" if answer.stale else "OK") if right else "WRONG"


async def play(fault: Fault, library: Library) -> Played:
    """Lets a fault strike under load, mends it, and checks what callers met.

    Raises:
        AssertionError: it is not what the table promises.
    """
    deployment = library.deployment
    async with AsyncClient(deployment.address) as client:
        usual = await _usual_seconds(library, client)
        deadline = max(LEAST_DEADLINE_SECONDS, REQUESTS_A_DEADLINE * usual) + fault.needs_seconds
        async with _load(library, client, deadline) as load:
            outcomes = load.outcomes
            try:
                await fault.strike(deployment)
                struck = time.monotonic()
                # The request that runs already may take its deadline, and then the next one its own.
                met = await _each_met(fault, outcomes, struck, HEAL_SECONDS + 2 * deadline)
            finally:
                await fault.mend(deployment)
            ready = time.monotonic()
            load.seconds = LIMIT_SECONDS
            healed = await _each_answered(outcomes, began=struck, ended=ready)
        usual = max(usual, await _usual_seconds(library, client))
    _check(fault, outcomes, healed)
    if fault.loses_all:
        library.acknowledged.clear()
    assert not await library.lost(), "acknowledged, and lost"
    await _until(lambda: not any(deployment.spool.iterdir()), lambda: "the removal of all uploads")
    allowed = HEAL_SECONDS + REQUESTS_A_DEADLINE * usual + fault.needs_seconds
    assert healed - ready < allowed, f"healed after {healed - ready:.1f} s, not within {allowed:.1f} s"
    return Played(
        {operation: sorted({one.status for one in met[operation]}) for operation in OPERATIONS},
        max(one.seconds for several in met.values() for one in several),
        deadline,
        max(0.0, healed - ready),
    )


def _check(fault: Fault, outcomes: Iterable[Outcome], healed: float) -> None:
    """What an outcome may be at its time."""
    for one in outcomes:
        assert one.ended < one.deadline + OVERRUN_SECONDS, one
        allowed = OLD
        if one.started <= healed:
            allowed |= fault.allowed(one.operation)
            if fault.allowed(one.operation) != FINE:
                allowed |= fault.back
        assert one.status in allowed, one


async def _each_met(
    fault: Fault, outcomes: list[Outcome], struck: float, within: float
) -> dict[str, list[Outcome]]:
    """What requests meet once each operation meets what is expected.

    That may take a moment: connections must be made anew before it can be seen what is at their other end.

    Args:
        within: the most seconds that it may take.
    """

    def met(operation: str) -> list[Outcome]:
        expected = fault.expected(operation)
        own = [one for one in outcomes if one.operation == operation and one.started >= struck]
        return list(itertools.dropwhile(lambda one: one.status not in expected, own))

    await _until(
        lambda: all(met(operation) for operation in OPERATIONS),
        lambda: f"what is expected of the fault; of late {_latest(outcomes)}",
    )
    seen = {operation: met(operation) for operation in OPERATIONS}
    settled = max(several[0].ended for several in seen.values()) - struck
    assert settled < within, f"the fault showed after {settled:.1f} s, not within {within:.1f} s"
    for operation, several in seen.items():
        statuses = {one.status for one in several}
        assert statuses <= fault.allowed(operation), f"{operation} met {', '.join(sorted(statuses))}"
    return seen


async def _usual_seconds(library: Library, client: AsyncClient) -> float:
    """The longest that a request takes beside the others when all is well, which is waited for."""

    async def seconds(operation: str) -> float:
        latest = time.monotonic() + LIMIT_SECONDS
        while (outcome := await library.request(client, operation, LIMIT_SECONDS)).status != "OK":
            assert time.monotonic() < latest, outcome
            await asyncio.sleep(PAUSE_SECONDS)
        return outcome.seconds

    return max(await asyncio.gather(*map(seconds, OPERATIONS)))


@dataclass(slots=True)
class _Load:
    """Requests of each kind, one after another.

    Attributes:
        seconds: the deadline of those that begin from now on.
    """

    seconds: float
    outcomes: list[Outcome] = field(default_factory=list)


@asynccontextmanager
async def _load(library: Library, client: AsyncClient, seconds: float) -> AsyncIterator[_Load]:
    """A load, as long as the block runs."""
    load = _Load(seconds)
    ended = asyncio.Event()

    async def repeat(operation: str) -> None:
        while not ended.is_set():
            load.outcomes.append(await library.request(client, operation, load.seconds))
            await asyncio.sleep(PAUSE_SECONDS)

    workers = [asyncio.create_task(repeat(operation)) for operation in OPERATIONS]
    try:
        yield load
    finally:
        ended.set()
        await asyncio.gather(*workers)


async def _each_answered(outcomes: list[Outcome], *, began: float, ended: float) -> float:
    """When each operation had been answered, by a request that began and ended at these times or later."""

    def answered() -> dict[str, float]:
        found: dict[str, float] = {}
        for one in outcomes:
            if one.status == "OK" and one.started >= began and one.ended >= ended:
                found.setdefault(one.operation, one.ended)
        return found

    await _until(
        lambda: len(answered()) == len(OPERATIONS),
        lambda: f"an answer to each request; of late {_latest(outcomes)}",
    )
    return max(answered().values())


def _latest(outcomes: Iterable[Outcome]) -> str:
    """How the last request of each kind ended."""
    latest = {one.operation: one for one in outcomes}
    return ", ".join(f"{name}: {one.status} {one.message}" for name, one in latest.items())


async def _until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    latest = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < latest, f"not within {LIMIT_SECONDS:g} s: {what()}"
        await asyncio.sleep(0.01)


def _hits(answer: Recommendation) -> list[tuple[str, float]]:
    return [(hit.track.track_id, hit.score) for hit in answer.hits]


# What is done to the parts.

Deed = Callable[[Deployment], Awaitable[None]]


def _deed(work: Callable[[Deployment], None]) -> Deed:
    """Something that blocks, done while the load goes on."""

    async def do(deployment: Deployment) -> None:
        await asyncio.to_thread(work, deployment)

    return do


async def _nothing(deployment: Deployment) -> None:
    pass


def _kill_a_model(deployment: Deployment) -> None:
    for stub in deployment.triton.stubs_of(_frame_encoder(deployment)):
        stub.kill()
        # Triton does not ask how it ended, so it stays, as a zombie.
        while stub.is_running() and stub.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)


def _load_the_model_again(deployment: Deployment) -> None:
    with deployment.triton.client() as client:
        client.unload_model(_frame_encoder(deployment))
        client.load_model(_frame_encoder(deployment))


def _frame_encoder(deployment: Deployment) -> str:
    return deployment.manifest.models["frame_encoder"].name


def _serve_another_space(deployment: Deployment) -> None:
    folder = deployment.folder / "other"
    if not folder.exists():
        other = ModelRepository.load(write_tiny_repository(folder / "source", seed=1))
        convert_repositories([other], folder / "served", TargetOptions(Target.PYTHON))
    _serve(deployment, ModelRepository.load(folder / "served"))


def _serve(deployment: Deployment, repository: ModelRepository) -> None:
    deployment.triton.kill()
    models = [entry.name for entry in repository.manifest.models.values()]
    deployment.triton.serve(repository.path, models)
    deployment.triton.restart()


def _empty_milvus(deployment: Deployment) -> None:
    deployment.milvus.kill()
    deployment.milvus.erase()
    deployment.milvus.start()


async def _fill_milvus(deployment: Deployment) -> None:
    await asyncio.to_thread(deployment.migrate)
    await Library(deployment).fill()


async def _move_the_alias(deployment: Deployment) -> None:
    await switch_space(deployment.milvus.url, OTHER_SPACE, force=True)


async def _move_the_alias_back(deployment: Deployment) -> None:
    await switch_space(deployment.milvus.url, deployment.manifest.space)


async def _leave(deployment: Deployment) -> None:
    """Clients that go away at various moments of their requests."""
    library = Library(deployment)
    async with AsyncClient(deployment.address) as client:
        for number in range(12):
            request = asyncio.create_task(client.recommend(library.another_clip(), timeout=LIMIT_SECONDS))
            await asyncio.wait([request], timeout=0.01 * number)
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)


def _ask_for_a_password(deployment: Deployment) -> None:
    with Redis(port=deployment.redis.port) as redis:
        redis.config_set("requirepass", PASSWORD)
        redis.client_kill_filter(_type="normal")


def _ask_for_none(deployment: Deployment) -> None:
    with Redis(port=deployment.redis.port, password=PASSWORD) as redis:
        redis.config_set("requirepass", "")


def _faults_of(
    part: str,
    lost: Collection[str] = (),
    *,
    old: Collection[str] = (),
    cached: Collection[str] = (),
    killed: frozenset[str] = GONE,
    slow_seconds: float = 4.0,
) -> list[Fault]:
    """What may happen to any part.

    Args:
        lost: the operations that need it.
        old: those for which an old answer stands in.
        cached: those whose answer is in the cache, which counts for as long as the part takes their bytes.
        killed: what they meet when it does not run.
        slow_seconds: by how much an answer comes later when each of the part's own comes by a second later.
    """

    def met(by_those: frozenset[str], by_old: frozenset[str] = OLD) -> dict[str, frozenset[str]]:
        return {**dict.fromkeys(lost, by_those), **dict.fromkeys(old, by_old)}

    def kill(deployment: Deployment) -> None:
        deployment.parts[part].kill()

    def restart(deployment: Deployment) -> None:
        deployment.parts[part].restart()

    def freeze(deployment: Deployment) -> None:
        deployment.parts[part].freeze()

    def thaw(deployment: Deployment) -> None:
        deployment.parts[part].thaw()

    def slow(deployment: Deployment) -> None:
        deployment.parts[part].link.delay(1.0)

    def hasten(deployment: Deployment) -> None:
        deployment.parts[part].link.delay(0.0)

    def reset(deployment: Deployment) -> None:
        deployment.parts[part].link.reset()

    return [
        Fault(part, "killed", _deed(kill), _deed(restart), met(killed)),
        Fault(
            part,
            "hung",
            _deed(freeze),
            _deed(thaw),
            {**met(SILENT), **dict.fromkeys(cached, FINE | SILENT)},
        ),
        Fault(part, "slow by 1 s", _deed(slow), _deed(hasten), met(FINE), needs_seconds=slow_seconds),
        Fault(part, "reset", _deed(reset), _nothing, met(SHAKEN, SHAKEN | OLD)),
    ]


FAULTS = (
    *_faults_of("triton", ["recommend", "index"]),
    Fault(
        "triton",
        "model's process killed",
        _deed(_kill_a_model),
        _deed(_load_the_model_again),
        {"recommend": GONE},
    ),
    Fault(
        "triton",
        "other space",
        _deed(_serve_another_space),
        _deed(lambda deployment: _serve(deployment, deployment.served)),
        {"recommend": REFUSED, "index": REFUSED},
    ),
    # pymilvus takes up to 5 s to find that nobody listens.
    *_faults_of("milvus", ["recommend", "list", "index"], old=["again"], killed=SILENT, slow_seconds=15.0),
    Fault(
        "milvus",
        "empty",
        _deed(_empty_milvus),
        _fill_milvus,
        {"recommend": REFUSED, "again": REFUSED | OLD, "list": REFUSED, "index": REFUSED},
        back=SILENT | REFUSED | {"WRONG"},
        loses_all=True,
    ),
    Fault(
        "milvus",
        "alias moved",
        _move_the_alias,
        _move_the_alias_back,
        {"recommend": REFUSED, "again": REFUSED | OLD},
    ),
    *_faults_of("redis"),
    Fault("redis", "other password", _deed(_ask_for_a_password), _deed(_ask_for_none)),
    *_faults_of("video", ["recommend", "again"], cached=["again"]),
    *_faults_of("music", ["index"]),
    *_faults_of("fusion", ["recommend", "index"]),
    *_faults_of("ranking", ["recommend", "again", "list", "index"]),
    *_faults_of("recommend", ["recommend", "again", "list", "index"]),
    Fault("client", "leaves", _leave, _nothing),
)
"""The table."""
