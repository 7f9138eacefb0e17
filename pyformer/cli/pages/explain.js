const data = JSON.parse(document.getElementById("data").textContent);
const get = id => document.getElementById(id);
const make = (tag, parent, text) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  parent.appendChild(element);
  return element;
};
const weights = Object.fromEntries(Object.entries(data.weights).map(([name, packed]) => [name, unpack(packed)]));
const vocabulary = new Map((data.tokenizer.keys || []).map((key, id) => [key, id]));
const special = new Set(data.special);
const FIRST = "tokens", STREAM = "stream", LAST = "choice";
const pagesOf = [
  { out: FIRST, part: "Input", title: "tokens",
    note: `The text is cut into ${data.unit}s; each is a number of the vocabulary.` },
  ...data.steps,
  { out: STREAM, part: "Output", title: "the residual stream, as a whole",
    note: "How long each token's vector is, from the input to the last block: parts only add, so it mostly grows." },
  { out: LAST, part: "Output", title: "the next " + data.unit,
    note: "Softmax makes the logits of the chosen token into probabilities of what comes next. Take one: the text goes on." },
].filter(step => step.out !== STREAM || data.stream.length > 1);

let ids = [], values = {}, at = 0, head = 0, token = 0, temperature = 1, maps = {};

const short = number => (Number.isFinite(number) ? String(Number(number.toPrecision(4))).replace("-", "−") : "unseen");
const called = id => data.vocabulary[id];
const names = () => ids.map(called);
const dims = () => ids.map(id => special.has(id));

// ---- the text ----

function setIds(found) {
  if (found.length < 1 || found.length > data.limit) {
    get("said").textContent = `Expected 1 to ${data.limit} ${data.unit}s, got ${found.length}.`;
    return;
  }
  ids = found;
  values = compute(data.steps, weights, ids);
  token = ids.length - 1;
  get("said").textContent = "";
  showTokens();
  showStep();
}

function typed(text) {
  const found = tokenize(data.tokenizer, vocabulary, text);
  const known = found.filter(id => id !== undefined);
  setIds(known);
  if (known.length < found.length) {
    get("said").textContent = `Left out: ${found.length - known.length} that the model's vocabulary lacks.`;
  }
}

function showTokens() {
  get("tokens").setAttribute("aria-label", `${data.unit}s of the text`);
  get("tokens").replaceChildren();
  ids.forEach((id, i) => {
    const button = make("button", get("tokens"), called(id));
    button.type = "button";
    button.classList.toggle("special", special.has(id));
    button.setAttribute("aria-pressed", i === token);
    button.onclick = () => {
      token = i;
      showTokens();
      get("tokens").children[i].focus();
      showStep();
    };
  });
}

// ---- matrices as views ----

const shape = value => value.shape.join(" × ");
const rowsAreTokens = { get rowLabels() { return names(); }, get dimRows() { return dims(); } };
const plain = (label, value, more) => ({
  label, rows: value.shape[0], columns: value.shape[1], at: (i, j) => value.data[i * value.shape[1] + j], ...more,
});
const vector = (label, value) => ({ label, rows: 1, columns: value.shape[0], at: (i, j) => value.data[j] });
const turned = view => ({
  ...view, label: view.label + ", transposed", rows: view.columns, columns: view.rows, at: (i, j) => view.at(j, i),
  rowLabels: view.columnLabels, columnLabels: view.rowLabels, dimRows: undefined, dimColumns: undefined,
});
const ofTokens = (label, value) => plain(label, value, rowsAreTokens);
const byHead = (label, value, heads, h = head) => {
  const columns = value.shape[1] / heads, offset = h * columns;
  const at = (i, j) => value.data[i * value.shape[1] + offset + j];
  return { label: `${label} of head ${h + 1}`, rows: value.shape[0], columns, at, ...rowsAreTokens };
};
// Of all heads' squares one; of tokens that are not seen it has no numbers, if a step is given that says which.
const square = (label, value, step, h = head) => {
  const T = ids.length;
  const at = (i, j) => (step && !sees(step, i, j) ? NaN : value.data[(h * T + i) * T + j]);
  const labels = { rowLabels: names(), columnLabels: names(), dimRows: dims(), dimColumns: dims() };
  return { label: `${label} of head ${h + 1}`, rows: T, columns: T, at, ...labels };
};
const sees = (step, i, j) => j <= i && j >= firstSeen(step, i);
const unseen = (i, j) => (j > i ? "comes later" : "is too far back");
const headsOf = step => step.heads || 1;
const WIDEST = 4096;
const narrow = view => (view.columns > WIDEST ? { ...view, columns: WIDEST, label: `${view.label}, its first ${WIDEST}` } : view);

const products = (n, left, right) => {
  const terms = Array.from({ length: Math.min(n, 4) }, (_, k) => `${short(left(k))} × ${short(right(k))}`);
  return terms.join(" + ") + (n > 4 ? ` + … (${n} products)` : "");
};

// What a step shows: panels of operands, [caption, view] by key, the view of its result, and for a cell of that what it
// was made of: which rows and columns light up, and the sum in words.
const SHOWN = {
  rows: (step, [table]) => lookedUp(step, table, i => ids[i], "is number", data.vocabulary),
  places: (step, [table]) => lookedUp(step, table, i => i, "stands at", table.shape[0] && [...Array(table.shape[0]).keys()].map(String)),
  add: (step, inputs) => twoMet(step, inputs, "+"),
  multiply: (step, inputs) => twoMet(step, inputs, "×"),
  activation(step, [x]) {
    const [from] = step.inputs, before = ofTokens(from, x);
    return {
      panels: { [from]: before }, view: ofTokens(step.out, values[step.out]),
      met: (i, j) => [`${step.kind}(${short(before.at(i, j))})`, { [from]: { cell: [i, j] } }],
    };
  },
  layer_norm(step, [x, gain, bias]) {
    const [from, g, b] = step.inputs, before = ofTokens(from, x);
    return {
      panels: { [from]: before, [g]: vector(g, gain), [b]: vector(b, bias) }, view: ofTokens(step.out, values[step.out]),
      met(i, j) {
        const { mean, deviation } = spread(x, i, step.eps);
        const words = `(${short(before.at(i, j))} − ${short(mean)}) ÷ ${short(deviation)} × ${short(gain.data[j])} + ${short(bias.data[j])}`;
        const cell = { cell: [0, j] };
        return [`${words}: row ${i + 1} less its mean, by its deviation, times gain, plus bias`, { [from]: { row: i }, [g]: cell, [b]: cell }];
      },
    };
  },
  rms_norm(step, [x, gain]) {
    const [from, g] = step.inputs, before = ofTokens(from, x);
    return {
      panels: { [from]: before, [g]: vector(g, gain) }, view: ofTokens(step.out, values[step.out]),
      met: (i, j) => [
        `${short(before.at(i, j))} ÷ ${short(sizeOf(x, i, step.eps))} × ${short(gain.data[j])}: row ${i + 1} by its size, times gain`,
        { [from]: { row: i }, [g]: { cell: [0, j] } },
      ],
    };
  },
  rope(step, [x, angles]) {
    const [from, table] = step.inputs, before = byHead(from, x, step.heads);
    return {
      panels: { [from]: before, [table]: vector(table, angles) }, view: byHead(step.out, values[step.out], step.heads),
      met(i, j) {
        const turn = turnOf(step, x, angles, i, j + head * before.columns);
        if (!turn) return ["itself: this element is not turned", { [from]: { cell: [i, j] } }];
        const other = turn.partner - head * before.columns, sign = turn.sin * Math.sin(turn.angle) < 0 ? "−" : "+";
        const words = `${short(before.at(i, j))} × cos ${short(turn.angle)} ${sign} ${short(before.at(i, other))} × sin ${short(turn.angle)}`;
        const angle = { cell: [0, j % angles.shape[0]] };
        return [`${words}: place ${i} times angle ${(j % angles.shape[0]) + 1}, with element ${other + 1}`, { [from]: { row: i }, [table]: angle }];
      },
    };
  },
  linear(step, [x, weight, bias]) {
    const [from, w, b] = step.inputs, left = ofTokens(from, x);
    const words = weight.shape[0] === data.vocabulary.length ? { rowLabels: data.vocabulary } : {};
    const right = narrow(turned(plain(w, weight, words))), key = `${w}, transposed`;
    const panels = { [from]: left, [key]: right };
    if (b) panels[b] = narrow(vector(b, bias));
    const out = ofTokens(step.out, values[step.out]);
    return {
      panels, view: narrow({ ...out, columnLabels: words.rowLabels }),
      met(i, j) {
        const sum = products(left.columns, k => left.at(i, k), k => right.at(k, j)) + (b ? ` + ${short(bias.data[j])}` : "");
        const marks = { [from]: { row: i }, [key]: { column: j } };
        if (b) marks[b] = { cell: [0, j] };
        return [`${sum}: row ${i + 1} of ${from} met column ${j + 1} of ${w}, transposed`, marks];
      },
    };
  },
  scores(step, [q, k]) {
    const [left, right] = step.inputs, queries = byHead(left, q, step.heads);
    const keys = turned(byHead(right, k, step.kv_heads, shared(step, head)));
    return {
      panels: { [left]: queries, [right]: keys }, view: square(step.out, values[step.out]),
      met: (i, j) => [
        `(${products(queries.columns, d => queries.at(i, d), d => keys.at(d, j))}) × ${short(step.scale)}: query ${i + 1} ` +
        `(“${called(ids[i])}”) met key ${j + 1} (“${called(ids[j])}”)` + (sees(step, i, j) ? "" : `; it ${unseen(i, j)}, and softmax leaves it out`),
        { [left]: { row: i }, [right]: { column: j } },
      ],
    };
  },
  softmax(step, [scores]) {
    const [from] = step.inputs, before = square(from, scores, step);
    return {
      panels: { [from]: before }, view: { ...square(step.out, values[step.out], step), positive: true },
      met(i, j) {
        if (!sees(step, i, j)) return [`nothing: this token ${unseen(i, j)}`, { [from]: { row: i } }];
        const first = firstSeen(step, i);
        const sum = Array.from({ length: i + 1 - first }, (_, n) => Math.exp(before.at(i, first + n))).reduce((a, b) => a + b);
        return [`e^${short(before.at(i, j))} ÷ ${short(sum)}, the sum of e^score over what “${called(ids[i])}” sees`, { [from]: { row: i } }];
      },
    };
  },
  mix(step, [attention, v]) {
    const [from, of] = step.inputs, left = { ...square(from, attention, step), positive: true };
    const right = byHead(of, v, step.kv_heads, shared(step, head));
    const first = i => firstSeen(step, i);
    return {
      panels: { [from]: left, [of]: right }, view: byHead(step.out, values[step.out], step.heads),
      met: (i, j) => [
        `${products(i + 1 - first(i), n => left.at(i, first(i) + n), n => right.at(first(i) + n, j))}: row ${i + 1} of the weights met column ${j + 1} of the values`,
        { [from]: { row: i }, [of]: { column: j } },
      ],
    };
  },
};

function twoMet(step, [a, b], sign) {
  const [left, right] = step.inputs, one = ofTokens(left, a), two = ofTokens(right, b);
  return {
    panels: { [left]: one, [right]: two }, view: ofTokens(step.out, values[step.out]),
    met: (i, j) => [
      `${short(one.at(i, j))} ${sign} ${short(two.at(i, j))}`, { [left]: { cell: [i, j] }, [right]: { cell: [i, j] } },
    ],
  };
}

function lookedUp(step, table, row, verb, labels) {
  const key = step.inputs[0], panels = {};
  if (table.shape[0] <= 512) panels[key] = plain(key, table, { rowLabels: labels });
  return {
    panels, view: ofTokens(step.out, values[step.out]),
    met: i => [`“${called(ids[i])}” ${verb} ${row(i)}: that row of the ${key}, ${shape(table)}`, { [key]: { row: row(i) } }],
  };
}

// ---- a step ----

function showStep() {
  const step = pagesOf[at];
  get("steps").value = step.out;
  get("back").disabled = at === 0;
  get("next").disabled = at === pagesOf.length - 1;
  get("title").textContent = `${step.part}: ${step.title}`;
  get("note").textContent = step.note;
  for (const id of ["heads", "matrices", "extra"]) get(id).replaceChildren();
  maps = {};
  if (step.out === FIRST) showTable();
  else if (step.out === STREAM) showStream();
  else if (step.out === LAST) showChoice();
  else showMatrices(step);
}

function showMatrices(step) {
  const heads = headsOf(step);
  head = Math.min(head, heads - 1);
  if (heads > 1) showHeads(step, heads);
  const inputs = step.inputs.map(name => values[name]), { panels, view, met } = SHOWN[step.op](step, inputs);
  const out = () => {
    for (const map of Object.values(maps)) map.mark();
  };
  const place = (map, i, j) => `${map.label}, row ${i + 1}${map.rowLabels ? ` (“${map.rowLabels[i]}”)` : ""}, column ${j + 1}` +
    (map.columnLabels ? ` (“${map.columnLabels[j]}”)` : "");
  for (const [key, panel] of Object.entries(panels)) {
    const pick = (i, j) => {
      if (i !== undefined) get("readout").textContent = `${place(panel, i, j)} = ${short(panel.at(i, j))}`;
    };
    maps[key] = matrixFigure(get("matrices"), `${panel.label}: ${panel.rows} × ${panel.columns}`, panel, pick);
  }
  const caption = `gives ${view.label}: ${view.rows} × ${view.columns}` +
    (heads > 1 ? ` (of all ${heads} heads: ${shape(values[step.out])})` : "");
  const map = matrixFigure(get("matrices"), caption, view, (i, j) => {
    out();
    if (i === undefined) return map.mark({ row: token });
    const [words, marks] = met(i, j);
    map.mark({ cell: [i, j] });
    for (const [key, mark] of Object.entries(marks)) if (maps[key]) maps[key].mark(mark);
    get("readout").textContent = `${place(view, i, j)} = ${short(view.at(i, j))} = ${words}.`;
  });
  map.canvas.id = "result";
  map.mark({ row: token });
}

function showHeads(step, heads) {
  const pictured = ["scores", "softmax"].includes(step.op);
  for (let h = 0; h < heads; h++) {
    const button = make("button", get("heads"), `head ${h + 1}`);
    button.type = "button";
    button.setAttribute("aria-pressed", h === head);
    button.onclick = () => {
      head = h;
      showStep();
      get("heads").querySelectorAll("button")[h].focus();
    };
    if (pictured) {
      const view = { ...square(step.out, values[step.out], step, h), positive: step.op === "softmax" };
      const small = new HeatMap(make("span", button), () => {});
      small.canvas.tabIndex = -1;
      small.canvas.style.pointerEvents = "none";
      small.canvas.setAttribute("role", "presentation");
      small.parent = { clientWidth: 120 };
      small.show({ ...view, rowLabels: undefined, columnLabels: undefined });
    }
  }
}

function showTable() {
  const table = make("table", get("extra")), top = make("tr", table);
  for (const heading of ["place", data.unit, "number"]) make("th", top, heading);
  ids.forEach((id, i) => {
    const row = make("tr", table);
    for (const text of [i, called(id), id]) make("td", row, String(text));
  });
}

function showStream() {
  const lengths = data.stream.map(out => {
    const { shape: [rows, columns], data: x } = values[out];
    return Array.from({ length: rows }, (_, i) => Math.hypot(...x.subarray(i * columns, (i + 1) * columns)));
  });
  const view = {
    label: "lengths of the vectors", rows: ids.length, columns: lengths.length, at: (i, j) => lengths[j][i], ...rowsAreTokens,
    columnLabels: data.stream,
  };
  const map = matrixFigure(get("matrices"), `${view.label}: ${view.rows} × ${view.columns}`, view, (i, j) => {
    if (i !== undefined) get("readout").textContent = `“${called(ids[i])}” in ${data.stream[j]} is ${short(lengths[j][i])} long.`;
  });
  map.canvas.id = "result";
}

function choices() {
  const V = data.vocabulary.length, logits = values.logits.data.subarray(token * V, (token + 1) * V);
  const most = logits.reduce((a, b) => Math.max(a, b));
  const powers = logits.map(x => Math.exp((x - most) / temperature)), sum = powers.reduce((a, b) => a + b);
  return Array.from(powers, (p, id) => ({ id, p: p / sum, logit: logits[id] })).sort((a, b) => b.p - a.p || a.id - b.id);
}

function showChoice() {
  const box = get("extra"), found = choices(), label = make("label", make("p", box), "temperature ");
  make("p", box, `After “${called(ids[token])}”:`);
  const slider = make("input", label), shown = make("span", label, ` ${temperature}`);
  Object.assign(slider, { type: "range", min: 0.1, max: 2, step: 0.1, value: temperature, id: "temperature" });
  slider.oninput = () => {
    temperature = Number(slider.value);
    showStep();
    get("temperature").focus();
  };
  shown.title = "logits are divided by it before softmax";
  const take = id => {
    const kept = [...ids.slice(0, token + 1), id];
    setIds(kept.slice(-data.limit));
  };
  for (const { id, p, logit } of found.slice(0, 10)) {
    const button = make("button", box);
    button.type = "button";
    button.className = "bar";
    make("span", button, called(id));
    make("i", button).style.width = `${100 * p}%`;
    make("span", button, `${(100 * p).toFixed(1)}%`);
    button.title = `logit ${short(logit)}`;
    button.onclick = () => take(id);
  }
  const draw = make("button", make("p", box), "draw one by chance");
  draw.type = "button";
  draw.onclick = () => {
    let left = Math.random();
    take((found.find(({ p }) => (left -= p) < 0) || found[0]).id);
  };
}

// ---- what is always there ----

function go(step) {
  at = Math.min(pagesOf.length - 1, Math.max(0, step));
  showStep();
}

// The page's numbers beside those that the library gave for the examples.
function check() {
  let worst = 0;
  for (const { ids: given, numbers } of data.examples) {
    const found = compute(data.steps, weights, given);
    for (const [out, packed] of Object.entries(numbers)) {
      const { data: expected } = unpack({ data: packed });
      expected.forEach((x, n) => (worst = Math.max(worst, Math.abs(x - found[out].data[n]))));
      if (expected.length !== found[out].data.length) worst = Infinity;
    }
  }
  return worst;
}

document.title = data.title;
document.querySelector("h1").textContent = data.title;
get("about").textContent = data.about;
data.examples.forEach(({ text }, n) => (make("option", get("examples"), text).value = n));
get("examples").onchange = () => {
  get("text").value = data.examples[get("examples").value].text;
  setIds(data.examples[get("examples").value].ids);
};
get("typing").hidden = !(data.tokenizer.keys || data.tokenizer.kind === "byte");
get("text").oninput = () => typed(get("text").value);
get("ask").onsubmit = event => event.preventDefault();
let group, part;
pagesOf.forEach((step, n) => {
  if (step.part !== part || !group) {
    group = make("optgroup", get("steps"));
    group.label = part = step.part;
  }
  make("option", group, `${n + 1}. ${step.title}`).value = step.out;
});
get("steps").onchange = () => go(pagesOf.findIndex(step => step.out === get("steps").value));
get("back").onclick = () => go(at - 1);
get("next").onclick = () => go(at + 1);
document.addEventListener("keydown", event => {
  if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey) return;
  if (["INPUT", "SELECT", "CANVAS"].includes(event.target.tagName)) return;
  if (event.key === "ArrowRight") go(at + 1);
  else if (event.key === "ArrowLeft") go(at - 1);
});
let width = window.innerWidth;
window.addEventListener("resize", () => {
  if (width === window.innerWidth) return;
  width = window.innerWidth;
  showStep();
});
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showStep);
get("text").value = data.examples[0].text;
setIds(data.examples[0].ids);
const difference = check();
get("checked").textContent = `Checked on the texts that came with this page: its logits and weights of attention differ from the library's by at most ${difference.toExponential(1)}.`;
