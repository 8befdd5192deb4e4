// The arrows that unfold a part of the contents have no text; name each after the link beside it.
document.addEventListener("DOMContentLoaded", () => {
  for (const summary of document.querySelectorAll("li.has-children > details > summary")) {
    summary.setAttribute("aria-label", summary.closest("li").querySelector("a").textContent);
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
    return textOf(article ? `<div role="main">${article.outerHTML}</div>` : html, anchor);
  };
});
