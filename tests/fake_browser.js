// Runs the script of a page of `pyformer attend` on a document of just enough parts, hovers over the last word, picks
// the last head and lets it go again; prints what there is to see as JSON.
"use strict";
const page = require("fs").readFileSync(process.argv[2], "utf8");
const scripts = [...page.matchAll(/<script[^>]*>([\s\S]*?)<\/script>/g)].map(match => match[1]);
let pixels = 0;

class Element {
  constructor(tag) {
    this.tag = tag;
    this.children = [];
    this.style = {};
    this.classes = new Set();
    this.classList = {
      toggle: (name, on) => (on ? this.classes.add(name) : this.classes.delete(name)),
      remove: name => this.classes.delete(name),
    };
  }
  appendChild(child) { this.children.push(child); }
  replaceChildren() { this.children = []; }
  querySelectorAll(tag) { return this.children.filter(child => child.tag === tag); }
  getContext() {
    return {
      createImageData: (width, height) => ({ data: new Uint8ClampedArray(4 * width * height) }),
      putImageData: image => {
        pixels += image.data.length / 4;
        this.depths = [...image.data].filter((_, i) => i % 4 === 3);
      },
    };
  }
}

const byId = { data: Object.assign(new Element("script"), { textContent: scripts[0] }) };
for (const [, id] of page.matchAll(/ id="([^"]+)"/g)) byId[id] ??= new Element("div");
const heading = new Element("h1");
global.document = {
  getElementById: id => byId[id],
  createElement: tag => new Element(tag),
  querySelector: () => heading,
};
eval(scripts[1]);

const titles = () => byId.keys.children.map(span => span.title);
const seen = { words: byId.queries.children.map(span => span.textContent) };
byId.queries.children.at(-1).onpointerenter();
seen.mean = titles();
const canvases = byId.grid.querySelectorAll("canvas");
seen.canvases = canvases.length;
seen.pixels = pixels;
seen.depths = canvases.at(-1).depths;
canvases.at(-1).onclick();
seen.one = titles();
seen.chosen = byId.chosen.textContent;
canvases.at(-1).onclick();
seen.again = byId.chosen.textContent;
console.log(JSON.stringify(seen));
