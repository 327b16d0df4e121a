// The WebSocket to the server: connected again where it is lost, its messages taken in order.
"use strict";

const FIRST_PAUSE_MS = 500, LONGEST_PAUSE_MS = 5000;

/**
 * @param {(message: object) => void} onMessage takes each message, in order
 * @param {(image: ImageBitmap) => void} onImage takes each picture, before the message it belongs to
 * @param {(reason: string) => void} onLost is told that the connection is gone
 * @param {{ path?: string, isWall?: boolean }} options where to; of a wall each message comes with its own picture:
 *   `onMessage(message, image)`, and none is left out
 * @returns {{ send: (text: string) => boolean }} `send` says whether it could be sent
 */
export function connect(onMessage, onImage, onLost, { path = "stream", isWall = false } = {}) {
  let socket = null, unseen = null, pauseMs = FIRST_PAUSE_MS, waiting = 0, queue = Promise.resolve();

  function open() {
    const address = new URL(path + location.search, location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const mine = socket = new WebSocket(address);
    mine.binaryType = "arraybuffer";
    mine.onmessage = event => {
      pauseMs = FIRST_PAUSE_MS;
      waiting++;
      queue = queue.then(() => take(mine, event.data)).catch(error => console.error(error)).finally(() => waiting--);
    };
    mine.onclose = event => {
      onLost(event.reason);
      setTimeout(open, pauseMs * (0.75 + 0.5 * Math.random()));
      pauseMs = Math.min(1.5 * pauseMs, LONGEST_PAUSE_MS);
    };
  }

  async function take(from, data) {
    const length = new DataView(data).getUint32(0);
    const message = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    const picture = new Uint8Array(data, 4 + length);
    if (isWall) {
      const image = picture.length ? await createImageBitmap(new Blob([picture], { type: "image/jpeg" })) : null;
      if (from === socket) onMessage(message, image);
      return;
    }
    if (picture.length) unseen = new Blob([picture], { type: "image/jpeg" });
    if (waiting <= 2) await decode();                  // else its successor is here already
    if (from === socket) onMessage(message);           // not from the connection before
  }

  async function decode() {
    if (!unseen || document.hidden) return;
    const picture = unseen;
    unseen = null;
    onImage(await createImageBitmap(picture));
  }
  document.addEventListener("visibilitychange", decode);

  open();
  return {
    send(text) {
      if (socket.readyState !== WebSocket.OPEN) return false;
      socket.send(text);
      return true;
    },
  };
}
