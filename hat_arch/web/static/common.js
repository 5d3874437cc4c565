// What both pages have in common: texts, requests, small elements, numbers.

let texts = {};
let language = "en";

/** The text of a key in the visitor's language; {name} in it is replaced by values.name. */
export function t(key, values = {}) {
  const text = texts[language]?.[key] ?? texts.en?.[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

export const currentLanguage = () => language;

/** Fills all elements that name a text. */
export function fillTexts(root = document) {
  for (const element of root.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const attribute of ["title", "aria-label", "placeholder"]) {
    for (const element of root.querySelectorAll(`[data-t-${attribute}]`)) {
      element.setAttribute(attribute, t(element.getAttribute(`data-t-${attribute}`)));
    }
  }
}

/** Loads the texts, chooses a language, and makes the switches of the header work. `changed` draws the rest again. */
export async function begin(titleKey, changed) {
  texts = await (await fetch("/static/texts.json")).json();
  const known = Object.keys(texts);
  const wanted = [localStorage.getItem("language"), ...navigator.languages.map((tag) => tag.slice(0, 2))];
  const show = () => {
    document.documentElement.lang = language;
    document.title = t(titleKey);
    fillTexts();
  };
  language = wanted.find((tag) => known.includes(tag)) ?? "en";
  const select = document.querySelector("#language");
  select.replaceChildren(...known.map((tag) => make("option", { value: tag, textContent: texts[tag].language })));
  select.value = language;
  select.addEventListener("change", () => {
    language = select.value;
    localStorage.setItem("language", language);
    show();
    changed();
  });
  document.querySelector("#theme").addEventListener("click", () => window.switchTheme());
  show();
  document.body.classList.remove("loading");
}

/** An element with properties and children; `data` and `aria` are objects, `on` has listeners. */
export function make(tag, { data = {}, aria = {}, on = {}, ...properties } = {}, ...children) {
  const element = document.createElement(tag);
  Object.assign(element, properties);
  Object.assign(element.dataset, data);
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, value);
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** An icon of the page's sprite. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `/static/icons.svg#${name}`);
  svg.append(use);
  return svg;
}

/** What a server refuses, and why. */
export class Refusal extends Error {
  constructor(status, error, retryAfter) {
    super(error.code);
    Object.assign(this, { status, error, retryAfter });
  }

  get text() {
    return errorText(this.error);
  }
}

/** An error of the server in the visitor's language. */
export function errorText(error) {
  const values = { ...error };
  for (const key of ["pixels", "limit"]) {
    if (key in values) values[key] = ["bytes", "disk_yours"].includes(error.code) ? bytes(values[key]) : count(values[key]);
  }
  if (values.setting) values.setting = t(`setting.${values.setting}`);
  return t(`error.${error.code}`, values);
}

/** The refusal in a response, or in the lack of one. */
export function refusal(status, text, retryAfter) {
  let error = { code: status === 0 ? "unreachable" : status === 503 ? "busy" : "server" };
  try {
    error = JSON.parse(text).error ?? error;
  } catch {
    // no JSON: the code stands for the status
  }
  const seconds = Number(retryAfter) || (status === 503 ? 3 : 0);
  return new Refusal(status, error, seconds);
}

/** A request of this page; throws a `Refusal`. */
export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch {
    throw refusal(0, "", 0);
  }
  if (!response.ok) throw refusal(response.status, await response.text(), response.headers.get("retry-after"));
  return response;
}

export const askJson = async (path, options) => (await ask(path, options)).json();

/** Gets this browser its cookie, with the token of the address or, if that is needed, of the visitor. */
export async function enter() {
  let token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
  if (token) history.replaceState(null, "", location.pathname);
  for (;;) {
    try {
      await ask("/api/session", { method: "POST", body: token });
      return;
    } catch (problem) {
      if (problem.status !== 401) throw problem;
      token = await askForToken(problem.text);
    }
  }
}

function askForToken(why) {
  const input = make("input", { type: "password", id: "token", autocomplete: "off", required: true });
  const form = make("form", { method: "dialog", className: "stack" },
    make("h2", { textContent: t("token.title") }),
    make("p", { textContent: why }),
    make("label", { htmlFor: "token", textContent: t("token.label") }),
    input,
    make("button", { className: "primary", textContent: t("token.enter") }));
  const dialog = make("dialog", { className: "box" }, form);
  document.body.append(dialog);
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  dialog.showModal();
  return new Promise((resolve) => {
    form.addEventListener("submit", () => {
      dialog.remove();
      resolve(input.value.trim());
    });
  });
}

// numbers

export const count = (number) => new Intl.NumberFormat(language).format(number);

export function bytes(number) {
  const step = number >= 1024 ** 3 ? 3 : number >= 1024 ** 2 ? 2 : 1;
  const value = number / 1024 ** step;
  const digits = value < 10 ? 1 : 0;
  return `${new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value)} ${["", "KiB", "MiB", "GiB"][step]}`;
}

export function duration(seconds) {
  if (seconds < 90) return t("time.seconds", { n: Math.max(1, Math.ceil(seconds)) });
  if (seconds < 5400) return t("time.minutes", { n: Math.round(seconds / 60) });
  if (seconds < 172800) return t("time.hours", { n: Math.round(seconds / 3600) });
  return t("time.days", { n: Math.round(seconds / 86400) });
}

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
