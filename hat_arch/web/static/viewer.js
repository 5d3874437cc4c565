// A picture before and after, with a line to drag between the two, and zoom.

import { count, icon, make, t } from "./common.js";

const MOST = 16; // screen pixels for a pixel of the result
const STEP = 1.3;
const NEAR = 28; // screen pixels around the line in which it is taken hold of

/** Shows a picture that is done; `picture` is what the server tells of it. */
export function view(picture) {
  const [width, height] = picture.after;
  const base = `/api/pictures/${encodeURIComponent(picture.id)}`;
  const image = (which) => make("img", { src: `${base}/${which}`, alt: t(`viewer.${which}`), draggable: false });
  const images = [image("before"), image("after")];
  const layers = images.map((one, i) => make("div", { className: `layer ${i ? "after" : "before"}` }, one));
  const knob = make("span", { className: "knob" }, icon("split"));
  const split = make("div", { className: "split", tabIndex: 0, role: "slider", aria: { label: t("viewer.split"), valuemin: 0, valuemax: 100 } }, knob);
  const tags = ["before", "after"].map((which) => make("span", { className: `tag ${which}`, textContent: t(`viewer.${which}`) }));
  const stage = make("div", { className: "stage" }, ...layers, ...tags, split);
  const shown = make("output", { className: "zoom muted" });
  const button = (name, key, action, more = "") => make("button", {
    type: "button", className: `quiet round ${more}`, title: t(key), aria: { label: t(key) }, on: { click: action },
  }, icon(name));
  const dialog = make("dialog", { className: "viewer", aria: { label: picture.name } },
    make("div", { className: "bar" },
      make("div", { className: "title" },
        make("strong", { textContent: picture.name }),
        make("span", { className: "muted", textContent: sizes(picture) })),
      shown,
      button("minus", "viewer.out", () => zoomAt(1 / STEP), "step"),
      button("plus", "viewer.in", () => zoomAt(STEP), "step"),
      button("fit", "viewer.fit", () => fit()),
      make("a", { className: "button primary", href: `${base}/result`, download: picture.file, aria: { label: t("download") } },
        icon("save"), make("span", { textContent: t("download") })),
      button("close", "viewer.close", () => dialog.close())),
    stage,
    make("p", { className: "hint muted", textContent: t("viewer.keys") }));

  for (const one of images) Object.assign(one.style, { width: `${width}px`, height: `${height}px` });
  let place = { x: 0, y: 0, zoom: 1 }; // of the picture's corner on the stage, and screen pixels for a pixel
  let share = 0.5; // of the stage to the left of the line
  const room = () => stage.getBoundingClientRect();
  const least = () => Math.min(room().width / width, room().height / height);

  function draw() {
    const { width: w, height: h } = room();
    place.zoom = Math.min(Math.max(place.zoom, Math.min(least(), 1)), Math.max(MOST, least()));
    place.x = within(place.x, w, width * place.zoom);
    place.y = within(place.y, h, height * place.zoom);
    for (const one of images) one.style.transform = `translate(${place.x}px, ${place.y}px) scale(${place.zoom})`;
    stage.style.setProperty("--zoom", place.zoom);
    stage.style.setProperty("--split", `${share * w}px`);
    split.setAttribute("aria-valuenow", Math.round(100 * share));
    shown.textContent = `${Math.round(100 * place.zoom)} %`;
  }

  function fit() {
    place = { x: 0, y: 0, zoom: least() };
    draw();
  }

  /** Zooms by a factor, so that what lies at a point of the stage stays there. */
  function zoomAt(factor, x = room().width / 2, y = room().height / 2) {
    const zoom = Math.min(Math.max(place.zoom * factor, Math.min(least(), 1)), Math.max(MOST, least()));
    const by = zoom / place.zoom;
    place = { x: x - (x - place.x) * by, y: y - (y - place.y) * by, zoom };
    draw();
  }

  function splitAt(x) {
    share = Math.min(1, Math.max(0, x / room().width));
    draw();
  }

  // fingers and mouse

  const fingers = new Map();
  let moves = ""; // what a drag moves: the line or the picture
  const at = (event) => ({ x: event.clientX - room().left, y: event.clientY - room().top });

  stage.addEventListener("pointerdown", (event) => {
    const point = at(event);
    fingers.set(event.pointerId, point);
    stage.setPointerCapture(event.pointerId);
    const whole = place.zoom <= least() * 1.01;
    moves = whole || Math.abs(point.x - share * room().width) < NEAR ? "line" : "picture";
    stage.classList.toggle("dragging", moves === "picture");
    if (moves === "line" && fingers.size === 1) splitAt(point.x);
  });
  stage.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = at(event);
    if (fingers.size === 2) {
      const [other] = [...fingers.entries()].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
      const spread = (point) => Math.hypot(point.x - other.x, point.y - other.y);
      place.x += (now.x - before.x) / 2;
      place.y += (now.y - before.y) / 2;
      zoomAt(spread(now) / Math.max(1, spread(before)), (now.x + other.x) / 2, (now.y + other.y) / 2);
    } else if (moves === "line") {
      splitAt(now.x);
    } else {
      place.x += now.x - before.x;
      place.y += now.y - before.y;
      draw();
    }
    fingers.set(event.pointerId, now);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    stage.addEventListener(end, (event) => {
      fingers.delete(event.pointerId);
      stage.classList.remove("dragging");
    });
  }
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { x, y } = at(event);
    zoomAt(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), x, y);
  }, { passive: false });
  stage.addEventListener("dblclick", (event) => {
    const { x, y } = at(event);
    if (place.zoom > least() * 1.01) fit();
    else zoomAt(Math.max(1, 3 * least()) / place.zoom, x, y);
  });

  // keys

  dialog.addEventListener("keydown", (event) => {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (dx || dy) {
      if (event.shiftKey) {
        place.x -= 60 * dx;
        place.y -= 60 * dy;
        draw();
      } else {
        splitAt((share + 0.02 * (dx || -dy)) * room().width);
      }
    } else if (event.key === "+" || event.key === "=") zoomAt(STEP);
    else if (event.key === "-") zoomAt(1 / STEP);
    else if (event.key === "0") fit();
    else if (event.key === "Home") splitAt(0);
    else if (event.key === "End") splitAt(room().width);
    else return;
    event.preventDefault();
  });

  const watch = new ResizeObserver(() => (place.zoom <= least() * 1.01 ? fit() : draw()));
  dialog.addEventListener("close", () => {
    watch.disconnect();
    dialog.remove();
  });
  document.body.append(dialog);
  dialog.showModal();
  fit();
  watch.observe(stage);
  split.focus({ preventScroll: true });
}

/** Keeps a picture on the stage: in its middle if it is smaller, else without a gap. */
function within(start, room, size) {
  return size <= room ? (room - size) / 2 : Math.min(0, Math.max(room - size, start));
}

/** "300 × 200 → 1,200 × 800" */
export function sizes(picture) {
  const [before, after] = [picture.before, picture.after].map((size) => size.map(count).join(" × "));
  return before === after ? before : `${before} → ${after}`;
}
