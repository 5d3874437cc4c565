// The page that shows trainings. It asks every few seconds how far they are, and draws what has changed.

import { Chart } from "./charts.js";
import { Refusal, ask, askJson, begin, count, duration, enter, make, pause, t } from "./common.js";

const PERIOD = 3000; // milliseconds
const COLOURS = { light: ["#0b7a75", "#b4530a", "#5b4bc4", "#a8326b", "#3f7d20", "#8a6d00"], dark: ["#4cc9bd", "#f0a35e", "#a99cf5", "#f08ab8", "#93cf73", "#e0c34c"] };
const LIVE_SECONDS = 600; // since a run has written, after which its guess of what is left is not shown
const ORDER = ["metrics", "losses", "training"];
const find = (id) => document.querySelector(`#${id}`);
let runs = []; // what the server tells of each
const shown = new Set(); // numbers of the runs that are compared
const curves = new Map(); // run → tag → points
const pictures = new Map(); // run → list of titles and iterations
const charts = new Map(); // tag → Chart
const drawn = new Map(); // run → the version of it that is on the page
let latest = true; // whether the slider follows the newest iteration

function say(text) {
  find("status").textContent = text;
  find("status").hidden = !text;
}

function colour(run) {
  const palette = COLOURS[document.documentElement.dataset.theme] ?? COLOURS.light;
  return palette[run % palette.length];
}

/** Asks for what has changed. */
async function follow() {
  try {
    const first = !runs.length;
    ({ runs } = await askJson("/api/runs"));
    const changed = runs.map((_, i) => i).filter((i) => runs[i].version !== drawn.get(i));
    if (first) {
      for (const i of runs.keys()) shown.add(i);
      await begun();
    }
    for (const i of changed) {
      curves.set(i, (await askJson(`/api/runs/${i}/curves`)).curves);
      pictures.set(i, (await askJson(`/api/runs/${i}/pictures`)).pictures);
    }
    drawRuns();
    if (changed.length) {
      drawCurves();
      drawTitles();
      if (changed.includes(Number(find("which").value))) await readTexts();
      for (const i of changed) drawn.set(i, runs[i].version);
    }
    say("");
  } catch (problem) {
    if (!(problem instanceof Refusal)) throw problem;
    if (problem.status === 401) await enter().catch(() => {});
    say(problem.text);
  }
}

/** What does not change while the page is open. */
async function begun() {
  find("which").replaceChildren(...runs.map((run, i) => make("option", { value: i, textContent: run.name })));
  find("which").hidden = runs.length < 2;
  await drawDifferences();
  await readTexts();
}

function drawAll() {
  if (!runs.length) return;
  drawRuns();
  for (const chart of charts.values()) chart.element.remove();
  charts.clear();
  drawCurves();
  drawTitles();
  drawDifferences();
}

// runs

function drawRuns() {
  const focused = document.activeElement?.dataset?.run;
  find("runs").replaceChildren(...runs.map((run, i) => {
    const box = make("input", {
      type: "checkbox", checked: shown.has(i), data: { run: i }, aria: { label: run.name },
      on: { change: (event) => {
        if (event.target.checked) shown.add(i);
        else shown.delete(i);
        drawCurves();
        drawTitles();
      } },
    });
    const share = run.done ? 1 : run.total ? run.iteration / run.total : 0;
    const card = make("label", { className: "panel run" }, box,
      make("strong", { textContent: run.name }),
      make("span", { className: "facts", textContent: facts(run).join(" · ") }),
      make("span", { className: "track" }, make("span")));
    card.style.setProperty("--colour", colour(i));
    card.style.setProperty("--share", `${100 * share}%`);
    return make("li", {}, card);
  }));
  if (focused !== undefined) find("runs").querySelector(`[data-run="${focused}"]`)?.focus();
}

function facts(run) {
  if (run.gone) return [t("board.gone")];
  const parts = [];
  if (run.network) parts.push(`${run.network}${run.scale ? ` ×${run.scale}` : ""}`);
  const at = count(run.iteration);
  parts.push(run.total ? t("board.of", { at, total: count(run.total) }) : at);
  if (run.done) parts.push(t("board.done"));
  else {
    if (run.eta && run.seconds_since < LIVE_SECONDS) parts.push(t("board.eta", { time: run.eta }));
    if (run.seconds_since !== null) parts.push(t("board.live", { time: duration(run.seconds_since) }));
  }
  return parts;
}

// curves

function drawCurves() {
  const tags = new Map(); // tag → curves
  for (const i of [...shown].sort((a, b) => a - b)) {
    for (const [tag, points] of Object.entries(curves.get(i) ?? {})) {
      const curve = { name: runs[i].name, colour: colour(i), points };
      tags.set(tag, [...(tags.get(tag) ?? []), curve]);
    }
  }
  for (const tag of charts.keys()) if (!tags.has(tag)) charts.delete(tag);
  const groups = new Map();
  for (const tag of [...tags.keys()].sort(byKind)) {
    if (!charts.has(tag)) charts.set(tag, new Chart(name(tag), tag.startsWith("losses/l_")));
    const group = groupOf(tag);
    groups.set(group, [...(groups.get(group) ?? []), charts.get(tag).element]);
  }
  const parts = [...groups].flatMap(([group, elements]) => {
    const title = t(`board.group.${group}`);
    return [make("h3", { className: "group", textContent: title.startsWith("board.") ? group : title }), make("div", { className: "charts" }, ...elements)];
  });
  find("curves").replaceChildren(...(parts.length ? parts : [make("p", { className: "panel empty", textContent: t("board.nothing") })]));
  for (const [tag, chart] of charts) chart.show(tags.get(tag), Number(find("smooth").value));
}

function name(tag) {
  const rest = tag.split("/").slice(tag.includes("/") ? 1 : 0);
  const known = t(`board.${rest.join("/")}`);
  return known.startsWith("board.") ? rest.join(": ") : known;
}

/** Tags without a group, such as the gradient's norm, are of the training. */
const groupOf = (tag) => (tag.includes("/") ? tag.split("/")[0] : "training");

function byKind(one, other) {
  const place = (tag) => (ORDER.indexOf(groupOf(tag)) + 1) || 9;
  return place(one) - place(other) || one.localeCompare(other);
}

// pictures

function drawTitles() {
  const titles = new Map();
  for (const i of shown) for (const one of pictures.get(i) ?? []) titles.set(one.key, one.title);
  const before = find("picture").value;
  find("picture").replaceChildren(...[...titles].map(([value, textContent]) => make("option", { value, textContent })));
  if (titles.has(before)) find("picture").value = before;
  find("picture").hidden = titles.size === 0;
  drawIterations(false);
}

/** All iterations at which a shown run has this picture. */
function iterations() {
  const wanted = find("picture").value;
  const all = [...shown].flatMap((i) => pictures.get(i)?.find((one) => one.key === wanted)?.iterations ?? []);
  return [...new Set(all)].sort((a, b) => a - b);
}

function drawIterations(anew) {
  const all = iterations();
  const slider = find("iteration");
  slider.max = Math.max(0, all.length - 1);
  if (latest || anew) slider.value = slider.max;
  find("iteration-row").hidden = all.length === 0;
  drawPictures();
}

/** The iteration of a run's newest picture that is no newer than another's. */
function latestUpTo(run, wanted, iteration) {
  return pictures.get(run)?.find((one) => one.key === wanted)?.iterations.findLast((at) => at <= iteration);
}

function drawPictures() {
  const wanted = find("picture").value;
  const iteration = iterations()[Number(find("iteration").value)];
  find("iteration-value").textContent = iteration === undefined ? "" : count(iteration);
  find("iteration").setAttribute("aria-valuetext", find("iteration-value").textContent);
  const figures = [...shown].sort((a, b) => a - b).map((i) => [i, latestUpTo(i, wanted, iteration)]).filter(([, at]) => at !== undefined);
  const area = find("pictures");
  area.style.minHeight = `${area.offsetHeight}px`; // nothing jumps while the next picture is loaded
  area.replaceChildren(...(figures.length ? figures.map(([i, at]) => {
    const dot = make("i");
    const figure = make("figure", {},
      make("figcaption", {}, dot, `${runs[i].name}, ${count(at)}`),
      make("img", { src: `/api/runs/${i}/pictures/${wanted}/${at}`, alt: `${find("picture").selectedOptions[0]?.textContent}, ${at}`, on: { load: () => (area.style.minHeight = "") } }));
    dot.style.setProperty("--colour", colour(i));
    return figure;
  }) : [make("p", { className: "panel empty", textContent: t("board.no_pictures") })]));
  if (!figures.length) area.style.minHeight = "";
}

// options and log

async function drawDifferences() {
  find("differences-section").hidden = runs.length < 2;
  if (runs.length < 2) return;
  const { rows } = await askJson("/api/differences");
  const head = make("tr", {}, make("th"), ...runs.map((run) => make("th", { scope: "col", textContent: run.name })));
  const body = rows.map((row) => make("tr", {}, make("th", { scope: "row", textContent: row.key }),
    ...row.values.map((value) => make("td", { className: value === null ? "muted" : "", textContent: value ?? t("board.unset") }))));
  find("differences").replaceChildren(rows.length ? make("table", {}, head, ...body) : make("p", { className: "empty", textContent: t("board.same") }));
}

async function readTexts() {
  const run = Number(find("which").value) || 0;
  for (const what of ["options", "log"]) {
    const area = find(what);
    const atEnd = area.scrollTop + area.clientHeight >= area.scrollHeight - 30;
    area.textContent = await (await ask(`/api/runs/${run}/${what}`)).text();
    if (what === "log" && atEnd) area.scrollTop = area.scrollHeight;
  }
}

// begins when all above is defined

async function run() {
  await begin("board.title", drawAll);
  try {
    await enter();
  } catch (problem) {
    say(problem.text);
  }
  find("smooth").addEventListener("input", drawCurves);
  find("picture").addEventListener("change", () => drawIterations(true));
  find("iteration").addEventListener("input", () => {
    latest = Number(find("iteration").value) === Number(find("iteration").max);
    drawPictures();
  });
  find("which").addEventListener("change", () => readTexts());
  new MutationObserver(drawAll).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  for (;;) {
    await follow();
    await pause(document.hidden ? 5 * PERIOD : PERIOD);
  }
}

await run();
