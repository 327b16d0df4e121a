// AoP and HSD over the last five minutes. The points are the server's: nothing is lost by a reload or a reconnection.
"use strict";

import { prepared, css } from "./canvas.js";

export const TREND_S = 300;
const GAP_S = 1.5;                                    // a pause longer than this is a gap in the line
const AOP = { value: 1, low: 2, high: 3, name: "AoP", unit: "°", step: 10, least: 40, colour: "--ink", band: "#7cc9f752" };
const HSD = { value: 4, low: 5, high: 6, name: "HSD", unit: " mm", step: 10, least: 30, colour: "--hsd", band: "#2ee6a838" };
const SEAM = 7;
const SEAMS = {
  connection: "connected again", loop: "from the start", time: "time jump", size: "picture size", aspect: "pixel shape",
  scale: "scale", depth: "depth", sector: "sector", pane: "pane", orientation: "flipped",
};

/** Adds the server's new points, and forgets those that are older than the trend. */
export function extend(points, more) {
  points.push(...more);
  const last = points.at(-1);
  let old = 0;
  while (old < points.length && points[old][0] < last[0] - TREND_S) old++;
  points.splice(0, old);
}

/** Draws the trend; HSD below AoP where there is any. */
export function drawTrend(canvas, { trend, marks, now }) {
  const [context, width, height] = prepared(canvas);
  const text = parseFloat(getComputedStyle(document.documentElement).fontSize) * 0.78;
  context.font = `${text}px system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif`;
  const end = Math.max(now ?? 0, trend.at(-1)?.[0] ?? 0);
  const span = Math.min(TREND_S, Math.max(30, trend.length ? end - trend[0][0] : 0));
  const area = { left: 4.6 * text, right: width - 0.8 * text, start: end - span, span };
  area.x = time => area.right - (end - time) / span * (area.right - area.left);
  const hasHsd = height > 8 * text && trend.some(point => point[HSD.value] !== null);
  const bottom = height - 1.9 * text, gap = hasHsd ? 0.9 * text : 0;
  const middle = hasHsd ? 0.8 * text + (bottom - 0.8 * text) * 0.56 : bottom;
  drawTimes(context, area, text, 0.8 * text, bottom);
  drawQuantity(context, area, text, AOP, trend, 0.8 * text, middle);
  if (hasHsd) drawQuantity(context, area, text, HSD, trend, middle + gap, bottom);
  drawMarks(context, area, text, marks, bottom);
}

function drawTimes(context, area, text, top, bottom) {
  const step = area.span > 120 ? 60 : area.span > 60 ? 30 : 10;
  context.fillStyle = css("--dim");
  context.strokeStyle = css("--line");
  context.textBaseline = "alphabetic";
  for (let ago = 0; ago <= area.span; ago += step) {
    const x = area.x(area.start + area.span - ago);
    line(context, x, top, x, bottom);
    const label = ago === 0 ? "now" : step >= 60 ? `−${ago / 60} min` : `−${ago} s`;
    context.textAlign = ago === 0 ? "right" : "center";
    if (ago === 0 || x > area.left + 2 * text) context.fillText(label, x, bottom + 1.3 * text);
  }
}

function drawQuantity(context, area, text, quantity, trend, top, bottom) {
  const [low, high] = range(quantity, trend);
  const y = value => bottom - (Math.min(high, Math.max(low, value)) - low) / (high - low) * (bottom - top);
  const lines = Math.max(1, Math.floor((bottom - top) / (1.5 * text)));
  const step = quantity.step * Math.max(1, Math.ceil((high - low) / quantity.step / lines));
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (let value = Math.ceil(low / step) * step; value <= high; value += step) {
    context.strokeStyle = css("--line");
    line(context, area.left, y(value), area.right, y(value));
    context.fillStyle = css("--dim");
    context.fillText(value + quantity.unit.trim().replace("mm", ""), area.left - 0.5 * text, y(value));
  }
  for (const part of parts(trend, quantity)) drawPart(context, area, quantity, part, y);
  label(context, quantity.name + (quantity === HSD ? " (mm)" : " (°)"), area.left + 0.4 * text, top + 0.8 * text, text, css(quantity.colour));
}

/** From lowest to highest shown, in whole steps, and never so narrow that noise fills it. */
function range(quantity, trend) {
  const lows = trend.map(point => point[quantity.value] === null ? Infinity : point[quantity.value]);
  const highs = trend.map(point => point[quantity.value] ?? -Infinity);
  let low = lows.reduce((a, b) => Math.min(a, b), Infinity), high = highs.reduce((a, b) => Math.max(a, b), -Infinity);
  if (low === Infinity) [low, high] = quantity === AOP ? [90, 150] : [0, 40];
  const missing = Math.max(0, quantity.least - (high - low) - 10) / 2;
  low = Math.floor((low - missing - 5) / quantity.step) * quantity.step;
  high = Math.ceil((high + missing + 5) / quantity.step) * quantity.step;
  return [Math.max(0, low), high];
}

/** Stretches without a gap: where nothing was measured, or another segment began, the line ends. */
function parts(trend, quantity) {
  const found = [];
  let part = [];
  for (const point of trend) {
    const breaks = point[quantity.value] === null || point[SEAM] || (part.length && point[0] - part.at(-1)[0] > GAP_S);
    if (breaks && part.length) { found.push(part); part = []; }
    if (point[quantity.value] !== null) part.push(point);
  }
  return part.length ? [...found, part] : found;
}

function drawPart(context, area, quantity, part, y) {
  const band = new Path2D(), middle = new Path2D();
  part.forEach((p, i) => i ? band.lineTo(area.x(p[0]), y(p[quantity.high])) : band.moveTo(area.x(p[0]), y(p[quantity.high])));
  part.slice().reverse().forEach(p => band.lineTo(area.x(p[0]), y(p[quantity.low])));
  part.forEach((p, i) => i ? middle.lineTo(area.x(p[0]), y(p[quantity.value])) : middle.moveTo(area.x(p[0]), y(p[quantity.value])));
  if (part.length === 1) middle.lineTo(area.x(part[0][0]) + 0.1, y(part[0][quantity.value]));   // a point of its own
  context.fillStyle = quantity.band;
  context.fill(band);
  context.strokeStyle = css(quantity.colour);
  context.lineWidth = 2;
  context.lineCap = context.lineJoin = "round";
  context.stroke(middle);
  context.lineWidth = 1;
}

function drawMarks(context, area, text, { marks, seams }, bottom) {
  context.textAlign = "left";
  context.textBaseline = "middle";
  let free = -Infinity;                                // where the next label would not cover the one before
  for (const [time, cause] of seams) {
    if (time < area.start) continue;
    context.setLineDash([0.3 * text, 0.3 * text]);
    context.strokeStyle = css("--warn");
    line(context, area.x(time), 0, area.x(time), bottom);
    context.setLineDash([]);
    const words = SEAMS[cause] ?? cause, left = area.x(time) + 0.3 * text;
    if (left < free) continue;
    free = left + context.measureText(words).width + 0.6 * text;
    label(context, words, left, bottom - 0.8 * text, text, css("--warn"), area.right);
  }
  context.strokeStyle = css("--angle");
  for (const [time] of marks) {
    if (time < area.start) continue;
    line(context, area.x(time), 0, area.x(time), bottom);
    context.fillStyle = css("--angle");
    context.beginPath();
    context.moveTo(area.x(time), 0.9 * text);
    context.lineTo(area.x(time) - 0.4 * text, 0);
    context.lineTo(area.x(time) + 0.4 * text, 0);
    context.fill();
  }
}

/** Words on a ground of their own, so that no line runs through them; kept left of `right`. */
function label(context, words, x, y, text, colour, right = Infinity) {
  const width = context.measureText(words).width;
  const left = Math.min(x, right - width - 0.2 * text);
  context.textAlign = "left";
  context.textBaseline = "middle";
  context.fillStyle = css("--panel");
  context.fillRect(left - 0.2 * text, y - 0.65 * text, width + 0.4 * text, 1.3 * text);
  context.fillStyle = colour;
  context.fillText(words, left, y);
}

function line(context, x0, y0, x1, y1) {
  if (x0 === x1) x0 = x1 = Math.round(x0) + 0.5;       // on whole pixels it is sharp
  if (y0 === y1) y0 = y1 = Math.round(y0) + 0.5;
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}

/** When another segment began, and why. */
export function seamsOf(trend) {
  return trend.filter(point => point[SEAM]).map(point => [point[0], point[SEAM]]);
}

/** The trend in words, for those who cannot see it. */
export function trendInWords(trend) {
  const sentence = quantity => {
    const values = trend.map(point => point[quantity.value]).filter(value => value !== null);
    if (!values.length) return "";
    const unit = quantity === AOP ? "degrees" : "millimetres";
    const [low, high, last] = [Math.min(...values), Math.max(...values), values.at(-1)].map(value => value.toFixed(0));
    return `${quantity.name} between ${low} and ${high} ${unit}, last ${last}. `;
  };
  const words = sentence(AOP) + sentence(HSD);
  return words ? `Trend of the last ${Math.max(1, Math.round((trend.at(-1)[0] - trend[0][0]) / 60))} min: ${words}` : "Trend: nothing measured yet";
}
