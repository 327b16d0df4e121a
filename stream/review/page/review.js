// The page of a finished run: a time line to move on, values of the frame that is shown, marks, and a person's edits.
"use strict";

import { watchSize } from "./canvas.js";
import { Edit, NAMES, POINTS } from "./editor.js";
import { $, set, showNumbers, showState } from "./panel.js";
import { canvasToFrame, drawPicture } from "./picture.js";
import { getFrame, getOutlines, getRun, keepEdit, keepMark, measure } from "./server.js";
import { clock, drawLine, exactly, inWords, rowAt, rowOf } from "./timeline.js";

const RETRY_MS = 300, MEASURE_MS = 120, OUTLINE_MS = 250;
const view = { run: null, row: 0, message: null, image: null, overlay: true, flip: false, outlines: null, edit: null, isPlaying: false };
const picture = $("shown"), line = document.querySelector("#line canvas");

// --- what is shown -------------------------------------------------------------------------------------------------

let drawing = 0, wanted = 0, outlineTimer = 0;
function draw() {
  if (!drawing) drawing = requestAnimationFrame(() => {
    drawing = 0;
    drawPicture(picture, shownPicture());
    drawLine(line, view.run, view.row);
    $("legend").classList.toggle("unused", !(view.overlay && view.message?.drawing));
  });
}

function shownPicture() {
  const { message, image, overlay, flip, edit } = view;
  if (!message) return { image: null, message: null, overlay, flip };
  const outlines = view.outlines ?? { ps: [], fh: [] };
  const found = message.drawing && { ...message.drawing, ...outlines };
  const kept = message.edit?.landmarks_px ? edited(message.edit) : null;
  return {
    image, overlay, flip,
    message: { ...message, drawing: edit ? null : kept ?? found },
    more: overlay && (edit || kept) ? (context, at, unit) => {
      if (found && (edit || kept)) thin(context, found, at);
      edit?.draw(context, at, unit);
    } : null,
  };
}

/** The lines of an edit that was kept. */
function edited({ landmarks_px: found, outlines_px: drawn }) {
  return {
    superior: found.ps_superior, inferior: found.ps_inferior, tangent: found.tangent, hsd_foot: found.hsd_min_foot ?? null,
    ps: drawn?.ps ?? view.outlines?.ps ?? [], fh: drawn?.fh ?? view.outlines?.fh ?? [],
  };
}

/** The automatic lines beside a person's: thin, dashed, grey. */
function thin(context, found, at) {
  context.save();
  context.setLineDash([5, 4]);
  context.strokeStyle = "#d9d6cd";
  context.lineWidth = 1.2;
  const vertex = at(found.inferior);
  for (const end of [at(found.superior), at(found.tangent)]) {
    context.beginPath();
    context.moveTo(...vertex);
    context.lineTo(...end);
    context.stroke();
  }
  context.restore();
}

async function go(row) {
  const { run } = view;
  if (!run?.frames) return;
  if (view.edit) return say("Save or cancel the edit first", true);
  row = Math.min(run.frames - 1, Math.max(0, Math.round(row)));
  wanted = row;
  view.row = row;
  $("scrub").value = row;
  showWhere();
  draw();
  await load(row);
}

let isLoading = false;
/** Loads the frame that is wanted; one at a time, so that a fast hand does not queue hundreds. */
async function load() {
  if (isLoading) return;
  isLoading = true;
  try {
    for (let row = -1; row !== wanted;) {
      row = wanted;
      take(row, await getFrame(row));
    }
  } catch (error) {
    lose(error.message);
  } finally {
    isLoading = false;
  }
}

function take(row, { message, image }) {
  view.image?.close();
  Object.assign(view, { message, image, outlines: null });
  showState({ state: message.state, reason: message.reason });
  showNumbers(message);
  set($("veil"), message.picture_words);
  $("veil").hidden = !message.picture_words;
  showEdit();
  showFacts();
  draw();
  const label = `Frame ${row}, ${message.state}${message.drawing ? ", with the lines of its reading" : ""}`;
  if (picture.getAttribute("aria-label") !== label) picture.setAttribute("aria-label", label);
  clearTimeout(outlineTimer);
  if (!view.isPlaying && message.is_reading) outlineTimer = setTimeout(() => { if (view.row === row) load(); }, RETRY_MS);
  else if (!view.isPlaying && image) outlineTimer = setTimeout(() => loadOutlines(row), OUTLINE_MS);
}

async function loadOutlines(row) {
  const found = await getOutlines(row).catch(error => ({ why: error.message }));
  if (view.row !== row || !view.message) return;
  view.outlines = found.ps ? { ps: found.ps, fh: found.fh } : null;
  view.whyNoOutlines = found.why;
  set($("note"), [view.run.note, found.why].filter(Boolean).join("  "));
  draw();
}

function lose(reason) {
  showState({ state: "lost", reason });
  view.isPlaying = false;
  set($("play"), "Play");
}

function showWhere() {
  const { run, row } = view;
  set($("where"), `${exactly(run.time_s[row])} of ${clock(run.time_s.at(-1))}, frame ${row}`);
  $("scrub").setAttribute("aria-valuetext", `${clock(run.time_s[row])}, frame ${row}`);
}

function showFacts() {
  const { message, run } = view, list = $("facts");
  const fixed = (value, digits, unit = "") => value === null || value === undefined ? "—" : value.toFixed(digits) + unit;
  const rows = {
    "this frame alone": fixed(message.aop_alone, 1, "°"), "quality": fixed(message.quality, 2), "standard plane": fixed(message.plane, 2),
    ...run.print,
  };
  list.replaceChildren(...Object.entries(rows).flatMap(([name, value]) => {
    const [term, words] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    words.textContent = value;
    return [term, words];
  }));
}

// --- moving --------------------------------------------------------------------------------------------------------

let playing = 0;
function play() {
  view.isPlaying = !view.isPlaying;
  set($("play"), view.isPlaying ? "Pause" : "Play");
  clearTimeout(playing);
  if (!view.isPlaying) return go(view.row);
  const { run } = view, atEnd = view.row >= run.frames - 1;
  const from = atEnd ? 0 : run.time_s[view.row], began = performance.now();
  const next = async () => {
    if (!view.isPlaying) return;
    const time = from + (performance.now() - began) / 1000;
    await go(rowOf(run, time));
    if (time >= run.time_s.at(-1)) return play();
    playing = setTimeout(next, 15);
  };
  next();
}

function jump(rows, direction) {
  const found = direction > 0 ? rows.find(row => row > view.row) : rows.findLast(row => row < view.row);
  if (found === undefined) say("There is none further on", false);
  else go(found);
}

const jumpPush = direction => jump(view.run.pushes.map(push => push.row), direction);
const jumpBest = () => {
  const rows = view.run.best;
  if (rows.length) go(rows.find(row => row > view.row) ?? rows[0]);
};

// --- edits ---------------------------------------------------------------------------------------------------------

const HINTS = {
  points: () => `Drag a point, or choose it by 1, 2, 3 and move it by the arrow keys (Shift: ten pixels). Chosen: ${NAMES[POINTS[view.edit.chosen]]}.`,
  ps: () => "Draw around the symphysis with mouse, pen or finger.",
  fh: () => "Draw around the fetal head with mouse, pen or finger.",
};

function begin(mode) {
  if (!view.message || !view.image) return say("There is no picture to edit", true);
  if (!reviewer()) return;
  if (view.isPlaying) play();
  if (view.edit?.mode === mode) return stopEdit();
  if (view.edit) view.edit.mode = mode;
  else view.edit = new Edit(mode, view.message);
  showEdit();
  draw();
}

function stopEdit() {
  view.edit = null;
  showEdit();
  draw();
}

/** Who reviews; asks for it where nobody has said so. */
function reviewer() {
  const by = $("by").value.trim();
  if (!by) {
    say("Say first who reviews", true);
    $("by").focus();
  }
  return by;
}

function showEdit() {
  const { edit, message } = view;
  for (const [id, mode] of [["edit", "points"], ["draw-ps", "ps"], ["draw-fh", "fh"]]) $(id).setAttribute("aria-pressed", edit?.mode === mode);
  picture.classList.toggle("editing", Boolean(edit));
  $("editing").hidden = !edit;
  if (edit) set($("hint"), HINTS[edit.mode]());
  $("save").disabled = !edit?.isChanged;
  $("withdraw").disabled = !message?.edit || Boolean(edit);
  $("confirm").disabled = message?.state !== "measured" || Boolean(edit);
  const kept = message?.edit, values = edit ? edit.values : kept;
  $("edited").hidden = !values;
  if (!values) return;
  set($("edited-title"), edit ? "Edited, not saved yet" : kept.kind === "confirm" ? "Confirmed" : "Reviewed");
  set($("edited-values"), kept && !edit && kept.kind === "confirm" ? "the automatic reading" : inNumbers(values));
  set($("edited-by"), edit ? "" : `${kept.by}, ${new Date(kept.edited_utc).toLocaleString()}${kept.note ? `: ${kept.note}` : ""}`);
}

function inNumbers({ values, reason_words: words, reason }) {
  if (!values || values.aop_deg === null) return `cannot be measured: ${words || reason || "no reading"}`;
  const hsd = values.hsd_min_mm !== null ? `HSD ${values.hsd_min_mm.toFixed(1)} mm` : values.hsd_min_px !== null ? `HSD ${values.hsd_min_px.toFixed(0)} px` : "HSD —";
  return `AoP ${values.aop_deg.toFixed(1)}°  ${hsd}`;
}

let measuring = 0;
function changed() {
  showEdit();
  draw();
  clearTimeout(measuring);
  measuring = setTimeout(async () => {
    const { edit, row } = view;
    if (!edit) return;
    try {
      const found = await measure(row, edit.content());
      if (view.edit !== edit || edit.held) return;
      edit.values = found;
      if (!edit.moved.has("tangent") && found.landmarks_px) edit.points.tangent = found.landmarks_px.tangent;
      if (found.landmarks_px) for (const name of POINTS) if (!edit.moved.has(name)) edit.points[name] = found.landmarks_px[name];
      showEdit();
      draw();
    } catch (error) {
      say(error.message, true);
    }
  }, MEASURE_MS);
}

async function keep(kind, edit = null) {
  const by = reviewer(), { row } = view;
  if (!by) return;
  try {
    const kept = await keepEdit(row, { kind, by, note: $("edit-note").value, ...(edit ? edit.content() : {}) });
    view.run.edits = kept.edits;
    view.edit = null;
    $("edit-note").value = "";
    say(`${{ confirm: "Confirmed", withdraw: "Withdrawn" }[kind] ?? "Saved"}, edit ${kept.line.edit} of ${kept.line.by}`, false);
    load();
  } catch (error) {
    say(`Not saved: ${error.message}`, true);
  }
}

const save = () => {
  const { edit } = view;
  if (!edit?.isChanged) return;
  keep(edit.outlines.ps || edit.outlines.fh ? "outlines" : "points", edit);
};

// --- marks ---------------------------------------------------------------------------------------------------------

async function mark(kind, note = "") {
  try {
    Object.assign(view.run, await keepMark(view.row, { kind, note, by: $("by").value.trim() }));
    const why = view.run.marks.at(-1).lone, isOpen = why === "no end after it";
    const more = isOpen ? ": now mark the end of the push" : why ? `; it makes no push: ${why}` : "";
    say(`Mark ${view.run.marks.length} kept at ${clock(view.run.time_s[view.row])}${more}`, false);
    showPushes();
    draw();
  } catch (error) {
    say(`Mark not kept: ${error.message}`, true);
  }
}

function showPushes() {
  for (const id of ["push-before", "push-after"]) $(id).disabled = !view.run.pushes.length;
}

function writeNote(isOpen) {
  $("note-line").hidden = !isOpen;
  $("note-text").value = "";
  (isOpen ? $("note-text") : $("write")).focus();
}

function say(words, isFailure) {
  set($("said"), words);
  $("said").classList.toggle("failed", isFailure);
}

// --- mouse, finger, keyboard -----------------------------------------------------------------------------------------

const toggle = name => {
  view[name] = !view[name];
  $(name).setAttribute("aria-pressed", view[name]);
  draw();
};

const placeOf = event => {
  const box = picture.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};
const mapping = () => canvasToFrame(picture, view.message, view.flip);
picture.onpointerdown = event => {
  if (!view.edit) return;
  const { toFrame, at } = mapping();
  view.edit.press(placeOf(event), toFrame, at);
  picture.setPointerCapture(event.pointerId);
  event.preventDefault();
  showEdit();
  draw();
};
picture.onpointermove = event => {
  if (!view.edit?.held && !view.edit?.stroke) return;
  view.edit.drag(placeOf(event), mapping().toFrame);
  draw();
};
picture.onpointerup = picture.onpointercancel = () => { if (view.edit?.release()) changed(); };

const scrub = event => go(rowAt(line, view.run, event.clientX - line.getBoundingClientRect().left));
$("line").onpointerdown = event => {
  if (!view.run?.frames) return;
  $("line").setPointerCapture(event.pointerId);
  scrub(event);
};
$("line").onpointermove = event => { if (event.buttons && $("line").hasPointerCapture(event.pointerId)) scrub(event); };
$("scrub").oninput = event => go(Number(event.target.value));

const actions = {
  overlay: () => toggle("overlay"), flip: () => toggle("flip"), confirm: () => keep("confirm"), withdraw: () => keep("withdraw"),
  edit: () => begin("points"), "draw-ps": () => begin("ps"), "draw-fh": () => begin("fh"), save, cancel: stopEdit,
  mark: () => mark("mark"), push: () => mark("push_start"), "push-end": () => mark("push_end"), write: () => writeNote($("note-line").hidden),
  play, "step-back": () => go(view.row - 1), "step-on": () => go(view.row + 1),
  "push-before": () => jumpPush(-1), "push-after": () => jumpPush(1), best: jumpBest,
};
for (const [id, act] of Object.entries(actions)) $(id).onclick = event => {
  if (event.detail) event.currentTarget.blur();        // pressed by a pointer: the space bar plays on
  act();
};

$("note-text").onkeydown = event => {
  if (event.key !== "Enter" && event.key !== "Escape") return;
  event.preventDefault();
  if (event.key === "Enter" && event.target.value.trim()) mark("note", event.target.value.trim());
  writeNote(false);
};

const KEYS = {
  o: "overlay", f: "flip", c: "confirm", e: "edit", s: "draw-ps", h: "draw-fh", m: "mark", p: "push", n: "write", b: "best",
  "[": "push-before", "]": "push-after", " ": "play", Enter: "save", Escape: "cancel",
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
addEventListener("keydown", event => {
  const inField = event.target.matches("input[type=text]"), onButton = event.target.matches("button");
  if (event.ctrlKey || event.metaKey || event.altKey || inField || !view.run) return;
  if (onButton && (event.key === " " || event.key === "Enter")) return;      // it is pressed by them
  const arrow = ARROWS[event.key], length = event.shiftKey ? 10 : 1;
  if (view.edit?.mode === "points" && arrow) {
    view.edit.nudge(...arrow.map(value => value * length * (view.flip && arrow[0] ? -1 : 1)));
    changed();
  } else if (view.edit && ["1", "2", "3"].includes(event.key)) {
    view.edit.chosen = Number(event.key) - 1;
    showEdit();
    draw();
  } else if (arrow?.[0]) go(view.row + arrow[0] * length);
  else if (event.key === "Home" || event.key === "End") go(event.key === "Home" ? 0 : view.run.frames - 1);
  else if (event.key === "P") mark("push_end");
  else {
    const id = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!id || $(id).disabled) return;
    actions[id]();
  }
  event.preventDefault();
});

watchSize(picture, draw);
watchSize(line, draw);

// --- the beginning -------------------------------------------------------------------------------------------------

try {
  $("by").value = localStorage.getItem("partum-reviewer") ?? "";
} catch { /* a browser that keeps nothing */ }
$("by").onchange = () => {
  try { localStorage.setItem("partum-reviewer", $("by").value.trim()); } catch { /* likewise */ }
};

try {
  view.run = await getRun();
  document.title = `${view.run.name} - Partum review, research use only`;
  set($("note"), view.run.note);
  $("scrub").max = Math.max(0, view.run.frames - 1);
  line.setAttribute("aria-label", inWords(view.run));
  showPushes();
  $("best").disabled = !view.run.best.length;
  if (view.run.frames) go(view.run.best[0] ?? 0);
  else showState({ state: "empty", reason: "the run holds no frame" });
} catch (error) {
  lose(error.message);
}
