// What all drawings share: a canvas in the pixels of the screen, and the colours of the style sheet.
"use strict";

const sizes = new WeakMap(), colours = new Map();
const observer = new ResizeObserver(entries => {
  for (const entry of entries) {
    sizes.set(entry.target, [entry.contentRect.width, entry.contentRect.height]);
    entry.target.dispatchEvent(new Event("resized"));
  }
});

/** Calls `redraw` whenever the canvas changes its size. */
export function watchSize(canvas, redraw) {
  canvas.addEventListener("resized", redraw);
  observer.observe(canvas);
}

/** The cleared context of a canvas, and its size in CSS pixels. */
export function prepared(canvas) {
  const [width, height] = sizes.get(canvas) ?? [canvas.clientWidth, canvas.clientHeight];
  const ratio = devicePixelRatio || 1, wide = Math.round(width * ratio), high = Math.round(height * ratio);
  if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return [context, width, height];
}

/** A colour of the style sheet by its name, such as `--ps`. */
export function css(name) {
  if (!colours.has(name)) colours.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return colours.get(name);
}
