// A labelled heat map: a matrix as a picture, to hover over, to touch, and to walk through by arrow keys.
const paint = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const channels = hex => [1, 3, 5].map(i => parseInt(hex.length === 4 ? hex[(i + 1) / 2].repeat(2) : hex.slice(i, i + 2), 16));
const WIDEST_CELL = 22, LABELLED_CELL = 9, LABEL = 84, SIDES = 8192;
// How much room labels need, of at most 11 letters.
const roomFor = labels => Math.min(LABEL, 10 + 7 * labels.reduce((most, label) => Math.max(most, label.length), 0));

class HeatMap {
  // pick(row, column) is called for the cell that is looked at, pick() when none is.
  constructor(parent, pick) {
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    parent.appendChild(this.canvas);
    this.parent = parent;
    this.pick = pick;
    this.marks = {};
    const look = event => this.look(this.cellAt(event));
    this.canvas.addEventListener("pointermove", look);
    this.canvas.addEventListener("pointerdown", look);
    this.canvas.addEventListener("pointerleave", () => this.look());
    this.canvas.addEventListener("focus", () => this.look(this.cursor || [0, 0]));
    this.canvas.addEventListener("blur", () => this.look());
    this.canvas.addEventListener("keydown", event => {
      const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!move || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      const [row, column] = this.cursor || [0, 0], { rows, columns } = this.view;
      this.look([Math.min(rows - 1, Math.max(0, row + move[0])), Math.min(columns - 1, Math.max(0, column + move[1]))]);
    });
  }

  // view: label, rows, columns, at(row, column), rowLabels, columnLabels, dimRows, dimColumns, and positive: from 0 to 1.
  show(view) {
    this.view = view;
    const { rows, columns } = view;
    this.canvas.setAttribute("aria-label", `${view.label}: ${rows} rows, ${columns} columns; arrow keys walk through it`);
    const left = view.rowLabels ? roomFor(view.rowLabels) : 0;
    const lean = view.columnLabels ? 0.6 * roomFor(view.columnLabels) : 0;
    const room = Math.max(120, (this.parent.clientWidth || 600) - left - lean - 2);
    this.cell = Math.max(Math.min(3, SIDES / columns), Math.min(WIDEST_CELL, Math.floor(room / columns)));
    this.cell = Math.min(this.cell, SIDES / rows);
    const labelled = this.cell >= LABELLED_CELL;
    this.left = labelled || rows <= 64 ? left : 0;
    if (this.left) this.cell = Math.max(this.cell, rows <= 64 && columns * LABELLED_CELL <= SIDES ? LABELLED_CELL : 3);
    this.top = view.columnLabels && this.cell >= LABELLED_CELL ? roomFor(view.columnLabels) * 0.9 + 4 : 0;
    const numbers = [];
    for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) numbers.push(view.at(i, j));
    const most = numbers.reduce((a, b) => (Number.isFinite(b) ? Math.max(a, Math.abs(b)) : a), 0) || 1;
    this.base = document.createElement("canvas");
    this.base.width = columns;
    this.base.height = rows;
    const context = this.base.getContext("2d"), image = context.createImageData(columns, rows);
    const more = channels(paint("--more")), less = channels(paint("--less")), masked = channels(paint("--masked"));
    numbers.forEach((number, n) => {
      const part = view.positive ? Math.sqrt(Math.max(0, number)) : Math.abs(number) / most;
      image.data.set(!Number.isFinite(number) ? masked : number < 0 ? less : more, 4 * n);
      image.data[4 * n + 3] = Number.isFinite(number) ? 255 * part : 255;
    });
    context.putImageData(image, 0, 0);
    this.draw();
  }

  // marks: row, column, both lit up whole, or cell [row, column].
  mark(marks) {
    this.marks = marks || {};
    this.draw();
  }

  look(cell) {
    this.cursor = cell || this.cursor;
    this.marks = cell ? { cell } : {};
    this.draw();
    if (cell) this.pick(...cell);
    else this.pick();
  }

  cellAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const row = Math.floor((event.clientY - box.top - this.top) / this.cell);
    const column = Math.floor((event.clientX - box.left - this.left) / this.cell);
    const inside = row >= 0 && column >= 0 && row < this.view.rows && column < this.view.columns;
    return inside ? [row, column] : undefined;
  }

  draw() {
    const { rows, columns, rowLabels, columnLabels, dimRows, dimColumns } = this.view;
    const { cell, left, top } = this, sharp = window.devicePixelRatio || 1;
    const width = left + columns * cell + 1 + 0.6 * top, height = top + rows * cell + 1;
    Object.assign(this.canvas, { width: width * sharp, height: height * sharp });
    Object.assign(this.canvas.style, { width: `${width}px`, height: `${height}px` });
    const context = this.canvas.getContext("2d");
    context.scale(sharp, sharp);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.base, left, top, columns * cell, rows * cell);
    context.strokeStyle = paint("--line");
    context.strokeRect(left + 0.5, top + 0.5, columns * cell, rows * cell);
    context.font = `${Math.min(12, Math.max(8, cell - 1))}px ui-monospace, monospace`;
    context.textBaseline = "middle";
    const write = (text, dim, lit) => {
      context.globalAlpha = dim ? 0.45 : 1;
      context.fillStyle = paint(lit ? "--mark" : "--ink");
      context.fillText(text.length > 11 ? text.slice(0, 10) + "…" : text, 0, 0);
      context.globalAlpha = 1;
    };
    const { row, column, cell: picked } = this.marks;
    if (left && cell >= 8) {
      context.textAlign = "right";
      for (let i = 0; i < rows; i++) {
        context.save();
        context.translate(left - 4, top + (i + 0.5) * cell);
        write(rowLabels[i], dimRows && dimRows[i], i === row || (picked && i === picked[0]));
        context.restore();
      }
    }
    if (top) {
      const isTilted = cell < WIDEST_CELL || columnLabels.some(label => label.length > 2);
      context.textAlign = isTilted ? "left" : "center";
      for (let j = 0; j < columns; j++) {
        context.save();
        context.translate(left + (j + 0.5) * cell, top - (isTilted ? 4 : 8));
        if (isTilted) context.rotate(-Math.PI / 3);
        write(columnLabels[j], dimColumns && dimColumns[j], j === column || (picked && j === picked[1]));
        context.restore();
      }
    }
    context.strokeStyle = paint("--mark");
    context.lineWidth = 2;
    const box = (i, j, high, wide) => context.strokeRect(left + j * cell, top + i * cell, wide * cell, high * cell);
    if (row !== undefined) box(row, 0, 1, columns);
    if (column !== undefined) box(0, column, rows, 1);
    if (picked) box(picked[0], picked[1], 1, 1);
  }
}

// A matrix in a figure: its name and shape above, the picture below, which scrolls sideways where it is too wide.
function matrixFigure(parent, caption, view, pick) {
  const figure = document.createElement("figure"), words = document.createElement("figcaption");
  words.textContent = caption;
  const box = document.createElement("div");
  box.className = "map";
  figure.append(words, box);
  parent.appendChild(figure);
  const map = new HeatMap(box, pick);
  map.show(view);
  return map;
}
