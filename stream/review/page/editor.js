// Points and outlines under a person's hand: dragged by mouse or finger, moved by keys, drawn on the picture.
"use strict";

import { css } from "./canvas.js";
import { cased, closedCurve, straight } from "./picture.js";

export const POINTS = ["ps_superior", "ps_inferior", "tangent"];
export const NAMES = { ps_superior: "superior end of the PS", ps_inferior: "inferior end of the PS", tangent: "tangent" };
const REACH_PX = 24;                                   // so near to a handle it is taken: a finger is broad
const LEAST_STEP_PX = 3, MOST_POINTS = 300;

/** What is edited of one frame; nothing is kept before it is saved. */
export class Edit {
  constructor(mode, message) {
    const { width, height, points } = message;
    const usual = { ps_superior: [0.3 * width, 0.25 * height], ps_inferior: [0.5 * width, 0.3 * height], tangent: [0.7 * width, 0.5 * height] };
    this.mode = mode;                                  // points, ps or fh
    this.points = structuredClone(points ?? usual);
    this.moved = new Set(points ? [] : POINTS);        // of a frame without a reading all are the person's
    this.outlines = { ps: null, fh: null };
    this.chosen = 1;
    this.values = null;                                // what the program measures on it
    this.width = width;
    this.height = height;
    this.held = null;
    this.stroke = null;
  }

  get isChanged() { return this.moved.size > 0 || this.outlines.ps !== null || this.outlines.fh !== null; }

  /** As it is sent. */
  content() {
    return { points: this.points, moved: [...this.moved], outlines: this.outlines };
  }

  move(name, [x, y]) {
    this.points[name] = [Math.min(this.width - 1, Math.max(0, x)), Math.min(this.height - 1, Math.max(0, y))].map(value => Math.round(100 * value) / 100);
    this.moved.add(name);
  }

  nudge(dx, dy) {
    const name = POINTS[this.chosen], [x, y] = this.points[name];
    this.move(name, [x + dx, y + dy]);
  }

  /** The pointer goes down at a place of the canvas: a handle is taken, or a line begins. */
  press(place, toFrame, at) {
    if (this.mode !== "points") {
      this.stroke = [toFrame(place)];
      this.last = place;
      return;
    }
    const near = POINTS.map(name => distance(at(this.points[name]), place));
    const nearest = near.indexOf(Math.min(...near));
    if (near[nearest] > REACH_PX) return;
    this.held = POINTS[nearest];
    this.chosen = nearest;
  }

  drag(place, toFrame) {
    if (this.held) this.move(this.held, toFrame(place));
    if (this.stroke && distance(place, this.last) >= LEAST_STEP_PX && this.stroke.length < MOST_POINTS) {
      this.stroke.push(toFrame(place));
      this.last = place;
    }
  }

  /** The pointer goes up; whether anything is to be measured anew. */
  release() {
    const isDone = this.held !== null || (this.stroke?.length ?? 0) >= 8;
    if (this.stroke && this.stroke.length >= 8)
      this.outlines[this.mode] = this.stroke.map(point => point.map(value => Math.round(100 * value) / 100));
    this.held = this.stroke = null;
    return isDone;
  }

  /** Drawn over the automatic lines, which stay, thin. */
  draw(context, at, unit) {
    for (const name of ["ps", "fh"]) {
      const points = this.stroke && this.mode === name ? this.stroke : this.outlines[name];
      if (!points || points.length < 2) continue;
      const path = this.stroke && this.mode === name ? open(points.map(at)) : closedCurve(points.map(at));
      cased(context, path, css(name === "ps" ? "--ps" : "--fh"), 2.5 * unit, unit);
    }
    const shown = this.values?.landmarks_px ?? this.points, vertex = at(shown.ps_inferior), touching = at(shown.tangent);
    cased(context, straight(at(shown.ps_superior), vertex), css("--ps"), 2.5 * unit, unit);
    cased(context, straight(vertex, vertex.map((value, axis) => value + 1.25 * (touching[axis] - value))), css("--tangent"), 2.5 * unit, unit);
    if (shown.hsd_min_foot) cased(context, straight(vertex, at(shown.hsd_min_foot)), css("--hsd"), 2.5 * unit, unit);
    if (this.mode !== "points") return;
    POINTS.forEach((name, index) => {
      const handle = new Path2D();
      handle.arc(...at(this.points[name]), (index === this.chosen ? 9 : 7) * unit, 0, 2 * Math.PI);
      cased(context, handle, index === this.chosen ? css("--angle") : css("--ink"), 2.5 * unit, unit);
    });
  }
}

function open(points) {
  const path = new Path2D();
  points.forEach((point, i) => i ? path.lineTo(...point) : path.moveTo(...point));
  return path;
}

const distance = ([x0, y0], [x1, y1]) => Math.hypot(x1 - x0, y1 - y0);
