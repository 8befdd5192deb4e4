// Sphinx's own weights, and an order of the pages: what one reads before what one looks up.
var Scorer = {
  score: ([page, , , , score]) => {
    if (page.startsWith("reference/")) return score - 100;
    if (page === "glossary") return score + 40;
    if (/^(symptoms|questions)$|^notebooks\/0[124]_/.test(page)) return score + 20;
    return page.startsWith("notebooks/") && !page.includes("solutions") ? score + 10 : score;
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
