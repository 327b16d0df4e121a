// How many columns of tiles make the tiles largest.
"use strict";

const SHAPE = 1.55;                                    // width over height that a tile would best have
const NARROW = 600;                                    // pixels: a phone, where tiles lie below each other and scroll
const LEAST_HEIGHT = 150;

export function columnsFor(count, width, height) {
  if (width < NARROW) return 1;
  let best = 1, largest = 0;
  for (let columns = 1; columns <= Math.max(1, count); columns++) {
    const wide = width / columns, high = Math.max(LEAST_HEIGHT, height / Math.ceil(count / columns));
    const size = Math.min(wide, high * SHAPE);
    const scrolls = Math.ceil(count / columns) * LEAST_HEIGHT > height;
    if (size > largest * (scrolls ? 0.999 : 1.001)) [best, largest] = [columns, size];
  }
  return best;
}
