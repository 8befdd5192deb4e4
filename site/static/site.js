// The arrows that unfold a part of the contents have no text; name each after the link beside it.
document.addEventListener("DOMContentLoaded", () => {
  for (const summary of document.querySelectorAll("li.has-children > details > summary")) {
    summary.setAttribute("aria-label", summary.closest("li").querySelector("a").textContent);
  }
});

// Folded code is named by the words that one sees, not by a label that differs from them.
document.addEventListener("DOMContentLoaded", () => {
  for (const summary of document.querySelectorAll("details.hide > summary[aria-label]")) {
    summary.removeAttribute("aria-label");
  }
});

// Opened from the disk, a page may not read the others: search shows titles without excerpts.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}

// Excerpts are of a page's text, without the buttons above it.
document.addEventListener("DOMContentLoaded", () => {
  if (typeof Search === "undefined") return;
  const textOf = Search.htmlToText;
  Search.htmlToText = (html, anchor) => {
    const page = new DOMParser().parseFromString(html, "text/html");
    const article = page.querySelector("article.bd-article");
    for (const formula of page.querySelectorAll(".math")) { // as one would say it, without TeX
      formula.textContent = formula.textContent.replace(/\\[a-z]+|[\\(){}[\]$]/g, " ");
    }
    for (const unread of page.querySelectorAll("script, .headerlink")) unread.remove();
    return textOf(article ? `<div role="main">${article.outerHTML}</div>` : html, anchor);
  };
});

// A formula is a box of its own, and a line may break behind it: not before a full stop or a comma.
document.addEventListener("DOMContentLoaded", () => {
  for (const formula of document.querySelectorAll("article span.math")) {
    const text = formula.nextSibling;
    const mark = text?.nodeType === Node.TEXT_NODE && text.data.match(/^[.,;:?!)，。；：？！）、”]+/);
    if (!mark) continue;
    text.splitText(mark[0].length);
    const both = document.createElement("span");
    both.className = "with-mark";
    formula.before(both);
    both.append(formula, text);
  }
});

// A table or a listing that is wider than its place says so: the edge behind which it goes on fades.
document.addEventListener("DOMContentLoaded", () => {
  const kinds = [".pst-scrollable-table-container", "pre", "mjx-container[display=true]", ".cell_output:has(> .image-reference)"];
  const wide = document.querySelectorAll(kinds.map((kind) => `article ${kind}`).join());
  const show = (element) => {
    const hidden = element.scrollWidth - element.clientWidth - element.scrollLeft;
    element.classList.toggle("goes-on", hidden > 1);
    if (element.matches(".cell_output") && hidden > 1) element.tabIndex = 0; // the keyboard scrolls it
  };
  const observer = new ResizeObserver((entries) => entries.forEach(({ target }) => show(target)));
  for (const element of wide) {
    observer.observe(element);
    element.addEventListener("scroll", () => show(element), { passive: true });
  }
});

// In the reference's tables no blank of a signature lets a line break.
document.addEventListener("DOMContentLoaded", () => {
  for (const { lastChild: text } of document.querySelectorAll("table.autosummary td p")) {
    if (text?.nodeType === Node.TEXT_NODE) text.data = text.data.replaceAll("\u00a0", " ");
  }
});

// Code is taken away by a button, without what it printed.
document.addEventListener("DOMContentLoaded", () => {
  if (!navigator.clipboard) return; // not from this address
  const [copy, copied] = document.documentElement.lang === "zh-CN" ? ["复制", "已复制"] : ["copy", "copied"];
  const code = ".highlight-ipython3, .highlight-python, .highlight-default, .highlight-none, .highlight-text";
  for (const block of document.querySelectorAll(`article :is(${code}) div.highlight`)) {
    const isLine = block.querySelector("pre").textContent.trim().split("\n").length < 2;
    if (isLine && block.closest(".cell_input")) continue; // a call that shows something
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "copy", textContent: copy });
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(block.querySelector("pre").textContent);
      button.textContent = copied;
      setTimeout(() => { button.textContent = copy; }, 2000);
    });
    block.prepend(button);
  }
});

// The section that one reads: the last that has begun in the upper half of the window.
const sections = () => [...document.querySelectorAll("article section[id]")];
const sectionRead = () => sections().filter((s) => s.getBoundingClientRect().top < innerHeight / 2).at(-1);

// The other language: the same search, the same settings, or the same section by its number, since
// it has another name there.
document.addEventListener("click", ({ target }) => {
  const link = target.closest?.(".language-switch");
  if (!link) return;
  const place = scrollY > 100 ? `#@${sections().indexOf(sectionRead())}` : "";
  const hash = location.hash.includes("?") ? location.hash : place;
  link.href = link.getAttribute("href").replace(/[?#].*/, "") + location.search + hash;
});
document.addEventListener("DOMContentLoaded", () => {
  const section = sections()[location.hash.match(/^#@(\d+)$/)?.[1]];
  if (section) location.replace(`#${section.id}`);
});

// On a telephone the contents are in drawers: whoever chooses an entry wants to see it.
document.addEventListener("click", ({ target }) => {
  if (target.closest?.("dialog[open] a[href]")) target.closest("dialog").close();
});
window.addEventListener("pagehide", () => {
  for (const drawer of document.querySelectorAll("dialog[open]")) drawer.close();
});

// The landing page leads back to the section of a chapter that was read last, in this language.
const LAST_READ = `bn-tutorial-last-read-${document.documentElement.lang}`;
const SITE_ROOT = new URL(document.documentElement.dataset.content_root ?? "./", location.href).href;
window.addEventListener("pagehide", () => {
  const path = location.href.replace(/[?#].*/, "").replace(SITE_ROOT, "");
  if (!/^notebooks\/\d/.test(path)) return;
  const section = sectionRead() ?? sections()[0];
  const titles = [document, section].map((part) => part.querySelector("h1, h2, h3").textContent.replace(/#$/, ""));
  const place = { path, title: [...new Set(titles)].join(" · "), anchor: section.id };
  try { localStorage.setItem(LAST_READ, JSON.stringify(place)); } catch { /* not allowed here */ }
});
document.addEventListener("DOMContentLoaded", () => {
  const doors = document.querySelector("article .start");
  let place = null;
  try { place = JSON.parse(localStorage.getItem(LAST_READ)); } catch { /* not allowed here */ }
  if (!doors || !place) return;
  const line = document.createElement("p");
  const link = document.createElement("a");
  link.href = `${SITE_ROOT}${place.path}#${place.anchor}`;
  const words = document.documentElement.lang === "zh-CN" ? "接着上次读：" : "Go on where you were: ";
  link.textContent = words + place.title;
  line.append(link);
  doors.append(line);
});

// Words of the theme for which it has no Chinese.
const CHINESE_WORDS = {
  "Color mode": "颜色模式",
  "Main": "主导航",
  "Page": "本页目录",
  "System Settings": "跟随系统",
  "Toggle primary sidebar": "显示或隐藏导航栏",
  "Toggle secondary sidebar": "显示或隐藏本页目录",
};
document.addEventListener("DOMContentLoaded", () => {
  if (document.documentElement.lang !== "zh-CN") return;
  const names = ["title", "aria-label", "data-bs-original-title"]; // the last is a tooltip's
  for (const element of document.querySelectorAll(names.map((name) => `[${name}]`).join())) {
    for (const name of names) {
      const word = CHINESE_WORDS[element.getAttribute(name)];
      if (word) element.setAttribute(name, word);
    }
  }
  for (const { lastChild } of document.querySelectorAll(".theme-change-button")) {
    lastChild.textContent = CHINESE_WORDS[lastChild.textContent] ?? lastChild.textContent;
  }
});
