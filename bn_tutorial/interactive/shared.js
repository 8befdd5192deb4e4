// What the fragments need. Each carries it in a function of its own, so that many can share a page.

const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function button(content, act, attributes) {
  const node = element("button", { type: "button", ...attributes }, content);
  node.addEventListener("click", act);
  return node;
}

// A choice between options, which are values and their texts.
function select(options, change, attributes) {
  const node = element("select", attributes,
    ...options.map(([value, text]) => element("option", { value }, text)));
  node.addEventListener("change", () => change(node.value));
  return node;
}

const labelled = (control, ...name) =>
  element("label", {}, element("span", {}, ...name), control);

const canvas = (width, height, attributes) =>
  element("canvas", { width, height, role: "img", ...attributes });

// One pixel of the canvas for each value; the colour of a value is red, green and blue.
function paint(target, values, colourOf) {
  const picture = new ImageData(target.width, target.height);
  values.forEach((value, i) => picture.data.set([...colourOf(value), 255], 4 * i));
  target.getContext("2d").putImageData(picture, 0, 0);
}

// Values 0 to 1, dark on white.
const paintImage = (target, image) =>
  paint(target, image, (value) => new Array(3).fill(255 * (1 - value)));

// "{count} companions" and {count: 3} → "3 companions"
const say = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

// Screen readers read a live region when it changes; the same text again is no change.
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// The page's language if its texts are there, else the first language.
function languageOf(root, data) {
  const wanted = data.language ?? root.closest("[lang]")?.lang ?? "";
  const known = Object.keys(data.texts);
  return known.find((language) => wanted.toLowerCase().startsWith(language)) ?? known[0];
}

const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");

// What the page says (Sphinx, JupyterLab, VS Code), else what the reader's system prefers.
function isDark() {
  const page = document.documentElement.dataset.theme;
  if (page === "dark" || page === "light") return page === "dark";
  const { body } = document;
  if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false";
  if (/vscode-(dark|high-contrast|light)/.test(body.className)) {
    return !/vscode-(high-contrast-)?light/.test(body.className);
  }
  return prefersDark.matches;
}

function followTheme(panel) {
  const apply = () => panel.classList.toggle("dark", isDark());
  const observer = new MutationObserver(apply);
  const attributeFilter = ["class", "data-theme", "data-jp-theme-light"];
  for (const node of [document.documentElement, document.body]) {
    observer.observe(node, { attributes: true, attributeFilter });
  }
  prefersDark.addEventListener("change", apply);
  apply();
}

// Make every fragment of this kind live that is not yet. A shadow root hides the picture and the
// sentence, and keeps the page's styles and ours apart. Until all is built nothing changes.
function makeLive(kind, build) {
  for (const root of document.querySelectorAll(`[data-bn-tutorial="${kind}"]`)) {
    const source = root.querySelector('script[type="application/json"]');
    if (root.shadowRoot || !source) continue;
    const data = JSON.parse(source.textContent);
    const language = languageOf(root, data);
    const panel = element("div", { class: "panel", lang: language });
    root.bnTutorial = build(panel, data, data.texts[language]); // for tests
    followTheme(panel);
    root.dataset.lmSuppressShortcuts = "true"; // JupyterLab: arrow keys belong to the controls
    root.attachShadow({ mode: "open" }).append(element("style", {}, data.style), panel);
  }
}
