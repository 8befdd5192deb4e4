// The arrows that unfold a part of the contents have no text; name each after the link beside it.
document.addEventListener("DOMContentLoaded", () => {
  for (const summary of document.querySelectorAll("li.has-children > details > summary")) {
    summary.setAttribute("aria-label", summary.closest("li").querySelector("a").textContent);
  }
});
