"""The scenes: for each theme a backdrop (a field of tones over the picture) and a layer of particles.

Coordinates: `x` to the right and `y` downwards in half heights of the picture, (0, 0) in the middle, already
turned by the tilt, mirrored, zoomed and bent by the irregularity. A backdrop returns tones, 0 dark to 1
light, at every pixel. `phase` is the time in seconds multiplied by the speed; `pitch` is the number of
repetitions in a half height; `edge` is the width of an edge in half heights.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SCENES", "Grid", "Particles", "Scene"]

Field = NDArray[np.float32]
TAU = np.float32(2 * np.pi)


@dataclass(frozen=True, slots=True)
class Grid:
    """The coordinates of one shot, each f32[height, width]; `angle` in turns, 0 to 1."""

    x: Field
    y: Field
    radius: Field
    angle: Field
    pitch: float
    edge: float


Backdrop = Callable[[Grid, float], Field]


@dataclass(frozen=True, slots=True)
class Particles:
    """A lattice of small shapes that moves.

    Attributes:
        velocity: of the lattice, in cells a unit of phase, along its first and second axis.
        cells: the lattice's density, in cells a half height, before the fineness.
        stretch: how much longer than wide a particle is; below 1 wider than long.
        polar: whether the axes are (angle, distance) in place of (x, y).
        top, bottom: the band of `y` in which particles show.
        strength: opacity at the most, 0 to 1.
    """

    velocity: tuple[float, float]
    cells: float = 3.0
    stretch: float = 1.0
    polar: bool = False
    top: float = -9.0
    bottom: float = 9.0
    strength: float = 0.9


@dataclass(frozen=True, slots=True)
class Scene:
    """What a theme looks like."""

    backdrop: Backdrop
    particles: Particles


def _step(distance: Field, edge: float) -> Field:
    """0 where the distance is well below zero, 1 well above, linear over `edge`."""
    return np.asarray(np.clip(distance * np.float32(1.0 / edge) + np.float32(0.5), 0.0, 1.0), np.float32)


def _wave(cycles: Field, edge: float, pitch: float) -> Field:
    """A wave of period one: square-like for a sharp edge, a sine for a soft one."""
    steepness = np.float32(max(0.5, 0.35 / (edge * max(pitch, 0.5))))
    return np.asarray(np.clip(0.5 + steepness * np.sin(TAU * cycles), 0.0, 1.0), np.float32)


def _zigzag(cycles: Field) -> Field:
    """1 at whole cycles, 0 half way between."""
    return np.asarray(np.abs(cycles % 1.0 - np.float32(0.5)) * 2, np.float32)


def _ramp(y: Field) -> Field:
    return np.asarray(np.clip(0.5 + 0.4 * y, 0.0, 1.0), np.float32)


def _f(value: float) -> np.float32:
    """Keeps fields float32: a Python float would do for NumPy 2, a float64 of NumPy's would not."""
    return np.float32(value)


def _fireworks(g: Grid, phase: float) -> Field:
    rays = _wave(g.angle * _f(round(6 + 3 * g.pitch)) + _f(0.05 * phase), g.edge, g.pitch)
    front = np.exp(-(((g.radius - _f((0.7 * phase) % 1.6)) * _f(3.0)) ** 2))
    return np.asarray(_f(0.12) + rays * (_f(0.3) * np.exp(-g.radius) + _f(0.6) * front), np.float32)


def _carnival(g: Grid, phase: float) -> Field:
    bunting = _step(_f(-0.45) + _f(0.35) * _zigzag(g.x * _f(g.pitch) + _f(0.2 * phase)) - g.y, g.edge)
    return _f(0.35) + _f(0.5) * bunting + _f(0.15) * _ramp(g.y)


def _dance(g: Grid, phase: float) -> Field:
    folded = _zigzag(g.angle * _f(6.0) + _f(0.15 * phase))
    return _wave(g.radius * _f(g.pitch) - _f(0.4 * phase) + folded * _f(0.8), g.edge, g.pitch)


def _parade(g: Grid, phase: float) -> Field:
    stripes = _wave(g.x * _f(1.4 * g.pitch) - _f(0.35 * phase), g.edge, g.pitch)
    return np.where(np.abs(g.y) < 0.4, stripes, _f(0.5) + _f(0.25) * np.sign(g.y)).astype(np.float32)


def _bubbles(g: Grid, phase: float) -> Field:
    sway = _f(0.12) * np.sin(TAU * (g.y * _f(0.5) + _f(0.1 * phase)))
    return np.asarray(np.clip(_f(0.55) - _f(0.35) * (g.y + sway), 0.0, 1.0), np.float32)


def _racing(g: Grid, phase: float) -> Field:
    depth = _f(0.35) / np.maximum(g.y + _f(0.15), 0.06)
    road = (np.abs(g.x) * depth < 0.55) & (g.y > -0.1)
    marks = _wave(depth * _f(1.5 * g.pitch) + _f(1.2 * phase), g.edge, 0.5)
    ground = np.where(
        road, _f(0.25) + _f(0.65) * marks * (np.abs(g.x) * depth < 0.08), _f(0.5) + _f(0.25) * marks
    )
    return np.where(g.y > -0.1, ground, _f(0.85) + _f(0.3) * g.y).astype(np.float32)


def _sunrise(g: Grid, phase: float) -> Field:
    height = 0.15 - 0.03 * phase
    sun = _step(_f(0.38) - np.hypot(g.x, g.y - _f(height)), g.edge)
    ground = _step(g.y - _f(0.3), g.edge)
    glow = np.exp(_f(-1.2) * np.hypot(g.x, g.y - _f(height)))
    return np.asarray(
        (_f(0.3) + _f(0.35) * glow + _f(0.35) * sun) * (1 - ground) + ground * _f(0.12), np.float32
    )


def _meadow(g: Grid, phase: float) -> Field:
    tone = np.full_like(g.x, 0.85)
    for layer in range(3):
        ridge = _f(0.45 * layer - 0.35) + _f(0.16) * np.sin(
            TAU
            * (g.x * _f(0.35 * g.pitch * (1 + 0.4 * layer)) + _f(0.03 * phase * (layer + 1) + 0.37 * layer))
        )
        tone += (_f(0.62 - 0.22 * layer) - tone) * _step(g.y - ridge, g.edge)
    return tone


def _lagoon(g: Grid, phase: float) -> Field:
    ripple = _f(0.08) * np.sin(TAU * (g.x * _f(0.6) + _f(0.08 * phase)))
    bands = _wave((g.y + ripple) * _f(1.3 * g.pitch) - _f(0.12 * phase), g.edge, g.pitch)
    return np.where(g.y < -0.45, _f(0.8), _f(0.25) + _f(0.4) * bands).astype(np.float32)


def _snowfall(g: Grid, phase: float) -> Field:
    drifts = _step(g.y - _f(0.6) - _f(0.12) * np.sin(TAU * (g.x * _f(0.4) + _f(0.01 * phase))), g.edge)
    return _f(0.35) + _f(0.12) * g.y + _f(0.5) * drifts


def _constellation(g: Grid, phase: float) -> Field:
    band = np.exp(-(((g.y + _f(0.5) * g.x + _f(0.02 * phase)) * _f(2.2)) ** 2))
    return np.asarray(_f(0.06) + _f(0.25) * band, np.float32)


def _orbit(g: Grid, phase: float) -> Field:
    tone = _f(0.15) + _f(0.7) * _step(_f(0.3) - g.radius, g.edge)
    for body in range(3):
        turn = 2 * np.pi * (0.12 * phase + body / 3)
        distance = np.hypot(g.x - _f(0.8 * np.cos(turn)), g.y - _f(0.55 * np.sin(turn)))
        tone = np.maximum(tone, _f(0.55) * _step(_f(0.16) - distance, g.edge) + _f(0.15))
    return tone


def _storm(g: Grid, phase: float) -> Field:
    clouds = np.sin(TAU * (g.x * _f(0.5) + _f(0.2 * phase))) * np.sin(
        TAU * (g.y * _f(0.7) - _f(0.07 * phase)) + g.x
    )
    flash = _f(0.55) if int(phase * 1.7) % 5 == 0 else _f(0.0)
    return np.asarray(
        np.clip(_f(0.3) - _f(0.25) * g.y + _f(0.2) * clouds + flash * (g.y < 0), 0.0, 1.0), np.float32
    )


def _chase(g: Grid, phase: float) -> Field:
    distance = np.maximum(np.abs(g.x) * _f(0.62), np.abs(g.y))
    walls = _wave(_f(g.pitch) * np.log(np.maximum(distance, 0.05)) - _f(0.7 * phase), g.edge, g.pitch)
    return walls * np.clip(distance * 1.3, 0.1, 1.0)


def _machine(g: Grid, phase: float) -> Field:
    tone = np.full_like(g.x, 0.25)
    for side in (-1.0, 1.0):
        x = g.x - _f(0.75 * side)
        radius = np.hypot(x, g.y)
        angle = np.arctan2(g.y, x) / TAU
        turn = np.asarray(angle * _f(round(4 + 4 * g.pitch)) + _f(side * 0.5 * phase), np.float32)
        teeth = _wave(turn, g.edge, g.pitch)
        tone = np.maximum(
            tone, _f(0.75) * _step(_f(0.45) + _f(0.18) * teeth - radius, g.edge) * (radius > 0.2)
        )
    return tone


def _labyrinth(g: Grid, phase: float) -> Field:
    walls = _wave((np.abs(g.x) + np.abs(g.y)) * _f(1.2 * g.pitch) + _f(0.15 * phase), g.edge, g.pitch)
    return walls * _f(0.7) + _f(0.1)


def _swarm(g: Grid, phase: float) -> Field:
    winding = np.asarray(np.log(np.maximum(g.radius, 0.06)), np.float32) * _f(0.7 * g.pitch)
    return _f(0.1) + _f(0.55) * _wave(g.angle * _f(3.0) + winding - _f(0.4 * phase), g.edge, g.pitch)


def _abyss(g: Grid, phase: float) -> Field:
    rings = _wave(g.radius * _f(1.3 * g.pitch) + _f(0.25 * phase), g.edge, g.pitch)
    return np.asarray(rings * np.clip(g.radius * _f(0.75), 0.0, 0.9), np.float32)


def _rain(g: Grid, phase: float) -> Field:
    pane = _wave(g.x * _f(0.5) + _f(0.25), g.edge, 0.5)
    return np.asarray(
        _f(0.35) + _f(0.2) * pane - _f(0.15) * g.y + _f(0.03) * np.sin(TAU * (g.y - _f(0.2 * phase))),
        np.float32,
    )


def _ruins(g: Grid, phase: float) -> Field:
    place = g.x * _f(0.9 * g.pitch) + _f(0.03 * phase)
    pillars = _step((np.abs(place % 1.0 - _f(0.5)) - _f(0.27)) / _f(g.pitch), g.edge)
    broken = _step(g.y + _f(0.5) + _f(0.35) * np.sin(np.floor(place) * _f(2.4)), g.edge)
    return np.clip(_f(0.75) - _f(0.6) * (1 - pillars) * broken - _f(0.2) * g.y, 0.0, 1.0)


def _vigil(g: Grid, phase: float) -> Field:
    flicker = 1.0 + 0.06 * np.sin(5.0 * phase)
    flame = np.exp(-((g.x * _f(4.0)) ** 2) - ((g.y + _f(0.15)) * _f(1.8)) ** 2)
    candle = _step(_f(0.1) - np.abs(g.x), g.edge) * _step(g.y - _f(0.25), g.edge)
    return _f(0.04) + _f(0.3) * np.exp(-g.radius * 2) + _f(0.6 * flicker) * flame + _f(0.3) * candle


def _fog(g: Grid, phase: float) -> Field:
    first = np.sin(TAU * (g.x * _f(0.22) + _f(0.05 * phase)) + 2 * g.y)
    second = np.sin(TAU * (g.y * _f(0.4) - _f(0.03 * phase)) + g.x)
    return np.asarray(_f(0.55) + _f(0.1) * first + _f(0.12) * second, np.float32)


def _desert(g: Grid, phase: float) -> Field:
    dune = _f(0.25) * np.abs((g.x * _f(0.45 * g.pitch) + _f(0.04 * phase)) % 1.0 - _f(0.35))
    sand = _step(g.y + _f(0.05) - dune, g.edge)
    shade = _wave(g.x * _f(0.45 * g.pitch) + g.y * _f(0.5) + _f(0.04 * phase), max(g.edge, 0.3), 1.0)
    return _f(0.85) * (1 - sand) + sand * (_f(0.35) + _f(0.3) * shade)


def _skyline(g: Grid, phase: float) -> Field:
    place = g.x * _f(1.5 * g.pitch) + _f(0.25 * phase)
    block = np.floor(place)
    height = _f(0.45) * np.sin(block * _f(12.9898)) ** 2 - _f(0.35)
    house = _step(g.y - height, min(g.edge, 0.08))
    windows = ((place % _f(0.34)) > 0.17) & ((g.y * _f(1.5 * g.pitch) % _f(0.34)) > 0.17)
    return np.asarray(
        _f(0.65) * (1 - house) + house * (_f(0.12) + _f(0.6) * (windows & (np.sin(block * _f(7.1)) > -0.3))),
        np.float32,
    )


SCENES: Mapping[str, Scene] = {
    "fireworks": Scene(_fireworks, Particles((0.0, -1.2), 3.0, 1.6, polar=True)),
    "carnival": Scene(_carnival, Particles((0.3, -0.8), 3.0, top=-0.25)),
    "dance": Scene(_dance, Particles((0.5, 0.5), 2.0, polar=True, strength=0.7)),
    "parade": Scene(_parade, Particles((-0.7, 0.0), 2.4, top=0.4)),
    "bubbles": Scene(_bubbles, Particles((0.0, 0.7), 2.6)),
    "racing": Scene(_racing, Particles((-2.0, 0.0), 2.5, 0.35, top=-0.9, bottom=-0.15)),
    "sunrise": Scene(_sunrise, Particles((-0.15, 0.0), 2.5, 0.5, top=-0.95, bottom=-0.3, strength=0.6)),
    "meadow": Scene(_meadow, Particles((-0.1, 0.0), 4.0, top=0.35, strength=0.8)),
    "lagoon": Scene(_lagoon, Particles((-0.15, 0.0), 3.0, 0.3, top=-0.4, strength=0.6)),
    "snowfall": Scene(_snowfall, Particles((0.1, -0.4), 4.0)),
    "constellation": Scene(_constellation, Particles((0.06, 0.02), 3.4, strength=0.8)),
    "orbit": Scene(_orbit, Particles((0.5, 0.0), 2.6, polar=True, strength=0.6)),
    "storm": Scene(_storm, Particles((1.0, -2.2), 4.0, 4.0, top=-0.6, strength=0.7)),
    "chase": Scene(_chase, Particles((0.0, -1.6), 2.2, 2.5, polar=True, strength=0.8)),
    "machine": Scene(_machine, Particles((0.8, 0.0), 2.5, top=0.65, strength=0.9)),
    "labyrinth": Scene(_labyrinth, Particles((0.25, 0.25), 1.6, strength=0.8)),
    "swarm": Scene(_swarm, Particles((0.9, 0.4), 4.0, polar=True)),
    "abyss": Scene(_abyss, Particles((0.0, 0.7), 1.8, 0.6, polar=True, strength=0.6)),
    "rain": Scene(_rain, Particles((0.0, -1.6), 4.0, 5.0, strength=0.7)),
    "ruins": Scene(_ruins, Particles((-0.05, 0.03), 2.5, bottom=-0.3, strength=0.5)),
    "vigil": Scene(_vigil, Particles((0.0, 0.25), 2.5, 1.5, top=-0.9, bottom=-0.25, strength=0.6)),
    "fog": Scene(_fog, Particles((-0.12, 0.0), 1.5, 0.4, strength=0.35)),
    "desert": Scene(_desert, Particles((-0.3, 0.0), 4.0, 0.3, top=0.3, strength=0.5)),
    "skyline": Scene(_skyline, Particles((-0.4, 0.0), 2.6, bottom=-0.4, strength=0.7)),
}
"""One scene for every theme, by the theme's name."""
