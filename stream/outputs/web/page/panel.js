// Numbers, state and small print, in words.
"use strict";

export const $ = id => document.getElementById(id);
const QUIET = new Set(["live", "replay", "hold", "no plane", "measured", "refused", "dropped"]);   // states that need no word across the picture
const WORDS = { lost: "connection lost" };

/** The state as people read it. */
export const wordOf = state => WORDS[state] ?? state;

export function showState(message) {
  set($("state"), wordOf(message.state));
  $("state").className = classOf(message.state);
  set($("reason"), message.reason);
  $("veil").hidden = QUIET.has(message.state);
  set($("veil"), wordOf(message.state));
}

export function showNumbers(message) {
  number("aop", message.aop, "°", 0);
  number("hsd", message.hsd, " mm", 1);
  if (!message.hsd && message.is_calibrated === false) set($("hsd-interval"), "uncalibrated");
}

/** That this machine does not keep up, and what would help. */
export function showOverload(overload) {
  $("overload").hidden = !overload;
  if (!overload) return;
  const [words, remedies] = $("overload").children;
  set(words, sentence(overload.words));
  set(remedies, overload.remedies.length ? `What helps: ${overload.remedies.join(", ")}.` : "");
}

function number(id, found, unit, digits) {
  const value = $(id), [digit, small] = value.children;
  set(digit, found ? found.value.toFixed(digits) : "—");
  set(small, found ? unit : "");
  value.classList.toggle("held", !found || !found.is_fresh);
  const age = found && !found.is_fresh ? `, ${found.age_s.toFixed(1)} s old` : "";
  set($(id + "-interval"), found ? `${found.low.toFixed(digits)} to ${found.high.toFixed(digits)}${unit} ${found.interval}${age}` : "");
  const [least, most] = found?.repeatability ?? [0, 0];
  $(id + "-interval").title = found ? `95 % interval; repeatability ${least.toFixed(digits)} to ${most.toFixed(digits)}${unit}` : "";
}

export function showFacts(message, facts) {
  const fixed = (value, digits, unit = "") => value === null || value === undefined ? "—" : value.toFixed(digits) + unit;
  const dropped = Object.entries(message.dropped ?? {}).map(([cause, count]) => `${count} ${cause}`).join(", ");
  const rows = {
    "frame rate": fixed(message.rate_hz, 1, " Hz"),
    "delay": fixed(message.latency_ms, 0, " ms"),
    "dropped": dropped || "0",
    "standard plane": fixed(message.plane, 2),
    ...(message.feed ? { "feed": message.feed } : {}),
    "sector": message.sector || "—",
    "calibration": message.calibration || "none",
    ...facts.print,
    ...(message.engine ? { "engine": message.engine } : {}),
  };
  const names = Object.keys(rows), list = $("facts");
  if (list.children.length !== 2 * names.length)
    list.replaceChildren(...names.flatMap(() => [document.createElement("dt"), document.createElement("dd")]));
  names.forEach((name, index) => {
    set(list.children[2 * index], name);
    set(list.children[2 * index + 1], rows[name]);
  });
}

export function showNote(message, facts) {
  const note = [facts.note, message.mark, message.engine_change].filter(Boolean).join("  ");
  set($("note"), note);
}

/** A tab for each stream, with its state. */
export function showFeeds(feeds) {
  const bar = $("feeds"), query = new URLSearchParams(location.search), current = Number(query.get("feed") || 1);
  bar.hidden = feeds.length < 2;
  if (bar.hidden) return;
  if (bar.children.length !== feeds.length) bar.replaceChildren(...feeds.map((feed, index) => {
    const link = document.createElement("a");
    query.set("feed", index + 1);
    link.href = "?" + query;
    if (index + 1 === current) link.setAttribute("aria-current", "page");
    link.append(document.createElement("b"), document.createElement("span"));
    return link;
  }));
  feeds.forEach(({ name, state }, index) => {
    const link = bar.children[index], [words, place] = link.children;
    link.className = classOf(state);
    link.title = name;
    set(words, `${index + 1} ${wordOf(state)}`);
    set(place, name.replace(/^\w+:\/\//, ""));
  });
}

/** The window's title: the tab of a browser tells the state too. */
export function titleOf(message, feeds) {
  const value = message.aop ? ` ${message.aop.value.toFixed(0)}°` : "";
  const others = feeds.length > 1 ? feeds.map((feed, i) => `${i + 1} ${wordOf(feed.state)}`).join(", ") : wordOf(message.state);
  return `${others.toUpperCase()}${value} - Partum, research use only`;
}

/** State and values as a sentence, for those who cannot see them. */
export function inWords(message) {
  const part = (name, found, unit) => found
    ? `${name} ${found.value.toFixed(0)} ${unit}, ${found.low.toFixed(0)} to ${found.high.toFixed(0)} ${found.interval}${found.is_fresh ? "" : ", held"}. ` : "";
  const hsd = message.hsd ? part("HSD", message.hsd, "millimetres") : message.aop && message.is_calibrated === false ? "HSD uncalibrated. " : "";
  const reason = message.reason ? `: ${message.reason}` : "";
  const overload = message.overload ? sentence(message.overload.words) : "";
  return `${sentence(wordOf(message.state) + reason)} ${part("AoP", message.aop, "degrees")}${hsd}${overload}`.trim();
}

/** Changes a text only where it is another: what does not change is not announced or laid out anew. */
export function set(element, text) {
  if (element.textContent !== text) element.textContent = text ?? "";
}

const classOf = state => state.replaceAll(" ", "-");
const sentence = words => words ? words[0].toUpperCase() + words.slice(1) + "." : "";
