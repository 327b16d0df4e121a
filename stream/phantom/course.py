"""Motion of the phantom over time: contractions, pushes, breathing, probe tremor, lost planes.

Everything is a pure function of the seed and of time, so any instant can be asked for alone, in any order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from stream.phantom.descent import SIMULATED_AOP_DEG, clears_symphysis, head_tilt_deg, place_head, typical_hsd_mm
from stream.phantom.motion import Excursion, SimulatedPush, draw_wander, ramp
from stream.phantom.sample import fit_pose, sample_appearance, sample_symphysis
from stream.phantom.scene import Pose, ProbeSector, Scene

if TYPE_CHECKING:
    from stream.phantom.scene import Appearance, Head

CYCLE_S = 150.0
CONTRACTION_S = 75.0
PUSH_S = 6.5
EXCURSION_EVERY_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseOptions:
    """What a course holds.

    Attributes:
        seed: of everything random.
        duration_s: how long it lasts.
        aop_deg: at rest, at the start; None draws it, normal (112, 8) within 95 to 130.
        pushes: whether the mother pushes.
        offplane: whether the plane is lost at times.
        mirrored: PS on the right of the picture.
    """

    seed: int = 0
    duration_s: float = 20.0
    aop_deg: float | None = None
    pushes: bool = True
    offplane: bool = True
    mirrored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Skull:
    """A head's size, and by how much its way down differs from the typical one."""

    semi_major_mm: float
    semi_minor_mm: float
    tilt_offset_deg: float
    hsd_offset_mm: float

    def at(self, aop_deg: float) -> Head:
        """The head at an angle of progression."""
        return place_head(
            aop_deg,
            hsd_mm=max(5.0, typical_hsd_mm(aop_deg) + self.hsd_offset_mm),
            semi_major_mm=self.semi_major_mm,
            semi_minor_mm=self.semi_minor_mm,
            tilt_deg=head_tilt_deg(aop_deg) + self.tilt_offset_deg,
        )


class Course:
    """The scene at any time of a phantom recording."""

    def __init__(self, options: CourseOptions) -> None:
        rng = np.random.default_rng((options.seed, 1))
        self._options = options
        drawn_deg = float(min(max(rng.normal(112, 8), 95), 130))
        self._rest_deg = drawn_deg if options.aop_deg is None else options.aop_deg
        self._drift_deg_per_s = float(rng.uniform(0.02, 0.2)) / 60
        self._breath_hz = float(rng.uniform(0.25, 0.35))
        self._pushes = _draw_pushes(rng, options, self._rest_deg) if options.pushes else ()
        self._swell_deg = float(rng.uniform(2, 4)) if options.pushes else 0.0
        self._excursions = _draw_excursions(rng, options) if options.offplane else ()
        self._turn, self._shift_x, self._shift_y = (draw_wander(rng, 0.05, 0.4) for _ in range(3))
        self._gain, self._scatter = draw_wander(rng, 0.03, 0.15), draw_wander(rng, 0.1, 0.5)
        self._skull = _draw_skull(rng)
        self._base = self._draw_base(rng)

    def aop_deg(self, t_s: float) -> float:
        """The angle of progression at a time, kept within 80 to 170 degrees."""
        aop = self._rest_deg + self._drift_deg_per_s * t_s
        aop += self._swell_deg * _contraction(t_s, self._options.duration_s)
        aop += sum(push(t_s) for push in self._pushes)
        aop += 0.6 * math.sin(2 * math.pi * self._breath_hz * t_s)
        return min(max(aop, SIMULATED_AOP_DEG[0]), SIMULATED_AOP_DEG[1])

    def scene(self, t_s: float, *, noise_seed: int = 0) -> Scene:
        """Everything that is there at a time, in seconds from the start."""
        breath = math.sin(2 * math.pi * self._breath_hz * t_s - 0.6)
        pose = self._base.pose
        scene = replace(
            self._base,
            pose=Pose(
                x_mm=pose.x_mm + 0.7 * self._shift_x(t_s),
                y_mm=pose.y_mm + 0.5 * self._shift_y(t_s) + 0.8 * breath,
                tilt_deg=pose.tilt_deg + 1.2 * self._turn(t_s),
            ),
            head=self._skull.at(self.aop_deg(t_s)),
            look=replace(self._base.look, gain_db=self._base.look.gain_db + 0.7 * self._gain(t_s)),
            speckle_phase_rad=0.6 * self._scatter(t_s),
            noise_seed=noise_seed,
        )
        for excursion in self._excursions:
            depth = excursion.depth(t_s)
            if depth > 0:
                scene = _lifted(scene, depth) if excursion.lifts_off else _beside(scene, depth)
        return scene

    def _aop_bounds_deg(self) -> tuple[float, float]:
        """Bounds of AoP over the whole course; the upper one allows for what earlier pushes have left."""
        highest_deg = 1.3 * max((push.height_deg for push in self._pushes), default=0.0)
        drift_deg = self._drift_deg_per_s * self._options.duration_s
        low, high = self._rest_deg - 0.6, self._rest_deg + 0.6 + self._swell_deg + highest_deg + drift_deg
        return max(low, SIMULATED_AOP_DEG[0]), min(high, SIMULATED_AOP_DEG[1])

    def _draw_base(self, rng: np.random.Generator) -> Scene:
        """Anatomy, look, and a pose that keeps the landmarks in the sector over the whole course."""
        sector = ProbeSector()
        length_mm, thickness_mm = sample_symphysis(rng)
        low_deg, high_deg = self._aop_bounds_deg()
        while not clears_symphysis(self._skull.at(low_deg), length_mm, thickness_mm):
            self._skull = replace(self._skull, hsd_offset_mm=self._skull.hsd_offset_mm + 1.0)
        heads = [self._skull.at(aop) for aop in np.linspace(low_deg, high_deg, 5)]
        pose = fit_pose(
            heads,
            sector,
            length_mm,
            tilt_deg=float(rng.uniform(10, 24)),
            rise=float(rng.uniform(0, 0.4)),
            shift=0.5,
            margin_mm=9.0,
        )
        look = _draw_look(rng, heads[0])
        return Scene(
            sector=sector,
            pose=pose,
            ps_length_mm=length_mm,
            ps_thickness_mm=thickness_mm,
            head=heads[0],
            look=look,
            mirrored=self._options.mirrored,
        )


def _draw_skull(rng: np.random.Generator) -> Skull:
    return Skull(
        semi_major_mm=55.0 * float(rng.uniform(0.95, 1.05)),
        semi_minor_mm=44.0 * float(rng.uniform(0.95, 1.05)),
        tilt_offset_deg=float(rng.uniform(-5, 5)),
        hsd_offset_mm=float(rng.uniform(-2, 4)),
    )


def _draw_look(rng: np.random.Generator, head: Head) -> Appearance:
    """A random look whose gain, shadows and losses leave PS and head to be seen."""
    return replace(
        sample_appearance(rng, head),
        gain_db=float(rng.uniform(-3, 2)),
        dynamic_range_db=float(rng.uniform(50, 58)),
        attenuation_db_per_mm=float(rng.uniform(0.05, 0.1)),
        skull_loss_db=float(rng.uniform(2, 5)),
        ps_loss_db=float(rng.uniform(4, 9)),
        shadows=((float(rng.uniform(-40, -32)), 10.0, float(rng.uniform(4, 12))),),
    )


def _draw_pushes(rng: np.random.Generator, options: CourseOptions, rest_deg: float) -> tuple[SimulatedPush, ...]:
    """Up to four pushes in each contraction, none of which leads past 168 degrees."""
    cycle_s, active_s = min(options.duration_s, CYCLE_S), min(options.duration_s, CONTRACTION_S)
    count = max(1, min(4, int(active_s // PUSH_S)))
    slot_s = active_s / count
    room_deg = max(0.0, (168.0 - rest_deg - 6.0) / 1.3)
    starts_s = [
        cycle * cycle_s + number * slot_s
        for cycle in range(math.ceil(options.duration_s / cycle_s))
        for number in range(count)
    ]
    return tuple(
        SimulatedPush(
            start_s=start_s + float(rng.uniform(0.12, 0.2)) * slot_s,
            rise_s=min(float(rng.uniform(1, 2.5)), slot_s * 0.25),
            plateau_s=float(rng.uniform(0.25, 0.35)) * slot_s,
            fall_s=min(float(rng.uniform(0.8, 1.6)), slot_s * 0.2),
            height_deg=min(float(rng.uniform(10, 20)), room_deg),
            kept=float(rng.uniform(0, 0.3)),
        )
        for start_s in starts_s
    )


def _draw_excursions(rng: np.random.Generator, options: CourseOptions) -> tuple[Excursion, ...]:
    """One lost plane every 20 s, at least one; the first leads beside the symphysis, every third into air."""
    count = max(1, round(options.duration_s / EXCURSION_EVERY_S))
    slot_s = options.duration_s / count
    excursions = []
    for number in range(count):
        length_s = min(float(rng.uniform(1.5, 3.5)), 0.25 * slot_s)
        start_s = (number + float(rng.uniform(0.45, 0.7))) * slot_s
        excursions.append(Excursion(start_s=start_s, end_s=start_s + length_s, lifts_off=number % 3 == 1))
    return tuple(excursions)


def _contraction(t_s: float, duration_s: float) -> float:
    """The bell of a contraction, 0 to 1."""
    cycle_s, active_s = min(duration_s, CYCLE_S), min(duration_s, CONTRACTION_S)
    return math.exp(-0.5 * ((t_s % cycle_s - active_s / 2) / (active_s / 5)) ** 2)


def _beside(scene: Scene, depth: float) -> Scene:
    """Off the midsagittal plane: first the PS fades into the ramus, then the head's section shrinks."""
    return replace(
        scene,
        ps_visibility=1 - ramp(depth / 0.6),
        ramus=ramp((depth - 0.2) / 0.6),
        head_section=1 - 0.3 * ramp((depth - 0.3) / 0.7),
    )


def _lifted(scene: Scene, depth: float) -> Scene:
    return replace(scene, contact=1 - depth)
