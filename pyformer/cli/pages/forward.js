// Computes the steps of a model in double precision. A matrix is {shape, data}; one of a step by heads is (H, T, T).
const matrix = shape => ({ shape, data: new Float64Array(shape.reduce((a, b) => a * b, 1)) });

function unpack({ shape, data }) {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
  return { shape, data: new Float32Array(bytes.buffer) };
}

// erfc by its Chebyshev fit (Press et al., "Numerical Recipes", 6.2): error below 1.2e-7.
const FIT = [-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587,
  -0.82215223, 0.17087277];
function erf(x) {
  const t = 1 / (1 + Math.abs(x) / 2);
  const y = t * Math.exp(-x * x + FIT.reduceRight((sum, c) => sum * t + c, 0));
  return x >= 0 ? 1 - y : y - 1;
}

const sigmoid = x => 1 / (1 + Math.exp(-x));
const ACTIVATIONS = {
  gelu: x => (x / 2) * (1 + erf(x / Math.SQRT2)),
  gelu_tanh: x => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  relu: x => Math.max(0, x),
  silu: x => x * sigmoid(x),
  sigmoid,
  tanh: Math.tanh,
};

const OPS = {
  rows: (step, [table], ids) => takeRows(table, ids),
  places: (step, [table], ids) => takeRows(table, ids.map((_, i) => i)),
  add: (step, [a, b]) => ({ shape: a.shape, data: Float64Array.from(a.data, (x, n) => x + b.data[n]) }),
  multiply: (step, [a, b]) => ({ shape: a.shape, data: Float64Array.from(a.data, (x, n) => x * b.data[n]) }),
  activation: (step, [x]) => ({ shape: x.shape, data: Float64Array.from(x.data, ACTIVATIONS[step.kind]) }),
  layer_norm(step, [x, gain, bias]) {
    const [rows, columns] = x.shape, out = matrix(x.shape);
    for (let i = 0; i < rows; i++) {
      const { mean, deviation } = spread(x, i, step.eps);
      for (let j = 0; j < columns; j++) {
        out.data[i * columns + j] = ((x.data[i * columns + j] - mean) / deviation) * gain.data[j] + bias.data[j];
      }
    }
    return out;
  },
  rms_norm(step, [x, gain]) {
    const [rows, columns] = x.shape, out = matrix(x.shape);
    for (let i = 0; i < rows; i++) {
      const size = sizeOf(x, i, step.eps);
      for (let j = 0; j < columns; j++) out.data[i * columns + j] = (x.data[i * columns + j] / size) * gain.data[j];
    }
    return out;
  },
  // Of each head, element n and its partner are turned by the token's place times an angle; what has none stays.
  rope(step, [x, angles]) {
    const [rows, columns] = x.shape, out = { shape: x.shape, data: Float64Array.from(x.data) };
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        const turn = turnOf(step, x, angles, i, j);
        if (!turn) continue;
        out.data[i * columns + j] = x.data[i * columns + j] * turn.cos + x.data[i * columns + turn.partner] * turn.sin;
      }
    }
    return out;
  },
  linear(step, [x, weight, bias]) {
    const [rows, inner] = x.shape, columns = weight.shape[0], out = matrix([rows, columns]);
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        let sum = bias ? bias.data[j] : 0;
        for (let k = 0; k < inner; k++) sum += x.data[i * inner + k] * weight.data[j * inner + k];
        out.data[i * columns + j] = sum;
      }
    }
    return out;
  },
  scores(step, [q, k]) {
    const [T, C] = q.shape, K = k.shape[1], D = C / step.heads, out = matrix([step.heads, T, T]);
    for (let h = 0; h < step.heads; h++) {
      const offset = shared(step, h) * D;
      for (let i = 0; i < T; i++) {
        for (let j = 0; j < T; j++) {
          let sum = 0;
          for (let d = 0; d < D; d++) sum += q.data[i * C + h * D + d] * k.data[j * K + offset + d];
          out.data[(h * T + i) * T + j] = sum * step.scale;
        }
      }
    }
    return out;
  },
  softmax(step, [scores]) {
    const [H, T] = scores.shape, out = matrix(scores.shape);
    for (let r = 0; r < H * T; r++) {
      const i = r % T, first = firstSeen(step, i);
      const seen = scores.data.subarray(r * T + first, r * T + i + 1), most = Math.max(...seen);
      const powers = seen.map(s => Math.exp(s - most)), sum = powers.reduce((a, b) => a + b);
      out.data.set(powers.map(p => p / sum), r * T + first);
    }
    return out;
  },
  mix(step, [weights, v]) {
    const [H, T] = weights.shape, K = v.shape[1], D = K / step.kv_heads, C = H * D, out = matrix([T, C]);
    for (let i = 0; i < T; i++) {
      for (let c = 0; c < C; c++) {
        const h = Math.floor(c / D), row = (h * T + i) * T, from = shared(step, h) * D + (c % D);
        for (let j = 0; j <= i; j++) out.data[i * C + c] += weights.data[row + j] * v.data[j * K + from];
      }
    }
    return out;
  },
};

// Which head of keys and values a head of queries uses, and the first token that token i sees: itself and those before.
const shared = (step, h) => Math.floor((h * step.kv_heads) / step.heads);
const firstSeen = (step, i) => (step.window ? Math.max(0, i - step.window + 1) : 0);

function turnOf(step, x, angles, i, j) {
  const D = x.shape[1] / step.heads, R = angles.shape[0], d = j % D;
  if (d >= 2 * R) return undefined;
  const angle = i * angles.data[d % R];
  return { partner: d < R ? j + R : j - R, angle, cos: Math.cos(angle), sin: Math.sin(angle) * (d < R ? -1 : 1) };
}

function sizeOf(x, row, eps) {
  const values = x.data.subarray(row * x.shape[1], (row + 1) * x.shape[1]);
  return Math.sqrt(values.reduce((a, b) => a + b * b, 0) / values.length + eps);
}

function takeRows(table, ids) {
  const columns = table.shape[1], out = matrix([ids.length, columns]);
  ids.forEach((id, i) => out.data.set(table.data.subarray(id * columns, (id + 1) * columns), i * columns));
  return out;
}

function spread(x, row, eps) {
  const values = x.data.subarray(row * x.shape[1], (row + 1) * x.shape[1]);
  const mean = values.reduce((a, b) => a + b) / values.length;
  const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length;
  return { mean, deviation: Math.sqrt(variance + eps) };
}

// Every matrix of a text by name: what the steps give, beside the weights.
function compute(steps, weights, ids) {
  const found = { ...weights };
  for (const step of steps) found[step.out] = OPS[step.op](step, step.inputs.map(name => found[name]), ids);
  return found;
}

const WORDS = {
  latin: /[a-z0-9]+(?:'[a-z]+)?|[^\sa-z0-9]/gu,
  unicode: /[\p{L}\p{N}_']+|[^\p{L}\p{N}_\s]/gu,
};
// The ids of a text; undefined stands for what the model's vocabulary lacks.
function tokenize({ kind, unknown, cut }, vocabulary, text) {
  if (kind === "byte") return [...new TextEncoder().encode(text)];
  if (kind === "char") return [...text].map(c => vocabulary.get(c));
  return (text.toLowerCase().match(WORDS[cut]) || []).map(word => vocabulary.get(word) ?? unknown);
}
