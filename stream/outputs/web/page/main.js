// The page: takes the server's messages, shows the newest, and turns the number off by itself where none comes.
"use strict";

import { watchSize } from "./canvas.js";
import { connect } from "./connection.js";
import { $, inWords, set, showFacts, showFeeds, showNote, showNumbers, showOverload, showState, titleOf } from "./panel.js";
import { drawPicture } from "./picture.js";
import { drawTrend, extend, seamsOf, trendInWords } from "./trend.js";

const LOST_MS = 1500;                                  // the server says something every 400 ms
const STILL = matchMedia("(prefers-reduced-motion: reduce)");
const SLOW_MS = () => STILL.matches ? 1000 : 250;      // how often small print and trend are drawn
const SAY_MS = 10000, SAY_STATE_MS = 2000;             // how often values and states are announced
const MARK_MS = 3000;                                  // an answer that takes longer is told to be late

const view = {
  overlay: true, flip: false, image: null, message: { state: "connecting", reason: "waiting for the server" },
  facts: {}, feeds: [], trend: [], marks: [], now: null, heard: performance.now(),
  asked: new Map(), // marks without an answer yet
  mayMark: true,
};
const picture = document.querySelector("#picture canvas"), trend = document.querySelector("#trend canvas");
const redrawTrend = () => drawTrend(trend, { ...view, marks: { marks: view.marks, seams: seamsOf(view.trend) } });

const connection = connect(take, takeImage, reason => lose(reason || "no word from the program"));

function takeImage(image) {
  view.image?.close();
  view.image = image;
}

function take(message) {
  view.heard = performance.now();
  if (message.facts) {                                 // the first of a connection: all of the trend so far
    view.facts = message.facts;
    if (message.ward !== undefined) showWard(message);
    view.trend = [];
    extend(view.trend, message.trend);
    return;
  }
  extend(view.trend, message.trend);
  Object.assign(view, { message, feeds: message.feeds, marks: message.marks, now: message.now_s });
  hearOfMarks(message.mark_answers);
  $("push").setAttribute("aria-pressed", Boolean(message.is_push_open));
  set($("push"), message.is_push_open ? "End push" : "Push");
  show();
}

// One feed of a ward: the way back, and marks only for who may set them.
function showWard({ ward, may_mark }) {
  $("ward").hidden = false;
  set($("ward").lastElementChild, ward);
  view.mayMark = may_mark;
  for (const name of ["mark", "push", "write"]) $(name).hidden = !may_mark;
}

function lose(reason) {
  if (view.message.state === "ended") return;          // the program said so before it went
  view.message = { ...view.message, state: "lost", reason, aop: null, hsd: null, drawing: null, overload: null,
    rate_hz: null, latency_ms: null };
  show();
}

let drawing = 0, slow = 0, drawnSlowly = -Infinity, shownState = "";
function show() {
  showState(view.message);
  showNumbers(view.message);
  showOverload(view.message.overload);
  if (!drawing) drawing = requestAnimationFrame(() => {
    drawing = 0;
    drawPicture(picture, view);
    $("legend").classList.toggle("unused", !(view.overlay && view.message.drawing));
  });
  if (view.message.state !== shownState) showSlowly();
  else slow ||= setTimeout(showSlowly, Math.max(0, drawnSlowly + SLOW_MS() - performance.now()));
}

function showSlowly() {
  clearTimeout(slow);
  slow = 0;
  drawnSlowly = performance.now();
  shownState = view.message.state;
  showFacts(view.message, view.facts);
  showNote(view.message, view.facts);
  showFeeds(view.feeds);
  const title = titleOf(view.message, view.feeds);
  if (document.title !== title) document.title = title;
  if (!document.hidden) redrawTrend();
}

// Values and states for screen readers: not each change, but what holds.
let said = { words: "", state: "", at: -Infinity };
function announce() {
  const words = inWords(view.message), now = performance.now(), state = view.message.state;
  const label = view.message.width === undefined ? "No picture yet" : `Ultrasound picture${view.message.drawing ? " with outlines of PS and fetal head" : ""}`;
  set($("announcer"), said.words);
  if (picture.getAttribute("aria-label") !== label) picture.setAttribute("aria-label", label);
  if (words === said.words || now - said.at < (state === said.state ? SAY_MS : SAY_STATE_MS)) return;
  said = { words, state, at: now };
  set($("announcer"), words);
  trend.setAttribute("aria-label", trendInWords(view.trend));
}

const ME = Math.random().toString(36).slice(2);        // whose marks they are, where several watch
let marksAsked = 0;
const MARK_WORDS = { push_start: "Start of a push", push_end: "End of the push", note: "Note" };

function mark(kind = "mark", note = "") {
  if (!view.mayMark) return;
  const id = `${ME}-${++marksAsked}`;
  if (!connection.send(JSON.stringify({ mark: kind, note, id }))) return noteMark("Mark not kept: no connection", true);
  view.asked.set(id, { kind, at: performance.now(), isLate: false });
  noteMark("…", false);
}

const markPush = () => mark(view.message.is_push_open ? "push_end" : "push_start");

function writeNote(isOpen) {
  if (!view.mayMark) return;
  $("note-line").hidden = !isOpen;
  $("note-text").value = "";
  (isOpen ? $("note-text") : $("write")).focus();
}

function hearOfMarks(answers = {}) {
  for (const [id, { kind }] of view.asked) {
    const answer = answers[id];
    if (answer === undefined) continue;
    view.asked.delete(id);
    if (typeof answer === "string") { noteMark(`Mark not kept: ${answer}`, true); continue; }
    const words = kind === "mark" ? `Mark ${answer} kept` : `${MARK_WORDS[kind]} kept as mark ${answer}`;
    noteMark(`${words}, ${new Date().toLocaleTimeString([], { hour12: false })}`, false);
  }
}

function tellOfLateMarks() {
  for (const asked of view.asked.values()) {
    if (asked.isLate || performance.now() - asked.at < MARK_MS) continue;
    asked.isLate = true;
    noteMark("Mark: no answer yet", true);
  }
}

function noteMark(words, isFailure) {
  set($("mark-note"), words);
  $("mark-note").classList.toggle("failed", isFailure);
}

function toggle(name) {
  view[name] = !view[name];
  $(name).setAttribute("aria-pressed", view[name]);
  show();
}

$("overlay").onclick = () => toggle("overlay");
$("flip").onclick = () => toggle("flip");
$("mark").onclick = () => mark();
$("push").onclick = markPush;
$("write").onclick = () => writeNote($("note-line").hidden);
$("note-text").onkeydown = event => {
  event.stopPropagation();                             // its letters are no keys of the page
  if (event.key !== "Enter" && event.key !== "Escape") return;
  event.preventDefault();                              // else the button that gets the focus is pressed by it
  if (event.key === "Enter" && event.target.value.trim()) mark("note", event.target.value.trim());
  writeNote(false);
};
addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const act = { o: () => toggle("overlay"), f: () => toggle("flip"), m: () => mark(), p: markPush, n: () => writeNote(true) }[event.key.toLowerCase()];
  if (!act) return;
  event.preventDefault();                              // else the letter would be the first of the note
  act();
});
watchSize(picture, () => drawPicture(picture, view));
watchSize(trend, redrawTrend);
document.addEventListener("visibilitychange", () => { if (!document.hidden) { show(); redrawTrend(); } });
setInterval(() => {
  if (performance.now() - view.heard > LOST_MS && view.message.state !== "lost") lose("no word from the program");
  tellOfLateMarks();
  announce();
}, 500);
show();
