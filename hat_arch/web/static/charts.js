// Curves over iterations, drawn in SVG.

import { count, currentLanguage, make } from "./common.js";

const HEIGHT = 220, LEFT = 56, RIGHT = 8, TOP = 8, BOTTOM = 24;
const SVG = "http://www.w3.org/2000/svg";

function shape(tag, attributes, text = "") {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  return element;
}

/** A chart that can be given other curves: [{ name, colour, points: [[iteration, value or null], …] }, …]. */
export class Chart {
  constructor(title, logarithmic) {
    this.logarithmic = logarithmic;
    this.curves = [];
    this.smoothing = 0;
    this.svg = shape("svg", { role: "img", "aria-label": title });
    this.latest = make("span", { className: "muted" });
    this.tip = make("div", { className: "tip", hidden: true });
    this.element = make("div", { className: "panel chart" }, make("h3", {}, make("span", { textContent: title }), this.latest), this.svg, this.tip);
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.unpoint());
    new ResizeObserver(() => this.draw()).observe(this.svg);
  }

  show(curves, smoothing) {
    this.curves = curves;
    this.smoothing = smoothing;
    this.draw();
  }

  draw() {
    const width = this.svg.clientWidth;
    if (!width) return;
    this.width = width;
    const shown = this.curves.map((curve) => ({ ...curve, smooth: smoothed(curve.points, this.smoothing) }));
    const ends = shown.map((curve) => curve.points.findLast(([, value]) => value !== null)?.[1]);
    this.latest.textContent = ends.length === 1 && ends[0] !== undefined ? short(ends[0]) : "";
    const steps = shown.flatMap((curve) => curve.points.map(([step]) => step));
    const values = shown.flatMap((curve) => [...curve.points, ...curve.smooth].map(([, value]) => value)).filter((value) => value !== null);
    this.log = this.logarithmic && values.every((value) => value > 0);
    const [first, last] = [Math.min(...steps), Math.max(...steps)];
    const [low, high] = range(values, this.log);
    const scaled = (value) => (this.log ? Math.log10(value) : value);
    const x = (step) => LEFT + ((step - first) / (last - first || 1)) * (width - LEFT - RIGHT);
    const y = (value) => TOP + (1 - (scaled(value) - low) / (high - low || 1)) * (HEIGHT - TOP - BOTTOM);
    Object.assign(this, { x, first, last });
    const parts = [];
    const marks = this.log ? logarithmicTicks(low, high) : ticks(low, high, 4);
    const texts = labels(marks);
    for (const [i, value] of marks.entries()) {
      parts.push(shape("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }));
      parts.push(shape("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, texts[i]));
    }
    for (const tick of ticks(first, last, Math.max(2, width / 110))) {
      parts.push(shape("text", { x: Math.min(x(tick), width - 16), y: HEIGHT - 6, "text-anchor": "middle" }, brief(tick)));
    }
    for (const curve of shown) {
      if (this.smoothing > 0 && curve.points.length > 12) parts.push(shape("path", { class: "raw", d: path(curve.points, x, y), stroke: curve.colour }));
      parts.push(shape("path", { d: path(curve.smooth, x, y), stroke: curve.colour }));
      if (curve.points.length <= 40) {
        for (const [step, value] of curve.points) if (value !== null) parts.push(shape("circle", { cx: x(step), cy: y(value), r: 2.6, fill: curve.colour }));
      }
    }
    this.cross = shape("line", { class: "cross", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    this.svg.replaceChildren(...parts, this.cross);
  }

  /** Tells the values at the iteration that is pointed at. */
  point(event) {
    if (!this.cross || !this.curves.length) return;
    const at = event.clientX - this.svg.getBoundingClientRect().left;
    const step = this.first + ((at - LEFT) / (this.width - LEFT - RIGHT)) * (this.last - this.first);
    const nearest = this.curves.map((curve) => [curve, curve.points.reduce((best, one) => (Math.abs(one[0] - step) < Math.abs(best[0] - step) ? one : best))]);
    const place = this.x(nearest[0][1][0]);
    for (const end of ["x1", "x2"]) this.cross.setAttribute(end, place);
    this.cross.setAttribute("visibility", "visible");
    this.tip.replaceChildren(
      make("strong", { textContent: count(nearest[0][1][0]) }),
      ...nearest.map(([curve, [, value]]) => {
        const dot = make("i");
        dot.style.setProperty("--colour", curve.colour);
        return make("div", {}, dot, make("span", { textContent: curve.name }), make("b", { textContent: value === null ? "NaN" : short(value, 5) }));
      }));
    this.tip.hidden = false;
    const left = place > this.width / 2 ? place - this.tip.offsetWidth : place + 26;
    this.tip.style.left = `${Math.min(Math.max(4, left), this.width + 24 - this.tip.offsetWidth)}px`;
  }

  unpoint() {
    this.tip.hidden = true;
    this.cross?.setAttribute("visibility", "hidden");
  }
}

/** An exponential mean, corrected for its start; curves of a few points stay as they are. */
export function smoothed(points, weight) {
  if (weight === 0 || points.length <= 12) return points;
  let sum = 0, total = 0;
  return points.map(([step, value]) => {
    if (value === null) return [step, null];
    sum = weight * sum + (1 - weight) * value;
    total = weight * total + (1 - weight);
    return [step, sum / total];
  });
}

function path(points, x, y) {
  let pen = "M";
  return points.map(([step, value]) => {
    if (value === null) {
      pen = "M";
      return "";
    }
    const part = `${pen}${x(step).toFixed(1)},${y(value).toFixed(1)}`;
    pen = "L";
    return part;
  }).join("");
}

function range(values, log) {
  const scaled = log ? values.map(Math.log10) : values;
  const low = scaled.reduce((a, b) => Math.min(a, b), Infinity);
  const high = scaled.reduce((a, b) => Math.max(a, b), -Infinity);
  const margin = (high - low) * 0.05 || Math.abs(high) * 0.05 || 1;
  return [low - margin, high + margin];
}

/** Round numbers between two. */
function ticks(low, high, wanted) {
  if (!(high > low)) return [low];
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const found = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-9; tick += step) found.push(Math.abs(tick) < step * 1e-9 ? 0 : tick);
  return found;
}

/** Round numbers between two powers of ten: tens, or more where the powers are near. */
function logarithmicTicks(low, high) {
  if (high - low < 1.2) return ticks(10 ** low, 10 ** high, 4).filter((value) => value > 0);
  return ticks(Math.ceil(low), Math.floor(high), 4).filter(Number.isInteger).map((tick) => 10 ** tick);
}

/** Texts of ticks, with as many digits as it takes to tell them apart. */
function labels(values, digits = 4) {
  const texts = values.map((value) => short(value, digits));
  return digits > 6 || new Set(texts).size === texts.length ? texts : labels(values, digits + 1);
}

export function short(value, digits = 4) {
  const size = Math.abs(value);
  if (size && (size < 1e-3 || size >= 1e6)) return value.toExponential(Math.min(2, digits - 1));
  return new Intl.NumberFormat(currentLanguage(), { maximumSignificantDigits: digits }).format(value);
}

const brief = (value) => new Intl.NumberFormat(currentLanguage(), { notation: "compact", maximumFractionDigits: 1 }).format(value);
