"""Rendering a clip: a backdrop and particles in tones, then colour through a palette.

A frame is built in tones (0 to 1), which a table of 256 colours turns into RGB; so colour, contrast and
brightness cost nothing per pixel. Everything is float32 and vectorised over the picture.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kinoscore.world.levels import curve, level_of
from kinoscore.world.plans import ClipPlan
from kinoscore.world.scenes import SCENES, Field, Grid, Particles
from kinoscore.world.styles import PictureStyle

__all__ = ["render_clip"]

Colours = NDArray[np.uint8]
Ramp = NDArray[np.float64]

_WIDTH_OF_ROUND_THINGS = 0.6  # rings and rays are wider than high, so that a tilt shows in them too
_IDENTITIES = 256  # of particles; they repeat beyond
_GRAIN_MARGIN = 32


def render_clip(plan: ClipPlan) -> Iterator[NDArray[np.uint8]]:
    """Yields the frames, u8[height, width, 3] RGB, one after the other."""
    random = np.random.default_rng(plan.seed)
    appearance = _Appearance.of(plan.cues)
    palette = _Palette.draw(random, plan.style, appearance)
    grain = _grain(random, plan.style)
    cuts = _cut_times(random, plan, appearance.cuts)
    frames = round(plan.duration_seconds * plan.frames_per_second)
    shot: _Shot | None = None
    shot_number = -1
    for number in range(frames):
        seconds = number / plan.frames_per_second
        wanted = int(np.searchsorted(cuts, seconds, side="right"))
        if shot is None or wanted != shot_number:
            shot = _Shot.draw(random, plan, appearance, first=shot is None)
            shot_number = wanted
        presence = level_of(curve(plan.cues, seconds / plan.duration_seconds))
        tones, particle_tones, opacity = shot.draw_frame(seconds, appearance, presence)
        frame = palette.paint(tones, particle_tones, opacity)
        if grain is not None:
            rows, columns = 2 * random.integers(0, _GRAIN_MARGIN // 2, 2)
            noise = grain[rows : rows + frame.shape[0], columns : columns + frame.shape[1], None]
            frame = np.clip(frame + noise, 0, 255).astype(np.uint8)
        yield frame


@dataclass(frozen=True, slots=True)
class _Appearance:
    """The cues of a clip in the units in which they are drawn."""

    saturation: float  # 0 to 1
    hue_span: float  # share of the colour circle
    surround: float  # how much darker the border is, 0 to 1
    contrast: float  # slope of the tone curve
    dark_share: float  # 0 to 1
    coarseness: float  # strength of large light and dark patches
    speed: float  # units of phase a second
    cuts: int
    edge: float  # width of an edge in half heights
    irregularity: float  # 0 to 1
    tilt: float  # radians
    fineness: float  # factor on all spatial frequencies
    reach: float  # radius within which things show, in half heights
    glints: float  # share of the glint lattice that is lit

    @staticmethod
    def of(cues: Mapping[str, float]) -> "_Appearance":
        level = {name: level_of(score) for name, score in cues.items()}
        return _Appearance(
            saturation=0.04 + 0.66 * level["saturation"],
            hue_span=0.03 + 0.6 * level["hue_variety"],
            surround=0.6 * level["centre_surround"],
            contrast=0.4 + 1.3 * level["contrast"],
            dark_share=level["dark_share"],
            coarseness=0.27 * level["coarseness"],
            speed=0.25 * 2.0 ** (3.2 * level["speed"]),
            cuts=round(5.5 * level["cuts"] ** 1.5),
            edge=0.015 + 0.5 * level["smoothness"] ** 2,
            irregularity=1.0 - level["regularity"],
            tilt=0.6 * (level["tilt"] - 0.5) * 2.0,
            fineness=2.0 ** (1.5 * (level["fineness"] - 0.5) * 2.0 * 0.62),
            reach=0.55 + 1.5 * level["spread"],
            glints=max(0.0, 0.4 * level["sparkle"] - 0.02),
        )


def _cut_times(random: Generator, plan: ClipPlan, cuts: int) -> NDArray[np.float64]:
    """Sorted, no closer to one another than a second where there is room."""
    slots = np.linspace(0.0, plan.duration_seconds, cuts + 2)[1:-1]
    return slots + random.uniform(-0.35, 0.35, cuts) * plan.duration_seconds / (cuts + 1)


@dataclass(frozen=True, slots=True)
class _Shot:
    """What stays between two cuts: the camera and everything that depends on it alone."""

    scene: str
    grid: Grid
    static: Field  # added to the tones: texture and coarse patches
    window: Field  # 1 where things show, 0 where only the surround is left
    shade: Field  # factor on the tones: darker to the border
    across: Field  # the lattice's two coordinates, in cells
    along: Field
    visible: Field
    glint_cells: NDArray[np.uint8]
    glint_shape: Field
    jitter: Field  # f32[2, _IDENTITIES]
    sizes: Field
    tones: Field
    shape: str
    start: float  # of the phase

    @staticmethod
    def draw(random: Generator, plan: ClipPlan, appearance: _Appearance, *, first: bool) -> "_Shot":
        style = plan.style
        x, y = _camera(random, style, appearance.tilt, first=first)
        noise = _smooth_noise(random, x.shape, 5)
        bend = np.float32(0.15 * appearance.irregularity)
        window = 0.15 + 0.85 * np.clip((appearance.reach - np.hypot(x * 0.85, y)) * 2.2 + 0.5, 0.0, 1.0)
        shade = 1.0 - np.float32(appearance.surround) * np.clip(np.hypot(x * 0.75, y) - 0.25, 0.0, 1.0)
        coarse = _smooth_noise(random, x.shape, 2)
        static = np.float32(appearance.coarseness) * coarse
        static += np.float32(0.2 * style.texture_strength) * _texture(random, style.texture, x, y)
        bent_x, bent_y = x + bend * noise, y + bend * _smooth_noise(random, x.shape, 5)
        wide_x = np.float32(_WIDTH_OF_ROUND_THINGS) * bent_x
        grid = Grid(
            bent_x,
            bent_y,
            np.hypot(wide_x, bent_y),
            np.asarray(np.arctan2(bent_y, wide_x) / np.float32(2 * np.pi) + np.float32(0.5), np.float32),
            2.0 * appearance.fineness,
            appearance.edge,
        )
        particles = SCENES[plan.theme].particles
        across, along = _lattice(particles, x, y, appearance.fineness)
        visible = window * np.float32(particles.strength)
        visible *= (y > particles.top) & (y < particles.bottom)
        spare = appearance.irregularity
        cells, glint_shape = _glint_lattice(x, y, random)
        return _Shot(
            scene=plan.theme,
            grid=grid,
            static=static.astype(np.float32),
            window=window.astype(np.float32),
            shade=shade.astype(np.float32),
            across=across,
            along=along,
            visible=visible.astype(np.float32),
            glint_cells=cells,
            glint_shape=glint_shape,
            jitter=(0.30 * spare * random.uniform(-1, 1, (2, _IDENTITIES))).astype(np.float32),
            sizes=(
                0.30
                * (1 + 0.5 * spare * random.uniform(-1, 0.4, _IDENTITIES))
                * (random.random(_IDENTITIES) > 0.45 * spare)
            ).astype(np.float32),
            tones=random.random(_IDENTITIES).astype(np.float32),
            shape=style.shape,
            start=float(random.uniform(0.0, 7.0)),
        )

    def draw_frame(
        self, seconds: float, appearance: _Appearance, presence: float
    ) -> tuple[Field, Field, Field]:
        """Tones of the backdrop and of the particles, and the particles' opacity; all f32[height, width]."""
        phase = self.start + seconds * appearance.speed
        tones = SCENES[self.scene].backdrop(self.grid, phase)
        tones = tones * np.float32(0.6 + 0.4 * presence) * self.window + (1 - self.window) * np.float32(0.3)
        tones += self.static
        tones *= self.shade
        identity, opacity = self._particles(phase, appearance.edge, presence)
        particle_tones = self.tones[identity]
        glints = self._glints(seconds, appearance.glints)
        return tones, np.maximum(particle_tones, glints * np.float32(1.2)), np.maximum(opacity, glints)

    def _particles(self, phase: float, edge: float, presence: float) -> tuple[NDArray[np.uint8], Field]:
        particles = SCENES[self.scene].particles
        across = self.across + np.float32(particles.velocity[0] * phase)
        along = self.along + np.float32(particles.velocity[1] * phase)
        column, row = np.floor(across), np.floor(along)
        identity = _identities(column, row)
        dx = across - column - np.float32(0.5) - self.jitter[0][identity]
        dy = along - row - np.float32(0.5) - self.jitter[1][identity]
        size = self.sizes[identity] * np.float32(0.45 + 0.85 * presence)
        inside = size - _distance(self.shape, dx, dy)
        softness = np.float32(1.0 / (0.05 + 0.9 * edge))
        return identity, np.clip(inside * softness + 0.5 * (size > 0), 0.0, 1.0) * self.visible * (size > 0)

    def _glints(self, seconds: float, share: float) -> Field:
        lit = np.roll(self.tones, 37 * int(seconds * 2)) < share  # another choice of cells every half second
        return self.glint_shape * lit[self.glint_cells]


def _camera(random: Generator, style: PictureStyle, tilt: float, *, first: bool) -> tuple[Field, Field]:
    """x and y of every pixel in the scene; every shot but the first looks from somewhere else."""
    zoom, pan_x, pan_y = style.zoom, style.pan_x, style.pan_y
    if not first:
        zoom *= float(random.uniform(0.75, 1.3))
        pan_x += float(random.uniform(-0.35, 0.35))
        pan_y += float(random.uniform(-0.2, 0.2))
    # The picture is 3.2 half heights wide whatever its aspect: readers squash it to one shape anyway.
    across = np.linspace(-1.6, 1.6, style.width, dtype=np.float32)[None, :] * np.float32(zoom)
    down = np.linspace(-1.0, 1.0, style.height, dtype=np.float32)[:, None] * np.float32(zoom)
    cosine, sine = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    x = across * cosine - down * sine + np.float32(pan_x)
    y = across * sine + down * cosine + np.float32(pan_y)
    if style.mirrored:
        x = -x
    if style.symmetric:
        x = np.abs(x)
    return x, y


def _lattice(particles: Particles, x: Field, y: Field, fineness: float) -> tuple[Field, Field]:
    density = particles.cells * fineness
    if particles.polar:
        sectors = max(3, round(2.6 * density))
        wide_x = np.float32(_WIDTH_OF_ROUND_THINGS) * x
        angle = np.arctan2(y, wide_x) / np.float32(2 * np.pi) + np.float32(0.5)
        return angle * np.float32(sectors), np.hypot(wide_x, y) * np.float32(density / particles.stretch)
    return (
        x * np.float32(density * min(1.0, particles.stretch)),
        y * np.float32(density / max(1.0, particles.stretch)),
    )


def _identities(column: Field, row: Field) -> NDArray[np.uint8]:
    """A number below _IDENTITIES for every cell of a lattice."""
    return (column * 73 + row * 179).astype(np.int32).astype(np.uint8)


def _distance(shape: str, dx: Field, dy: Field) -> Field:
    """The size at which a particle of this shape would just reach (dx, dy)."""
    match shape:
        case "disc":
            return np.sqrt(dx * dx + dy * dy)
        case "square":
            return np.maximum(np.abs(dx), np.abs(dy)) * np.float32(1.1)
        case "diamond":
            return (np.abs(dx) + np.abs(dy)) * np.float32(0.8)
        case "ring":
            return np.abs(np.sqrt(dx * dx + dy * dy) - np.float32(0.2)) * 2 + np.float32(0.05)
        case "cross":
            ax, ay = np.abs(dx), np.abs(dy)
            return np.maximum(np.minimum(ax, ay) * np.float32(2.6), np.maximum(ax, ay) * np.float32(0.9))
        case "ellipse":
            return np.sqrt(dx * dx * np.float32(0.7) + dy * dy * np.float32(1.6))
        case "frame":
            return np.abs(np.maximum(np.abs(dx), np.abs(dy)) - np.float32(0.2)) * 2 + np.float32(0.05)
        case "star":
            return np.asarray(
                np.sqrt(np.abs(dx)) * np.float32(0.55)
                + np.sqrt(np.abs(dy)) * np.float32(0.55)
                - np.float32(0.12),
                np.float32,
            )
        case "octagon":
            ax, ay = np.abs(dx), np.abs(dy)
            return np.maximum(np.maximum(ax, ay), (ax + ay) * np.float32(0.72))
    raise ValueError(f"no shape is called {shape!r}")


def _glint_lattice(x: Field, y: Field, random: Generator) -> tuple[NDArray[np.uint8], Field]:
    """The cell that each pixel lies in, and how bright a glint in the middle of the cell makes the pixel."""
    cell = np.float32(0.24)
    across, down = x / cell + np.float32(random.random()), y / cell + np.float32(random.random())
    column, row = np.floor(across), np.floor(down)
    distance = np.hypot(across - column - np.float32(0.5), down - row - np.float32(0.5))
    return _identities(column, row), np.clip(1.5 - distance * 5.5, 0.0, 1.0)


def _smooth_noise(random: Generator, shape: tuple[int, ...], cells: int) -> Field:
    """f32[height, width] of about unit deviation, smooth over a `cells`-th of the height."""
    coarse = random.standard_normal((cells + 1, 2 * cells + 1)).astype(np.float32)
    rows = np.linspace(0, cells - 1e-4, shape[0], dtype=np.float32)
    columns = np.linspace(0, 2 * cells - 1e-4, shape[1], dtype=np.float32)
    return np.asarray(_weights(rows, cells + 1) @ coarse @ _weights(columns, 2 * cells + 1).T, np.float32)


def _weights(places: Field, count: int) -> Field:
    """Smoothstep interpolation weights, f32[places, count]."""
    floor = np.floor(places).astype(np.intp)
    share = places - floor
    share = share * share * (3 - 2 * share)
    weights = np.zeros((len(places), count), np.float32)
    numbers = np.arange(len(places))
    weights[numbers, floor] = 1 - share
    weights[numbers, floor + 1] = share
    return weights


def _texture(random: Generator, texture: str, x: Field, y: Field) -> Field:
    """About -1 to 1."""
    shape = x.shape
    match texture:
        case "none":
            return np.zeros_like(x)
        case "clouds":
            large, small = _smooth_noise(random, shape, 6), _smooth_noise(random, shape, 14)
            return large * np.float32(0.6) + small * np.float32(0.4)
        case "fibres":
            columns = _smooth_noise(random, shape, 24)
            return np.asarray(columns.mean(axis=0, keepdims=True) * 3 + np.zeros_like(x), np.float32)
        case "cells":
            return np.sign(_smooth_noise(random, shape, 16)) * np.float32(0.5)
        case "weave":
            return np.asarray(
                np.sin(20 * x + np.float32(random.uniform(0, 6))) * np.sin(20 * y) * np.float32(0.6),
                np.float32,
            )
        case "scratches":
            lines = _smooth_noise(random, shape, 30)
            return np.asarray(np.clip(1 - 6 * np.abs(lines), 0, 1), np.float32)
    raise ValueError(f"no texture is called {texture!r}")


def _grain(random: Generator, style: PictureStyle) -> NDArray[np.int16] | None:
    """i16[height + margin, width + margin]: each frame takes another part of it. None for a clean picture."""
    shape = (style.height + _GRAIN_MARGIN, style.width + _GRAIN_MARGIN)
    strength = 2.0 + 6.0 * style.grain_strength
    noise: NDArray[np.float64]
    match style.grain:
        case "none":
            return None
        case "fine":
            noise = random.standard_normal(shape)
        case "coarse":
            noise = random.standard_normal((shape[0] // 2, shape[1] // 2)).repeat(2, axis=0).repeat(2, axis=1)
        case "lines":
            noise = np.repeat(random.standard_normal((shape[0], 1)), shape[1], axis=1)
        case "dither":
            noise = np.tile(np.array([[-1.0, 0.5], [1.0, -0.5]]), (shape[0] // 2, shape[1] // 2))
        case _:
            raise ValueError(f"no grain is called {style.grain!r}")
    return np.round(strength * noise).astype(np.int16)


@dataclass(frozen=True, slots=True)
class _Palette:
    """Two tables of 256 colours, u8[256, 3] RGB: by tone of the backdrop, and of the particles."""

    backdrop: Colours
    particles: Colours

    @staticmethod
    def draw(random: Generator, style: PictureStyle, appearance: _Appearance) -> "_Palette":
        light = np.linspace(0.0, 1.0, 256)
        arrangement, saturation_curve = _PALETTE_FAMILIES[style.palette]
        hues = style.hue + style.hue_direction * appearance.hue_span * np.interp(light, *arrangement)
        saturation = appearance.saturation * np.interp(light, *saturation_curve)
        toned = 0.63 + appearance.contrast * (light - 0.5) + 0.14 * style.brightness
        toned = toned - appearance.dark_share * 0.42 * np.clip(0.75 - light, 0.0, 1.0)
        backdrop = _hsl(hues, saturation, np.clip(toned, 0.02, 0.97))
        # Particles go round the circle by identity and stand out against the middle of the backdrop.
        particle_hues = style.hue + style.hue_direction * appearance.hue_span * (1.0 + light)
        lightness = np.clip(0.62 + 0.18 * np.sign(random.random() - 0.35) + 0.15 * (light - 0.5), 0.05, 0.97)
        particles = _hsl(particle_hues, np.clip(appearance.saturation * 1.1, 0, 1) + 0 * light, lightness)
        particles[213:] = 250.0  # glints
        warm = np.array([1 + 0.10 * style.warmth, 1.0, 1 - 0.10 * style.warmth])
        return _Palette(_bytes(backdrop * warm), _bytes(particles * warm))

    def paint(self, tones: Field, particle_tones: Field, opacity: Field) -> NDArray[np.uint8]:
        frame = self.backdrop.take(np.clip(tones * 255, 0, 255).astype(np.uint8), axis=0)
        covered = opacity > 0.01
        front = self.particles.take(np.clip(particle_tones[covered] * 212, 0, 255).astype(np.uint8), axis=0)
        behind = frame[covered].astype(np.float32)
        frame[covered] = behind + (front - behind) * opacity[covered][:, None]
        return frame


def _bytes(colours: NDArray[np.float64]) -> Colours:
    return np.clip(colours, 0, 255).astype(np.uint8)


# Where each family puts its hues (in hue spans) and its saturation (a factor) from dark to light.
_PALETTE_FAMILIES: Mapping[str, tuple[tuple[list[float], list[float]], tuple[list[float], list[float]]]] = {
    "analogous": (([0, 1], [0, 1]), ([0, 1], [1, 1])),
    "complementary": (([0, 0.45, 0.55, 1], [0, 0.1, 0.9, 1]), ([0, 1], [1, 1])),
    "earth": (([0, 0.5, 1], [0, 0.7, 0.4]), ([0, 1], [0.9, 0.6])),
    "neon": (([0, 0.3, 0.6, 1], [0, 1, 0.2, 0.8]), ([0, 0.5, 1], [1, 1.2, 1])),
    "pastel": (([0, 0.5, 1], [1, 0, 0.6]), ([0, 1], [0.9, 0.7])),
    "duotone": (([0, 0.49, 0.51, 1], [0, 0, 1, 1]), ([0, 1], [1, 0.9])),
    "triadic": (([0, 0.33, 0.34, 0.66, 0.67, 1], [0, 0, 0.5, 0.5, 1, 1]), ([0, 1], [1, 1])),
    "faded film": (([0, 1], [0.8, 0.2]), ([0, 0.5, 1], [0.7, 0.9, 0.7])),
    "split complementary": (([0, 0.5, 0.7, 1], [0, 0.2, 0.8, 1]), ([0, 1], [0.9, 1.1])),
    "painted": (([0, 0.25, 0.5, 0.75, 1], [0.5, 0, 1, 0.3, 0.7]), ([0, 0.5, 1], [1, 0.8, 1])),
}


def _hsl(hue: Ramp, saturation: Ramp, light: Ramp) -> NDArray[np.float64]:
    """f64[n, 3] in 0..255; hue in turns."""
    reach = np.clip(saturation, 0, 1) * np.minimum(light, 1 - light)
    place = np.array([0.0, 8.0, 4.0]) + 12.0 * (hue % 1.0)[:, None]
    bump = np.clip(np.minimum(place % 12 - 3, 9 - place % 12), -1, 1)
    return np.asarray(255.0 * (light[:, None] - reach[:, None] * bump))
