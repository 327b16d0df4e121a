// The wall: a tile for each feed. A number, and a bright picture, are there only while both are of the last second.
"use strict";

import { watchSize } from "./canvas.js";
import { connect } from "./connection.js";
import { set, wordOf } from "./panel.js";
import { drawPicture } from "./picture.js";
import { columnsFor } from "./grid.js";

const LOST_MS = 1500;                                  // the server sends each tile every 400 ms
const LATE_S = 1.5;                                     // older than this when it gets here, nothing looks live
const ANSWER_MS = 400;
const LIVE = new Set(["live", "replay", "hold"]);      // with numbers
const SEEN = new Set([...LIVE, "no plane"]);           // the picture is of now, and bright
const WATCHED = new Set([...SEEN, "frozen", "no signal"]);      // the feed does what it can: nothing is broken here
const SAY_MS = 5000;

const wall = document.getElementById("wall"), template = document.getElementById("tile");
const tiles = new Map();                               // name: what is known, and the elements that show it
let heard = performance.now(), answered = -Infinity, lost = "waiting for the ward", delay = 0, notes = [];

const connection = connect(take, () => {}, reason => lose(reason || "no word from the ward"), {
  path: "wall", isWall: true,
});

function take(message, image) {
  heard = performance.now();
  lost = "";
  delay = message.delay_s ?? 0;
  notes = message.notes ?? notes;
  if (message.sent_s !== undefined && heard - answered > ANSWER_MS) {
    answered = heard;
    connection.send(String(message.sent_s));
  }
  arrange(message.order);
  if (message.tile) {
    const tile = tiles.get(message.tile.name);
    if (!tile) return image?.close();
    tile.said = message.tile;
    tile.heard = heard;
    if (image) {
      tile.image?.close();
      tile.image = image;
    }
    show(tile);
  }
  showBar();
}

function lose(reason) {
  lost = reason;
  for (const tile of tiles.values()) show(tile);
  showBar();
}

/** Makes the tiles be those of `order`, in that order. */
function arrange(order) {
  if (order.length === tiles.size && order.every((name, i) => wall.children[i]?.dataset.feed === name)) return;
  for (const [name, tile] of tiles) if (!order.includes(name)) {
    tile.image?.close();
    tile.element.remove();
    tiles.delete(name);
  }
  for (const name of order) {
    if (!tiles.has(name)) tiles.set(name, made(name));
    wall.append(tiles.get(name).element);
  }
  layOut();
}

function made(name) {
  const element = template.content.firstElementChild.cloneNode(true), find = what => element.querySelector(what);
  element.dataset.feed = name;
  element.href = `feeds/${name}/`;
  const tile = {
    element, canvas: find("canvas"), veil: find(".veil"), label: find(".label"), state: find(".state b"), age: find(".age"),
    aop: find(".aop-number"), hsd: find(".hsd-number"),
    why: find(".why"), said: { name, label: name, state: "starting", reason: "" }, image: null, heard: performance.now(),
    drawing: 0,
  };
  watchSize(tile.canvas, () => draw(tile));
  return tile;
}

/** What a tile says now: the server's word, unless that is old, or nothing comes any more. */
function present(tile) {
  const since = (performance.now() - tile.heard) / 1e3, said = tile.said;
  const age = said.age_s === null || said.age_s === undefined ? null : said.age_s + since + delay;
  const retry = said.next_start_s === null || said.next_start_s === undefined ? null : Math.max(0, said.next_start_s - since);
  const off = { aop: null, hsd: null, drawing: null };
  if (lost || since > LOST_MS / 1e3) return { ...said, ...off, state: "lost", reason: lost || "no word from the ward", age, retry: null };
  if (SEEN.has(said.state) && age > LATE_S) return { ...said, ...off, state: "delayed", reason: "what is sent gets here late", age, retry };
  return { ...said, age, retry };
}

function show(tile) {
  const now = present(tile), word = wordOf(now.state);
  tile.now = now;
  tile.element.className = `tile ${now.state.replaceAll(" ", "-")} ${SEEN.has(now.state) ? "seen" : WATCHED.has(now.state) ? "quiet" : "broken"}`;
  set(tile.label, now.label);
  set(tile.state, word);
  const isOld = now.age > LATE_S;
  set(tile.age, SEEN.has(now.state) ? `${now.age.toFixed(1)} s` : "");
  showNumber(tile.aop, now.aop, "°", 0);
  showNumber(tile.hsd, now.hsd, " mm", 1, now.aop && now.is_calibrated === false ? "uncalibrated" : "");
  const retry = now.retry === null || now.retry === undefined ? "" : `starts again in ${Math.ceil(now.retry)} s`;
  const overload = now.overload && SEEN.has(now.state) ? now.overload.words : "";
  set(tile.why, [now.reason, retry, overload].filter(Boolean).join("; "));
  tile.veil.hidden = SEEN.has(now.state);
  const [words, old] = tile.veil.children;
  set(words, word);
  set(old, tile.image && isOld ? `picture of ${inWords(now.age)} ago` : "");
  const label = `${now.label}: ${word}${now.aop ? `, AoP ${now.aop.value.toFixed(0)} degrees` : ""}`;
  if (tile.element.getAttribute("aria-label") !== label) tile.element.setAttribute("aria-label", label);
  tile.drawing ||= requestAnimationFrame(() => draw(tile));
}

function draw(tile) {
  cancelAnimationFrame(tile.drawing);
  tile.drawing = 0;
  const now = tile.now && { ...tile.now, state: WATCHED.has(tile.now.state) ? tile.now.state : "lost" };      // dim
  drawPicture(tile.canvas, { image: tile.image, message: now, overlay: true, flip: false });
}

/** A value with its interval; where there is none, the words that say why, or nothing: the reason of the state says it. */
function showNumber(row, found, unit, digits, otherwise = "") {
  const [, value, interval] = row.children;
  row.hidden = !found && !otherwise;
  set(value, found ? found.value.toFixed(digits) + unit : "—");
  value.classList.toggle("held", !found || !found.is_fresh);
  const [range, kind] = interval.children;
  set(range, found ? `${found.low.toFixed(digits)} to ${found.high.toFixed(digits)}${unit}` : otherwise);
  set(kind, found ? found.interval + (found.is_fresh ? "" : `, ${found.age_s.toFixed(1)} s old`) : "");
}

function inWords(seconds) {
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  return seconds < 7200 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(0)} h`;
}

function tally() {
  const counts = new Map();
  for (const tile of tiles.values()) {
    const word = wordOf(tile.now?.state ?? "starting");
    counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return [...counts].map(([word, count]) => `${count} ${word}`).join(", ");
}

function showBar() {
  const words = tally();
  set(document.getElementById("tally"), words);
  const line = document.getElementById("lost");
  line.hidden = !lost;
  set(line, lost ? `Not connected to the ward: ${lost}` : "");
  const note = document.getElementById("notes"), wrong = lost ? "" : notes.join("; ");
  if (note.textContent !== wrong) {
    [note.hidden, note.textContent] = [!wrong, wrong];
    layOut();
  }
  const title = `${words.toUpperCase() || "WAITING"} - Partum ward, research use only`;
  if (document.title !== title) document.title = title;
}

let said = "", saidAt = -Infinity;
function announce() {
  const words = [...tiles.values()].filter(tile => tile.now && !SEEN.has(tile.now.state)).map(tile => `${tile.now.label}: ${wordOf(tile.now.state)}`).join(". ");
  if (words === said || performance.now() - saidAt < SAY_MS) return;
  [said, saidAt] = [words, performance.now()];
  set(document.getElementById("announcer"), words || "All feeds are shown.");
}

function layOut() {
  wall.style.setProperty("--columns", columnsFor(tiles.size, wall.clientWidth, innerHeight - wall.offsetTop));
}

addEventListener("resize", layOut);
setInterval(() => {
  if (performance.now() - heard > LOST_MS && !lost) lose("no word from it");
  for (const tile of tiles.values()) show(tile);
  showBar();
  announce();
}, 500);
showBar();
