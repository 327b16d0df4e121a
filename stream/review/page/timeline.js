// The course of a whole run: AoP with its interval, what was not measured, pushes, marks, edits, and where one is.
"use strict";

import { css, prepared } from "./canvas.js";

const MARKS = { push_start: "▸", push_end: "◂", note: "✎", mark: "▾" };

/** Draws the line; `row` is the frame that is shown. */
export function drawLine(canvas, run, row) {
  const [context, width, height] = prepared(canvas);
  if (!run || !run.frames) return;
  const text = parseFloat(getComputedStyle(document.documentElement).fontSize) * 0.78;
  context.font = `${text}px system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif`;
  const area = areaOf(canvas, width, run), bottom = height - 1.6 * text, top = 1.3 * text;
  drawPushes(context, area, run, text, top, bottom);
  drawStates(context, area, run, bottom);
  drawCourse(context, area, run, text, top, bottom - 5);
  drawMarks(context, area, run, text, top, bottom);
  drawTimes(context, area, run, text, bottom);
  const x = area.x(run.time_s[row] ?? 0);
  context.strokeStyle = css("--ink");
  context.lineWidth = 2;
  line(context, x, 0, x, bottom);
  context.lineWidth = 1;
}

function areaOf(canvas, width, run) {
  const text = parseFloat(getComputedStyle(document.documentElement).fontSize) * 0.78;
  const left = 3.2 * text, right = width - 0.8 * text, end = Math.max(run.time_s.at(-1) ?? 0, 1e-3);
  return { left, right, end, x: time => left + time / end * (right - left) };
}

/** The frame at a place of the canvas. */
export function rowAt(canvas, run, x) {
  const area = areaOf(canvas, canvas.clientWidth, run);
  return rowOf(run, (x - area.left) / Math.max(1, area.right - area.left) * area.end);
}

/** The last frame that began by a time. */
export function rowOf(run, time) {
  let low = 0, high = run.frames - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (run.time_s[middle] <= time + 1e-6) low = middle; else high = middle - 1;
  }
  return low;
}

function drawPushes(context, area, run, text, top, bottom) {
  context.textAlign = "center";
  context.textBaseline = "alphabetic";
  for (const push of run.pushes) {
    context.fillStyle = "#f0e44230";
    context.fillRect(area.x(push.start_s), top, Math.max(2, area.x(push.end_s) - area.x(push.start_s)), bottom - top);
    context.fillStyle = css("--angle");
    context.fillText(push.name, (area.x(push.start_s) + area.x(push.end_s)) / 2, top - 0.25 * text);
  }
}

/** A strip at the foot: grey where nothing was measured. */
function drawStates(context, area, run, bottom) {
  for (const [first, last] of run.refused) {
    context.fillStyle = "#8f8c84";
    context.fillRect(area.x(first), bottom - 4, Math.max(1, area.x(last) - area.x(first)), 4);
  }
}

function drawCourse(context, area, run, text, top, bottom) {
  const shown = run.trend.filter(point => point[1] !== null);
  let low = 90, high = 150;
  for (const point of shown) { low = Math.min(low, point[2] ?? point[1]); high = Math.max(high, point[3] ?? point[1]); }
  const y = value => bottom - (value - low) / (high - low) * (bottom - top);
  context.textAlign = "right";
  context.textBaseline = "middle";
  const step = (high - low) / 10 > (bottom - top) / (1.6 * text) ? 20 : 10;
  for (let value = Math.ceil(low / step) * step; value <= high; value += step) {
    context.strokeStyle = css("--line");
    line(context, area.left, y(value), area.right, y(value));
    context.fillStyle = css("--dim");
    context.fillText(value + "°", area.left - 0.4 * text, y(value));
  }
  for (const part of parts(run.trend)) {
    const band = new Path2D(), middle = new Path2D();
    part.forEach((p, i) => i ? band.lineTo(area.x(p[0]), y(p[3])) : band.moveTo(area.x(p[0]), y(p[3])));
    part.slice().reverse().forEach(p => band.lineTo(area.x(p[0]), y(p[2])));
    part.forEach((p, i) => i ? middle.lineTo(area.x(p[0]), y(p[1])) : middle.moveTo(area.x(p[0]), y(p[1])));
    if (part.length === 1) middle.lineTo(area.x(part[0][0]) + 1, y(part[0][1]));
    context.fillStyle = "#7cc9f752";
    context.fill(band);
    context.strokeStyle = css("--ink");
    context.lineWidth = 1.5;
    context.stroke(middle);
    context.lineWidth = 1;
  }
}

/** Stretches without a gap. */
function parts(trend) {
  const found = [[]];
  for (const point of trend) {
    if (point[1] === null) found.push([]);
    else found.at(-1).push(point);
  }
  return found.filter(part => part.length);
}

function drawMarks(context, area, run, text, top, bottom) {
  for (const [time, words] of run.changes) {
    context.setLineDash([0.3 * text, 0.3 * text]);
    context.strokeStyle = css("--warn");
    line(context, area.x(time), top, area.x(time), bottom);
    context.setLineDash([]);
    context.fillStyle = css("--warn");
    const isLate = area.x(time) + 0.3 * text + context.measureText(words).width > area.right;
    context.textAlign = isLate ? "right" : "left";      // at the end of the line they go before it
    context.fillText(words, area.x(time) + (isLate ? -0.3 : 0.3) * text, bottom - text);
  }
  context.textAlign = "center";
  context.textBaseline = "alphabetic";
  for (const mark of run.marks) {
    context.strokeStyle = context.fillStyle = css("--angle");
    line(context, area.x(mark.time_s), top, area.x(mark.time_s), bottom);
    context.fillText(MARKS[mark.kind] ?? "▾", area.x(mark.time_s), top - 0.1 * text);
  }
  context.fillStyle = css("--good");
  for (const row of run.edits) context.fillRect(area.x(run.time_s[row]) - 1.5, bottom - 9, 3, 9);
}

function drawTimes(context, area, run, text, bottom) {
  const steps = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 86400];
  const most = Math.max(2, (area.right - area.left) / (5 * text)), step = steps.find(each => area.end / each <= most) ?? 86400;
  context.textAlign = "center";
  context.textBaseline = "alphabetic";
  context.fillStyle = css("--dim");
  for (let time = 0; time <= area.end; time += step) context.fillText(clock(time), area.x(time), bottom + 1.25 * text);
}

/** `0:07`, `12:34`, `1:02:03`. */
export function clock(seconds) {
  const whole = Math.floor(seconds + 1e-6), pad = number => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
}

function line(context, x0, y0, x1, y1) {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}

/** A time within a run with its tenths: `0:07.4`. */
export const exactly = seconds => `${clock(seconds)}.${Math.floor(10 * (seconds % 1) + 1e-6) % 10}`;

/** The course in words, for those who cannot see it. */
export function inWords(run) {
  const values = run.trend.map(point => point[1]).filter(value => value !== null);
  if (!values.length) return "Time line: nothing was measured";
  const [low, high] = [Math.min(...values), Math.max(...values)].map(value => value.toFixed(0));
  return `Time line of ${clock(run.time_s.at(-1))}: AoP between ${low} and ${high} degrees, ${run.pushes.length} pushes, ${run.marks.length} marks, ${run.edits.length} reviewed frames`;
}
