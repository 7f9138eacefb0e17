const data = JSON.parse(document.getElementById("data").textContent);
const get = id => document.getElementById(id);
const make = (tag, parent, text) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  parent.appendChild(element);
  return element;
};
document.title = data.title;
document.querySelector("h1").textContent = data.title;
get("about").textContent = `Choose a ${data.unit}: the deeper the colour of another, the more the chosen one attends to ` +
  `it. Each row of a map adds up to 1. Dimmed are ${data.unit}s that are not text, such as a start or padding.`;
let panel, head, query;

// Weights are bytes, 255 for 1, in the order layer, head, query, key.
for (const p of data.panels) p.bytes = Uint8Array.from(atob(p.weights), c => c.charCodeAt(0));
const weight = (l, h, q, k) =>
  panel.bytes[((l * panel.heads + h) * panel.queries.length + q) * panel.keys.length + k] / 255;
function mean(q, k) {
  let sum = 0;
  for (let l = 0; l < panel.layers; l++) for (let h = 0; h < panel.heads; h++) sum += weight(l, h, q, k);
  return sum / (panel.layers * panel.heads);
}
const shown = (q, k) => (head ? weight(...head, q, k) : mean(q, k));
const percent = part => `${(100 * part).toFixed(1)}%`;
const nameOf = head => (head ? `layer ${head[0] + 1}, head ${head[1] + 1}` : "mean of all heads");

function choose(q) {
  query = q;
  [...get("queries").children].forEach((button, i) => button.setAttribute("aria-pressed", i === query));
  [...get("keys").children].forEach((span, k) => {
    const part = query === undefined ? 0 : shown(query, k);
    span.style.background = `color-mix(in srgb, var(--more) ${(100 * Math.sqrt(part)).toFixed(1)}%, transparent)`;
    span.style.color = part > 0.3 ? "var(--paper)" : "";
    span.title = query === undefined ? "" : percent(part);
  });
}

const viewOf = (label, at, labels) => ({
  label, rows: panel.queries.length, columns: panel.keys.length, at, positive: true,
  ...(labels && { rowLabels: panel.queries, columnLabels: panel.keys, dimRows: panel.dim_queries, dimColumns: panel.dim_keys }),
});

function showHead(chosen) {
  head = chosen;
  get("chosen").textContent = nameOf(head);
  get("map").replaceChildren();
  const caption = `rows: from; columns: what is attended to; ${panel.queries.length} × ${panel.keys.length}`;
  const map = matrixFigure(get("map"), caption, viewOf(nameOf(head), shown, true), (q, k) => {
    if (q === undefined) return;
    choose(q);
    get("readout").textContent = `${nameOf(head)}: “${panel.queries[q]}” attends to “${panel.keys[k]}”: ${percent(shown(q, k))}.`;
  });
  map.canvas.id = "result";
  for (const button of get("heads").children) button.setAttribute("aria-pressed", button.dataset.head === String(head));
  choose(query);
}

function open(p) {
  panel = p;
  head = query = undefined;
  [...get("panels").children].forEach((button, i) => button.setAttribute("aria-pressed", data.panels[i] === p));
  get("queries-name").textContent = `From: choose a ${data.unit}`;
  get("keys-name").textContent = "What it attends to";
  for (const [kind, tag, dim] of [["queries", "button", p.dim_queries], ["keys", "span", p.dim_keys]]) {
    get(kind).replaceChildren();
    p[kind].forEach((word, i) => make(tag, get(kind), word).classList.toggle("special", dim[i]));
  }
  [...get("queries").children].forEach((button, q) => {
    button.type = "button";
    button.onpointerenter = button.onfocus = button.onclick = () => choose(q);
  });
  get("heads").replaceChildren();
  const all = [undefined];
  for (let l = 0; l < p.layers; l++) for (let h = 0; h < p.heads; h++) all.push([l, h]);
  for (const one of all) {
    const button = make("button", get("heads"), nameOf(one));
    button.type = "button";
    button.dataset.head = String(one);
    const small = new HeatMap(make("div", button), () => {});
    small.parent = { clientWidth: 120 };
    small.canvas.tabIndex = -1;
    small.canvas.style.pointerEvents = "none";
    small.canvas.setAttribute("role", "presentation");
    small.show(viewOf(nameOf(one), one ? (q, k) => weight(...one, q, k) : mean));
    button.onclick = () => showHead(one);
  }
  showHead();
}

for (const p of data.panels) make("button", get("panels"), p.name).onclick = () => open(p);
get("panels").hidden = data.panels.length < 2;
const again = () => {
  const [h, q] = [head, query];
  open(panel || data.panels[0]);
  query = q;
  showHead(h);
};
let width = window.innerWidth;
window.addEventListener("resize", () => {
  if (width === window.innerWidth) return;
  width = window.innerWidth;
  again();
});
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
again();
