"use strict";
(() => {
  // One section at a time: the address says which, so that links, the back button and bookmarks work.
  const nav = document.querySelector("nav ul");
  const everything = nav.appendChild(document.createElement("li")).appendChild(document.createElement("a"));
  everything.href = "#all";
  everything.textContent = "All on one page";
  const sections = [...document.querySelectorAll("main > section")];

  function open(section) {
    for (const other of sections) {
      // Hidden, but found by a search in the page, in browsers that can.
      if (section === null || other === section) other.removeAttribute("hidden");
      else other.setAttribute("hidden", "until-found");
    }
    const current = section === null ? "#all" : `#${section.id}`;
    for (const link of nav.querySelectorAll("a")) {
      if (link.getAttribute("href") === current) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  function follow() {
    const name = location.hash.slice(1);
    const target = name && document.getElementById(name);
    const section = target ? target.closest("main > section") : sections[0];
    open(name === "all" ? null : section || sections[0]);
    if (target) target.scrollIntoView();
  }

  for (const section of sections) section.addEventListener("beforematch", () => open(section));
  addEventListener("hashchange", follow);
  follow();

  // Tables: a click on a heading sorts the rows of each part, up, down, and back to the order they came in.
  const words = new Intl.Collator(undefined, { numeric: true });

  function compare(a, b, direction) {
    const [x, y] = [a, b].map((cell) => (cell.dataset.value === undefined ? null : Number(cell.dataset.value)));
    if (x !== null && y !== null) return direction * (x === y ? 0 : x < y ? -1 : 1);
    // What is empty comes last in either direction.
    const [left, right] = [a.textContent, b.textContent];
    if (!left || !right) return Number(!left) - Number(!right);
    return direction * words.compare(left, right);
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    const parts = [...table.tBodies].map((body) => ({
      body,
      rows: [...body.rows].filter((row) => !row.classList.contains("part")),
    }));
    if (parts.every((part) => part.rows.length < 2)) continue;
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        const next = { ascending: "descending", descending: "none" }[heading.getAttribute("aria-sort")] || "ascending";
        for (const other of headings) other.removeAttribute("aria-sort");
        if (next !== "none") heading.setAttribute("aria-sort", next);
        const direction = next === "descending" ? -1 : 1;
        for (const { body, rows } of parts) {
          const sorted = next === "none" ? rows
            : [...rows].sort((a, b) => compare(a.cells[column], b.cells[column], direction));
          body.append(...sorted);
        }
      });
    });
  }
})();
