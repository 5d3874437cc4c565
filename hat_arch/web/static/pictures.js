// The list of this session's pictures: those still here wait for a place, those at the server are asked for.

import { ask, askJson, bytes, count, duration, errorText, icon, make, pause, refusal, t } from "./common.js";
import { sizes, view } from "./viewer.js";

const UPLOADS = 2; // at a time
const SOON = 600, LATER = 5000; // milliseconds between questions, while something is done and else
const list = document.querySelector("#pictures");
const cards = new Map(); // by id, of pictures here and there
const waiting = []; // cards whose picture is not uploaded
let limits = {};
let uploading = 0;
let number = 0;
let wake = () => {};

/** Takes in files with the settings of now. */
export function addPictures(files, settings) {
  const added = [...files].reverse().map((file) => new Card({ id: `here-${++number}`, name: file.name, state: "pending" }, file, settings));
  for (const card of added.reverse()) {
    if (card.file.size > limits.upload_bytes) card.show({ state: "failed", error: { code: "bytes", limit: limits.upload_bytes } });
    else waiting.push(card);
  }
  sendNext();
}

/** Draws all again, as in another language. */
export function drawPictures() {
  for (const card of cards.values()) card.draw();
}

/** Asks the server again and again how far it is. */
export async function followPictures(bounds) {
  limits = bounds;
  document.querySelector("#clear").addEventListener("click", clear);
  document.addEventListener("visibilitychange", () => wake());
  for (;;) {
    let active = false;
    const known = [...cards.values()].filter((card) => card.atServer); // what is uploaded from now on may be left out
    try {
      const { pictures } = await askJson("/api/pictures");
      active = update(pictures, known);
    } catch (problem) {
      if (problem.status === 401) location.reload();
      say(problem.text ?? String(problem));
    }
    const rest = document.hidden ? LATER : active || uploading || waiting.length ? SOON : LATER;
    await Promise.race([pause(rest), new Promise((resolve) => (wake = resolve))]);
  }
}

/** Shows what the server has told, of whose cards `known` must be there; whether it is at work for this visitor. */
function update(pictures, known) {
  for (const picture of pictures) (cards.get(picture.id) ?? new Card(picture)).show(picture);
  const there = new Set(pictures.map((picture) => picture.id));
  for (const card of known) if (!there.has(card.picture.id)) card.leave();
  drawBar();
  return pictures.some((picture) => ["waiting", "working"].includes(picture.state));
}

function drawBar() {
  const all = [...cards.values()].map((card) => card.picture.state);
  document.querySelector("#list").hidden = all.length === 0;
  document.querySelector("#all").hidden = !all.includes("done");
  document.querySelector("#clear").hidden = !all.some((state) => ["done", "failed", "stopped"].includes(state));
}

function clear() {
  for (const card of [...cards.values()]) if (["done", "failed", "stopped"].includes(card.picture.state)) card.remove();
}

function say(text) {
  document.querySelector("#status").textContent = text;
}

/** Uploads what waits here, some at a time. */
async function sendNext() {
  drawBar();
  if (uploading >= UPLOADS || waiting.length === 0) return;
  const card = waiting.shift();
  uploading += 1;
  try {
    await card.upload();
  } finally {
    uploading -= 1;
    wake();
    sendNext();
  }
  sendNext();
}

class Card {
  /** `file` and `settings` are of a picture that is still here. */
  constructor(picture, file = null, settings = null) {
    Object.assign(this, { picture, file, settings });
    this.element = make("li", { className: "panel picture" });
    this.drawn = "";
    cards.set(picture.id, this);
    list.prepend(this.element);
    this.draw();
  }

  get atServer() {
    return !this.picture.id.startsWith("here-");
  }

  /** Takes over news. */
  show(news) {
    const before = this.picture.state;
    this.picture = { ...this.picture, ...news };
    if (news.state && before !== news.state && before !== "pending") {
      if (news.state === "done") say(t("said.done", { name: this.picture.name }));
      if (news.state === "failed") say(t("said.failed", { name: this.picture.name, why: errorText(news.error) }));
    }
    this.draw();
  }

  /** Sends the file; where there is no place for it yet, asks again. */
  async upload() {
    for (;;) {
      if (!cards.has(this.picture.id)) return;
      try {
        const told = await this.send();
        cards.get(told.id)?.leave(); // the server was asked before it had answered here
        cards.delete(this.picture.id);
        cards.set(told.id, this);
        this.show(told);
        this.file = null;
        return;
      } catch (problem) {
        if (problem.name === "AbortError") return;
        if (!problem.retryAfter) {
          this.show({ state: "failed", error: problem.error ?? { code: "server" } });
          return;
        }
        this.show({ state: "pending" });
        await pause(1000 * problem.retryAfter);
      }
    }
  }

  send() {
    const query = new URLSearchParams({ ...this.settings, name: this.file.name });
    const request = new XMLHttpRequest(); // which tells how far an upload is
    this.request = request;
    return new Promise((resolve, reject) => {
      request.open("POST", `/api/pictures?${query}`);
      request.setRequestHeader("content-type", "application/octet-stream");
      request.upload.addEventListener("progress", (event) => this.show({ state: "uploading", share: event.loaded / event.total }));
      request.addEventListener("load", () => {
        if (request.status === 202) resolve(JSON.parse(request.responseText));
        else reject(refusal(request.status, request.responseText, request.getResponseHeader("retry-after")));
      });
      request.addEventListener("error", () => reject(refusal(0, "", 0)));
      request.addEventListener("abort", () => reject(new DOMException("", "AbortError")));
      this.show({ state: "uploading", share: 0 });
      request.send(this.file);
    });
  }

  get address() {
    return `/api/pictures/${encodeURIComponent(this.picture.id)}`;
  }

  async stop() {
    if (!this.atServer) return this.leave();
    try {
      this.show(await askJson(`${this.address}/stop`, { method: "POST" }));
    } catch (problem) {
      say(problem.text);
    }
    wake();
    return undefined;
  }

  async remove() {
    const address = this.address;
    this.leave();
    if (this.atServer) await ask(address, { method: "DELETE" }).catch((problem) => say(problem.text));
  }

  /** Takes the card out of the list. */
  leave() {
    const next = this.element.nextElementSibling ?? this.element.previousElementSibling;
    const focused = this.element.contains(document.activeElement);
    cards.delete(this.picture.id);
    const place = waiting.indexOf(this);
    if (place >= 0) waiting.splice(place, 1);
    this.request?.abort();
    if (this.local) URL.revokeObjectURL(this.local);
    this.element.remove();
    if (focused) (next?.querySelector("button:not([disabled]), a") ?? document.querySelector("#choose")).focus();
    drawBar();
  }

  /** Draws what has changed: the frame with its buttons for a new state, else the progress alone. */
  draw() {
    const { picture } = this;
    const frame = `${picture.state} ${document.documentElement.lang} ${picture.id}`;
    if (frame !== this.drawn) {
      this.drawn = frame;
      const focus = this.element.contains(document.activeElement);
      this.facts = make("div", { className: "facts" });
      this.element.dataset.state = picture.state;
      this.element.replaceChildren(this.thumb(), make("div", { className: "name", textContent: picture.name, title: picture.name }), this.facts, ...this.actions());
      if (focus) this.element.querySelector(".compare, .away").focus();
    }
    this.drawFacts();
  }

  thumb() {
    const { picture } = this;
    const done = picture.state === "done";
    if (this.file && !this.local) this.local = URL.createObjectURL(this.file);
    const source = done ? `${this.address}/thumb` : picture.state === "failed" ? null : this.local;
    const image = source ? make("img", { src: source, alt: "", on: { error: (event) => event.target.replaceWith(icon("drop")) } }) : icon("drop");
    return make("button", {
      type: "button", className: "thumb", disabled: !done, tabIndex: -1, aria: { label: t("compare") }, on: { click: () => view(picture) },
    }, image);
  }

  actions() {
    const { picture } = this;
    const round = (key, action) => make("button", { type: "button", className: "quiet round away", title: t(key), aria: { label: `${t(key)}: ${picture.name}` }, on: { click: action } }, icon("close"));
    const buttons = make("div", { className: "actions" });
    if (picture.state === "done") {
      buttons.append(
        make("button", { type: "button", className: "compare", on: { click: () => view(picture) } }, icon("compare"), t("compare")),
        make("a", { className: "button download", href: `${this.address}/result`, download: picture.file }, icon("save"), t("download")));
    }
    const over = ["done", "failed", "stopped"].includes(picture.state);
    return [buttons, over ? round("remove", () => this.remove()) : round("stop", () => this.stop())];
  }

  drawFacts() {
    const { picture } = this;
    const parts = [];
    if (picture.after?.[0]) parts.push(sizes(picture));
    if (picture.frames > 1) parts.push(t("frames", { n: count(picture.frames) }));
    const percent = Math.floor(100 * (picture.share ?? 0));
    const left = (key) => (Number.isFinite(picture.seconds_left) ? [t(key, { time: duration(picture.seconds_left) })] : []);
    const words = {
      pending: () => [t("state.pending")],
      uploading: () => [percent < 100 ? t("state.uploading", { percent }) : t("state.checking")],
      waiting: () => [picture.ahead ? t("state.waiting", { ahead: picture.ahead }) : t("state.waiting_next"), ...left("begins")],
      working: () => [t("state.working", { percent }), ...left("left")],
      done: () => [t("state.done", { size: bytes(picture.bytes), time: duration(picture.seconds) })],
      stopped: () => [t("state.stopped")],
      failed: () => [],
    }[picture.state]();
    const line = make("span", { textContent: [...parts, ...words].join(" · ") });
    const bar = ["working", "uploading"].includes(picture.state) ? make("progress", { max: 1, value: picture.share ?? 0, aria: { label: picture.name } }) : null;
    const problem = picture.state === "failed" ? make("div", { className: "bad", textContent: errorText(picture.error) }) : null;
    const notes = (picture.notes ?? []).map((note) => make("div", { textContent: note }));
    this.facts.replaceChildren(...[bar, line, problem, ...notes].filter(Boolean));
  }
}
