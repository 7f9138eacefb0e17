// quantized_linear, plain loops: the definition of quantized_linear.h, on blocks as files have them.
#include "pyformer/base/workspace.h"
#include "pyformer/ops/activation/activation_functions.h"
#include "pyformer/ops/matmul/matmul_epilogue.h"
#include "pyformer/ops/quantized_linear/quantize_rows.h"
#include "pyformer/ops/quantized_linear/quantized_blocks.h"

namespace pyformer::PF_ISA {

// A row unpacked: q - zero of each number, and scales and minima of the groups.
struct UnpackedRow {
  explicit UnpackedRow(const QuantMatrix& w)
      : w(w),
        memory(w.row_bytes() + 4 * w.width() + 8 * w.groups() + 64),
        numbers(static_cast<int32_t*>(memory.data())) {
    scales = reinterpret_cast<float*>(numbers + w.width());
    minima = scales + w.groups();
    bytes = reinterpret_cast<uint8_t*>(minima + w.groups());
  }

  void read(int64_t row) {
    const QuantFormatRow& f = w.row();
    const uint8_t* blocks = row_blocks(w, row, bytes);
    const int64_t groups = f.block / f.group;
    for (int64_t i = 0; i < w.blocks(); ++i) {
      QuantBlock b;
      read_block(w.format, blocks + i * f.bytes, &b);
      for (int64_t j = 0; j < f.block; ++j) numbers[i * f.block + j] = int32_t(b.q[j]) - f.zero;
      for (int64_t j = 0; j < groups; ++j) {
        scales[i * groups + j] = b.scales[j];
        if (f.has_minimum) minima[i * groups + j] = b.minima[j];
      }
    }
  }

  QuantMatrix w;
  Workspace memory;
  int32_t* numbers;
  float *scales, *minima;
  uint8_t* bytes;
};

static float finished(const Epilogue& e, float sum, int64_t col, int64_t at) {
  float result = sum;
  with_activation(e.activation, [&]<class F>() {
    result = finish<F>(
        e, sum, [&] { return static_cast<const float*>(e.bias)[col]; },
        [&](const void* p) { return static_cast<const float*>(p)[at]; },
        [&](void* p, float value) { static_cast<float*>(p)[at] = value; });
  });
  return result;
}

static void products(const QuantProducts& g, int64_t begin, int64_t end) {
  const QuantFormatRow& f = g.w.row();
  const int64_t width = g.w.width(), runs = g.w.runs(), length = f.run();
  UnpackedRow w(g.w);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t first = item / g.ranges() * 16, start = item % g.ranges() * g.kRows;
    for (int64_t col = first; col < first + 16 && col < g.w.n; ++col) {
      w.read(col);
      for (int64_t row = start; row < start + g.kRows && row < g.rows; ++row) {
        const int8_t *q = g.q + row * width, *fine = q + g.rows * width;
        float sum = 0;
        for (int64_t run = 0; run < runs; ++run) {
          const int64_t group = run * length / f.group, x_group = (row * width + run * length) / kQuantXGroup;
          int32_t dot = 0;
          for (int64_t k = run * length; k < (run + 1) * length; ++k)
            dot += (g.wide[x_group] ? kQuantFine * q[k] + fine[k] : q[k]) * w.numbers[k];
          const float scale = g.scales[x_group];
          sum = fma(float(dot), w.scales[group] * scale, sum);
          if (f.has_minimum) sum = fma(float(g.sums[row * runs + run]), w.minima[group] * scale, sum);
        }
        g.out[row * g.w.n + col] = finished(g.epilogue, sum, col, row * g.w.n + col);
      }
    }
  }
}

static void rows(const QuantRows& g, int64_t begin, int64_t end) {
  const QuantFormatRow& f = g.w.row();
  UnpackedRow w(g.w);
  for (int64_t i = begin; i < end; ++i) {
    w.read(g.ids ? g.ids[i] : i);
    float* out = g.out + i * g.w.k;
    for (int64_t k = 0; k < g.w.k; ++k) {
      const float value = w.scales[k / f.group] * float(w.numbers[k]);
      out[k] = f.has_minimum ? value + w.minima[k / f.group] : value;
    }
  }
}

// ---- layouts ------------------------------------------------------------------------------------------------------

static void pack(const QuantPack& g, int64_t begin, int64_t end) {
  const QuantMatrix w = g.w;  // bytes that are written might be g's
  const QuantFormatRow f = w.row();
  const int64_t n = w.n, blocks = w.blocks(), row_bytes = w.row_bytes(), panel_bytes = w.panel_bytes();
  const int64_t numbers = f.block * f.bits / 8, head = f.has_minimum ? 4 : 2;
  for (int64_t panel = begin; panel < end; ++panel) {
    uint8_t* const to = g.panels + panel * panel_bytes;
    __builtin_memset(to, 0, size_t(panel_bytes));
    for (int64_t lane = 0; lane < 16 && panel * 16 + lane < n; ++lane) {
      const uint8_t* block = g.blocks + (panel * 16 + lane) * row_bytes;
      for (int64_t i = 0; i < blocks; ++i, block += f.bytes) {
        uint8_t* const quants = to + w.quants_at(i);
        __builtin_memcpy(to + w.scales_at(i) + lane * 2, block, 2);
        if (f.has_minimum) __builtin_memcpy(to + w.minima_at(i) + lane * 2, block + 2, 2);
        for (int64_t j = 0; j < numbers; j += 4) copy_quad(f.bits, block + head + j, quants + quad_in_block(lane, j));
      }
    }
  }
}

static void unpack(const QuantUnpack& g, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    uint8_t* to = g.blocks + row * g.w.row_bytes();
    const uint8_t* from = row_blocks(g.w, row, to);
    if (from == to) continue;
    for (int64_t i = 0; i < g.w.row_bytes(); ++i) to[i] = from[i];
  }
}

// ---- made of floats -----------------------------------------------------------------------------------------------

PF_INLINE void write_half(uint8_t* p, float value) {
  const Float16 half = to_float16(value);
  p[0] = uint8_t(half.bits);
  p[1] = uint8_t(half.bits >> 8);
}

// The nearest of 0, ..., 15 to x / scale; 0 where there is no scale.
static float nearest_of_16(float x, float scale) {
  return scale == 0 ? 0.0f : min(max(round_to_int(x / scale), 0.0f), 15.0f);
}

// Scale and minimum, as float16, for numbers from `least` to `most`: of some narrower ranges, each with the best line
// through its integers (least squares), those that err least.
struct Line {
  float scale, minimum, error;
};
static Line fitted(const float* x, int64_t count, float minimum, float scale) {
  float q_sum = 0, qq = 0, x_sum = 0, xq = 0;
  for (int64_t j = 0; j < count; ++j) {
    const float q = nearest_of_16(x[j] - minimum, scale);
    q_sum += q;
    qq += q * q;
    x_sum += x[j];
    xq += x[j] * q;
  }
  const float n = float(count), spread = n * qq - q_sum * q_sum;
  if (spread > 0) {
    scale = (n * xq - q_sum * x_sum) / spread;
    minimum = (x_sum - scale * q_sum) / n;
  }
  Line line = {to_float(to_float16(scale)), to_float(to_float16(minimum)), 0};
  for (int64_t j = 0; j < count; ++j) {
    const float off = line.scale * nearest_of_16(x[j] - line.minimum, line.scale) + line.minimum - x[j];
    line.error += off * off;
  }
  return line;
}

static Line best_line(const float* x, int64_t count) {
  float least = x[0], most = x[0];
  for (int64_t j = 1; j < count; ++j) {
    least = min(least, x[j]);
    most = max(most, x[j]);
  }
  const float middle = least + (most - least) / 2;
  Line best = fitted(x, count, least, (most - least) / 15);
  for (int step = 1; step < 8; ++step) {
    const float part = 1 - 0.04f * float(step);
    const Line line = fitted(x, count, middle - (middle - least) * part, (most - least) * part / 15);
    if (line.error < best.error) best = line;
  }
  return best;
}

static void make_q4_1(const float* x, int64_t count, uint8_t* to) {
  const Line line = best_line(x, count);
  write_half(to, line.scale);
  write_half(to + 2, line.minimum);
  for (int j = 4; j < 20; ++j) to[j] = 0;
  for (int64_t j = 0; j < count; ++j)
    to[4 + j % 16] |= uint8_t(int(nearest_of_16(x[j] - line.minimum, line.scale)) << (j < 16 ? 0 : 4));
}

static void make_q8(const float* x, int64_t count, int64_t block, uint8_t* to) {
  float most = 0;
  for (int64_t j = 0; j < count; ++j) most = max(most, x[j] < 0 ? -x[j] : x[j]);
  write_half(to, most / 127.0f);
  const float scale = half_at(to);
  for (int64_t j = 0; j < block; ++j) {
    const float q = j < count && scale != 0 ? round_to_int(x[j] / scale) : 0.0f;
    to[2 + j] = uint8_t(int8_t(min(max(q, -127.0f), 127.0f)));
  }
}

static void make(const QuantMake& g, int64_t begin, int64_t end) {
  const QuantFormatRow& f = g.w.row();
  for (int64_t row = begin; row < end; ++row)
    for (int64_t i = 0; i < g.w.blocks(); ++i) {
      const int64_t left = g.w.k - i * f.block, count = left < f.block ? left : f.block;
      const float* x = g.weight + row * g.w.k + i * f.block;
      uint8_t* to = g.blocks + row * g.w.row_bytes() + i * f.bytes;
      if (f.bits == 4)
        make_q4_1(x, count, to);
      else
        make_q8(x, count, f.block, to);
    }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const QuantizedLinearTable& KernelsOf<QuantizedLinearTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr QuantizedLinearTable table = {{{quantize_rows}}, {{products}}, {{rows}},
                                                 {{pack}},          {{unpack}},   {{make}}};
  return table;
}
}  // namespace pyformer
