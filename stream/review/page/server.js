// Requests to the program: the run, a frame with its picture, outlines, values of an edit, what is to be kept.
"use strict";

const address = path => path + location.search;        // the token, where there is one

async function asked(path, options = {}) {
  let answer;
  try {
    answer = await fetch(address(path), options);
  } catch {
    throw new Error("no answer from the program");
  }
  if (!answer.ok) throw new Error((await answer.text()) || `the program answered ${answer.status}`);
  return answer;
}

const json = async (path, options) => (await asked(path, options)).json();
const post = (path, content) => json(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) });

export const getRun = () => json("api/run");
export const getOutlines = index => json(`api/outlines/${index}`);
export const measure = (index, edit) => post(`api/measure/${index}`, edit);
export const keepEdit = (index, edit) => post(`api/edits/${index}`, edit);
export const keepMark = (index, mark) => post(`api/marks/${index}`, mark);

/** A frame's message and its picture, null where there is none (yet). */
export async function getFrame(index) {
  const data = await (await asked(`api/frames/${index}`)).arrayBuffer();
  const length = new DataView(data).getUint32(0);
  const message = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  const picture = new Uint8Array(data, 4 + length);
  return { message, image: picture.length ? await createImageBitmap(new Blob([picture])) : null };
}
