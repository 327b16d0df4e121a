// The ultrasound picture with its outlines. Lines are cased in black: seen on any grey (WCAG 1.4.11, 3:1).
"use strict";

import { prepared, css } from "./canvas.js";

const BRIGHT = new Set(["live", "replay", "hold", "no plane", "measured", "refused", "dropped"]);
const DIMMED = { frozen: 0.7 };                                    // still looked at; in other states 0.35
const CASING = 1.5;                                                // pixels on each side, times the scale of lines

/** Draws `image` and, where `overlay`, the message's drawing, into the canvas, then what `more` draws; mirrored where `flip`. */
export function drawPicture(canvas, { image, message, overlay, flip, more }) {
  const [context, width, height] = prepared(canvas);
  if (!image || !message || message.width === undefined) return;
  const { wide, scale, left, top } = placed(width, height, message);
  context.save();
  if (flip) { context.translate(width, 0); context.scale(-1, 1); }
  context.imageSmoothingQuality = "high";
  context.globalAlpha = BRIGHT.has(message.state) ? 1 : DIMMED[message.state] ?? 0.35;
  context.drawImage(image, left, top, wide * scale, message.height * scale);
  context.globalAlpha = 1;
  const at = ([x, y]) => [left + (x + 0.5) * message.aspect * scale, top + (y + 0.5) * scale];
  const thickness = Math.max(1, Math.min(4, Math.min(width, height) / 420));
  if (overlay && message.drawing) drawMeasurement(context, message.drawing, at, thickness);
  more?.(context, at, thickness);
  context.restore();
}

/** How the frame of a message lies in a box. */
function placed(width, height, message) {
  const wide = message.width * message.aspect, scale = Math.min(width / wide, height / message.height);
  return { wide, scale, left: (width - wide * scale) / 2, top: (height - message.height * scale) / 2 };
}

/** From places of the canvas to pixels of the frame (`toFrame`), and back (`at`). */
export function canvasToFrame(canvas, message, flip) {
  const { scale, left, top } = placed(canvas.clientWidth, canvas.clientHeight, message);
  const turned = x => flip ? canvas.clientWidth - x : x;
  return {
    toFrame: ([x, y]) => [(turned(x) - left) / (message.aspect * scale) - 0.5, (y - top) / scale - 0.5],
    at: ([x, y]) => [turned(left + (x + 0.5) * message.aspect * scale), top + (y + 0.5) * scale],
  };
}

function drawMeasurement(context, found, at, unit) {
  const superior = at(found.superior), vertex = at(found.inferior), tangent = at(found.tangent);
  const beyond = vertex.map((value, axis) => value + 1.25 * (tangent[axis] - value));
  cased(context, closedCurve(found.fh.map(at)), css("--fh"), 2 * unit, unit);
  cased(context, closedCurve(found.ps.map(at)), css("--ps"), 2 * unit, unit);
  cased(context, straight(superior, vertex), css("--ps"), 2.5 * unit, unit);
  cased(context, straight(vertex, beyond), css("--tangent"), 2.5 * unit, unit);
  if (found.hsd_foot) cased(context, straight(vertex, at(found.hsd_foot)), css("--hsd"), 2.5 * unit, unit);
  cased(context, arc(vertex, superior, tangent, 26 * unit), css("--angle"), 2 * unit, unit);
  const dot = new Path2D();
  dot.arc(...vertex, 4.5 * unit, 0, 2 * Math.PI);
  context.fillStyle = css("--angle");
  cased(context, dot, css("--angle"), unit, unit);
  context.fill(dot);
}

export function cased(context, path, colour, thickness, unit) {
  context.lineJoin = context.lineCap = "round";
  context.strokeStyle = "#000";
  context.lineWidth = thickness + 2 * CASING * unit;
  context.stroke(path);
  context.strokeStyle = colour;
  context.lineWidth = thickness;
  context.stroke(path);
}

/** A smooth closed curve through the points (Catmull-Rom, as cubic Bezier pieces). */
export function closedCurve(points) {
  const path = new Path2D(), count = points.length;
  if (count < 3) return path;
  const point = index => points[(index + count) % count];
  path.moveTo(...points[0]);
  for (let i = 0; i < count; i++) {
    const [before, from, to, after] = [point(i - 1), point(i), point(i + 1), point(i + 2)];
    path.bezierCurveTo(
      from[0] + (to[0] - before[0]) / 6, from[1] + (to[1] - before[1]) / 6,
      to[0] - (after[0] - from[0]) / 6, to[1] - (after[1] - from[1]) / 6, ...to);
  }
  path.closePath();
  return path;
}

export function straight(from, to) {
  const path = new Path2D();
  path.moveTo(...from);
  path.lineTo(...to);
  return path;
}

/** The angle itself, from one leg to the other, the short way round: it is less than 180 degrees. */
function arc(vertex, one, other, radius) {
  const path = new Path2D();
  const towards = end => Math.atan2(end[1] - vertex[1], end[0] - vertex[0]);
  const from = towards(one), turn = (towards(other) - from + 3 * Math.PI) % (2 * Math.PI) - Math.PI;
  path.arc(...vertex, radius, from, from + turn, turn < 0);
  return path;
}
