// The page that makes pictures larger: settings, and how pictures get here.

import { askJson, begin, duration, enter, make, t } from "./common.js";
import { addPictures, drawPictures, followPictures } from "./pictures.js";

const SCALES = [2, 3, 4];
const form = document.querySelector("#settings");
const field = (name) => document.querySelector(`#${name}`);
let setup;

/** Fills what depends on the language and on what the server offers. */
function draw() {
  if (!setup) return;
  drawModels();
  if (!form.elements.scale) drawScales();
  if (!field("tile")) drawLists();
  Object.assign(field("other"), { placeholder: t("setting.scale.short"), title: t("setting.scale.other"), ariaLabel: t("setting.scale.other") });
  for (const name of lists()) {
    const chosen = field(name).value;
    const options = setup.choices[name].map((value) => make("option", { value, textContent: t(`${name}.${value}`) }));
    field(name).replaceChildren(...options);
    if (chosen) field(name).value = chosen;
  }
  field("about").textContent = t("about", { time: duration(setup.limits.keep_seconds), version: setup.version });
  fitToModel();
  drawPictures();
}

/** Names of the settings that are lists. */
const lists = () => Object.keys(setup.choices);

/** A list for each of them that is not on the page: those that few need. */
function drawLists() {
  const more = lists().filter((name) => !field(name)).map((name) => make("label", { className: "field" },
    make("span", { textContent: t(`setting.${name}`), data: { t: `setting.${name}` } }), make("select", { id: name, name })));
  field("more").prepend(...more);
}

function drawModels() {
  const chosen = field("model").value;
  const named = setup.models.map((model) => make("option", {
    value: model.name,
    textContent: `${model.name} (${model.scale === 1 ? t("same_size") : `×${model.scale}`})`,
    title: t(model.note),
  }));
  const automatic = setup.automatic && make("option", { value: "", textContent: t("setting.model.auto", { name: automaticModel() }) });
  field("model").replaceChildren(...(automatic ? [automatic] : []), ...named);
  if (chosen) field("model").value = chosen;
}

/** The package's model for a scale: the server has told it for some. */
function automaticModel() {
  const scale = currentScale();
  const known = Object.keys(setup.automatic).map(Number).sort((a, b) => a - b);
  return setup.automatic[known.find((one) => one >= scale) ?? known.at(-1)];
}

function drawScales() {
  const radios = SCALES.map((scale) => make("label", {}, make("input", { type: "radio", name: "scale", value: scale }), `×${scale}`));
  const [least, most] = setup.scales;
  const other = make("input", {
    type: "number", id: "other", min: least, max: most, step: 0.1, inputMode: "decimal",
  });
  field("scales").replaceChildren(...radios, other);
  other.addEventListener("input", () => {
    if (other.value) for (const radio of form.elements.scale) radio.checked = false;
    else if (!other.validity.badInput) chooseScale(usualScale()); // such as "2." on the way to 2.5
  });
  for (const radio of form.elements.scale) radio.addEventListener("change", () => (other.value = ""));
  field("model").addEventListener("change", () => chooseScale(usualScale()));
  chooseScale(usualScale());
}

/** The scale of the chosen model itself. */
const usualScale = () => setup.models.find((model) => model.name === field("model").value)?.scale ?? 4;

function chooseScale(scale) {
  for (const radio of form.elements.scale) radio.checked = Number(radio.value) === Number(scale);
  field("other").value = SCALES.includes(Number(scale)) ? "" : scale;
}

function currentScale() {
  const other = Number(document.querySelector("#other")?.value);
  return other || Number(form.elements.scale?.value) || 4;
}

/** Shows what the chosen model can be told. */
function fitToModel() {
  const name = field("model").value || (setup.automatic && automaticModel());
  const model = setup.models.find((one) => one.name === name);
  const cleans = model?.scale === 1;
  for (const input of field("scales").querySelectorAll("input")) input.disabled = cleans;
  field("note").textContent = t(model?.note ?? "");
  field("denoise-field").hidden = !model?.denoise;
  field("denoise-value").textContent = `${Math.round(100 * field("denoise").value)} %`;
}

/** What the server is told of each picture. */
function settings() {
  const chosen = { metadata: field("metadata").checked ? "1" : "0", model: field("model").value };
  for (const name of lists()) chosen[name] = field(name).value;
  if (!field("scales").querySelector("input").disabled) chosen.scale = currentScale();
  if (!field("denoise-field").hidden && field("denoise").value !== "1") chosen.denoise = field("denoise").value;
  return chosen;
}

/** Puts back what was chosen last on this device. */
function remember() {
  const stored = JSON.parse(localStorage.getItem("settings") ?? "{}");
  for (const name of ["model", ...lists()]) {
    if ([...field(name).options].some((option) => option.value === stored[name])) field(name).value = stored[name];
  }
  if (stored.metadata) field("metadata").checked = stored.metadata === "1";
  chooseScale(stored.scale ?? usualScale());
  drawModels();
  fitToModel();
  form.addEventListener("input", () => {
    if (setup.automatic) drawModels();
    fitToModel();
    localStorage.setItem("settings", JSON.stringify(settings()));
  });
  form.addEventListener("submit", (event) => event.preventDefault());
}

function drawExamples() {
  field("examples").replaceChildren(...setup.examples.map((name) => make("button", {
    type: "button", title: t(`example.${name}`), aria: { label: t(`example.${name}`) }, data: { example: name },
    on: { click: () => addExample(name) },
  }, make("img", { src: `/api/examples/${name}`, alt: "" }))));
}

async function addExample(name) {
  const blob = await (await fetch(`/api/examples/${name}`)).blob();
  addPictures([new File([blob], `${name}.png`, { type: "image/png" })], settings());
}

/** Pictures come by drop, paste and file dialog. */
function listen() {
  const input = field("files");
  const add = (files) => files.length && addPictures([...files], settings());
  field("choose").addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    add(input.files);
    input.value = "";
  });
  document.addEventListener("paste", (event) => add(event.clipboardData?.files ?? []));
  const over = (on) => {
    field("drop").classList.toggle("over", on);
    field("drop").querySelector(".lead").textContent = t(on ? "drop.now" : "drop.here");
  };
  let inside = 0;
  document.addEventListener("dragenter", () => over(++inside > 0));
  document.addEventListener("dragleave", () => over(--inside > 0));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    inside = 0;
    over(false);
    add(event.dataTransfer?.files ?? []);
  });
}

// begins when all above is defined

async function run() {
  await begin("title", draw);
  try {
    await enter();
    setup = await askJson("/api/setup");
    draw();
    remember();
    drawExamples();
    listen();
    await followPictures(setup.limits);
  } catch (problem) {
    document.querySelector("main").replaceChildren(make("p", { className: "panel noscript", textContent: problem.text ?? String(problem) }));
  }
}

await run();
