"use strict";
// Niceties only: the page is complete without them. Sorts a table by a column, filters a long one, shows one
// organisation's edges in the graph, copies a list.
for (const table of document.querySelectorAll("table.data")) {
  const body = table.tBodies[0];
  const key = (row, column) => {
    const cell = row.cells[column];
    const number = cell.querySelector("button.number");
    return number ? Number(number.value) : cell.textContent.trim().toLowerCase();
  };
  if (body.rows.length < 3) continue;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.textContent = head.textContent;
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [key(a, column), key(b, column)];
        const order = typeof x === typeof y ? (x < y ? -1 : x > y ? 1 : 0) : typeof x === "number" ? -1 : 1;
        return down ? -order : order;
      });
      body.append(...rows);
    });
    head.replaceChildren(button);
  });
  if (body.rows.length < 12) continue;
  const label = document.createElement("label");
  label.className = "filter";
  const input = document.createElement("input");
  input.type = "search";
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
  label.append("Show rows with ", input);
  table.before(label);
}
for (const figure of document.querySelectorAll("figure.graph")) {
  const nodes = [...figure.querySelectorAll(".node")];
  const edges = [...figure.querySelectorAll(".edge")];
  const label = document.createElement("label");
  label.className = "filter";
  const select = document.createElement("select");
  select.append(new Option("all organisations", ""));
  const names = nodes.map((node, at) => [node.dataset.label || node.dataset.name, String(at)]);
  names.sort((a, b) => (a[0].toLowerCase() < b[0].toLowerCase() ? -1 : 1));
  for (const [name, at] of names) select.append(new Option(name, at));
  select.addEventListener("change", () => {
    const chosen = select.value === "" ? null : nodes[Number(select.value)].dataset.name;
    const near = new Set([chosen]);
    for (const edge of edges) {
      const { from, to } = edge.dataset;
      const on = chosen === null || from === chosen || to === chosen;
      edge.classList.toggle("off", !on);
      edge.classList.toggle("on", on && chosen !== null);
      if (on) near.add(from).add(to);
    }
    for (const node of nodes) node.classList.toggle("off", chosen !== null && !near.has(node.dataset.name));
  });
  nodes.forEach((node, at) => {
    const choose = () => {
      select.value = select.value === String(at) ? "" : String(at);
      select.dispatchEvent(new Event("change"));
    };
    node.addEventListener("click", choose);
  });
  label.append("Show the edges of ", select);
  figure.prepend(label);
}
for (const list of document.querySelectorAll("pre.copy")) {
  if (!navigator.clipboard) continue;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copying";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(list.textContent);
    button.textContent = "Copied";
  });
  list.after(button);
}
