#include "pyformer/ops/quantized_linear/quantized_linear.h"

#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/linear/linear.h"

namespace pyformer {

using Table = QuantizedLinearTable;
static constexpr const char* kOp = "quantized_linear";

QuantFormat quant_format_from_name(const std::string& wanted) {
  std::string known;
  for (int i = 0; i < kQuantFormatCount; ++i) {
    if (wanted == kQuantFormats[i].name) return QuantFormat(i);
    known += cat(i ? ", " : "", kQuantFormats[i].name);
  }
  throw ValueError(cat("quantized_linear: format must be one of ", known, ", got '", wanted, "'"));
}

static QuantMatrix matrix_of(const QuantizedWeight& w) {
  return {w.format, w.n, w.k, static_cast<const uint8_t*>(w.data.raw())};
}

template <class Row, class Args>
static void run_here(Row row, const Array& where, const Args& args) {
  run(kOp, row, where.device(), DType::float32, args);
}

QuantizedWeight quantized_weight(QuantFormat format, int64_t k, const Array& blocks) {
  if (blocks.dtype() != DType::uint8 || blocks.ndim() != 2)
    throw TypeError(cat("quantized_linear: blocks must be uint8 (n, bytes), got ", name(blocks.dtype()), " ",
                        blocks.shape().str()));
  QuantizedWeight w = {format, blocks.dim(0), k, blocks};
  QuantMatrix m = matrix_of(w);
  if (k < 1 || w.n < 1)
    throw ValueError(cat("quantized_linear: expected a matrix (n, k) with numbers, got (", w.n, ", ", k, ")"));
  if (blocks.dim(1) != m.row_bytes())
    throw ValueError(cat("quantized_linear: ", k, " numbers in ", m.row().name, " must take ", m.row_bytes(),
                         " bytes a row, got ", blocks.dim(1)));
  if (m.row().bits == 0) return w;
  w.data = Array::lasting({m.data_bytes()}, DType::uint8, blocks.device());
  run_here(&Table::pack, blocks, QuantPack{m, m.data, static_cast<uint8_t*>(w.data.raw())});
  return w;
}

QuantizedWeight quantize_weight(QuantFormat format, const Array& weight) {
  check_quantizable(format, weight);
  const Array source = cast(weight, DType::float32);
  const QuantMatrix m = {format, weight.dim(0), weight.dim(1), nullptr};
  const Array blocks = source.like({m.n, m.row_bytes()}, DType::uint8);
  run_here(&Table::make, source,
           QuantMake{m, static_cast<const float*>(source.raw()), static_cast<uint8_t*>(blocks.raw())});
  return quantized_weight(format, m.k, blocks);
}

Array quantized_blocks(const QuantizedWeight& w) {
  const QuantMatrix m = matrix_of(w);
  const Array blocks = w.data.like({w.n, m.row_bytes()});
  run_here(&Table::unpack, w.data, QuantUnpack{m, static_cast<uint8_t*>(blocks.raw())});
  return blocks;
}

Array quantized_rows(const QuantizedWeight& w, const Array& ids) {
  check_device("embedding", "ids", ids, "weight", w.data);
  const Array rows = checked_ids("embedding", "ids", ids, w.n);
  Shape shape = ids.shape();
  shape.push_back(w.k);
  const Array out = w.data.like(shape, DType::float32);
  if (Recording* const r = recording()) r->keep(w.data.storage_pointer());
  run_here(
      &Table::rows, w.data,
      QuantRows{matrix_of(w), ids.size(), static_cast<const int64_t*>(rows.raw()), static_cast<float*>(out.raw())});
  return out;
}

Array dequantized(const QuantizedWeight& w) {
  const Array out = w.data.like({w.n, w.k}, DType::float32);
  run_here(&Table::rows, w.data, QuantRows{matrix_of(w), w.n, nullptr, static_cast<float*>(out.raw())});
  return out;
}

static void check(const char* which, const Array& operand, const QuantizedWeight& w, const Shape& wanted) {
  if (!operand.defined()) return;
  check_device(kOp, which, operand, "weight", w.data);
  if (operand.dtype() != DType::float32)
    throw TypeError(cat("quantized_linear: ", which, " must be float32, got ", name(operand.dtype())));
  if (!(operand.shape() == wanted))
    throw ValueError(cat("quantized_linear: ", which, " must be ", wanted.str(), ", got ", operand.shape().str()));
}

static Array forward(const Array& x, const QuantizedWeight& w, const Epilogue& epilogue, const Shape& shape) {
  const QuantMatrix m = matrix_of(w);
  if (Recording* const r = recording()) r->keep(w.data.storage_pointer());
  const int64_t rows = rows_of(x), groups = m.width() / kQuantXGroup;
  const Array q = x.like({2, rows, m.width()}, DType::int8), scales = x.like({rows, groups});
  const Array wide = x.like({rows, groups}, DType::uint8), sums = x.like({rows, m.runs()}, DType::int32);
  const Array out = x.like(shape);
  const auto* numbers = static_cast<const float*>(x.raw());
  auto* q_to = static_cast<int8_t*>(q.raw());
  auto* scales_to = static_cast<float*>(scales.raw());
  auto* wide_to = static_cast<uint8_t*>(wide.raw());
  auto* sums_to = static_cast<int32_t*>(sums.raw());
  const QuantizeRows rounding = {m, rows, numbers, q_to, scales_to, wide_to, sums_to};
  auto* const out_to = static_cast<float*>(out.raw());
  const QuantProducts products = {m, rows, q_to, scales_to, wide_to, sums_to, out_to, epilogue};
  const auto compute = [&] {
    run_here(&Table::quantize, x, rounding);
    run_here(&Table::multiply, x, products);
  };
  if (Recording* const r = recording(); r && x.device().is_cpu()) {
    note_products(*r, rounding, products);
    const NotRecording noted;
    compute();
  } else {
    compute();
  }
  return out;
}

Tensor quantized_linear(const Tensor& x, const QuantizedWeight& w, const Tensor& bias, Activation activation,
                        const Tensor& residual) {
  if (has_narrow({x, bias, residual}))
    return quantized_linear(widened(x), w, widened(bias), activation, widened(residual));
  Shape shape = x.array().shape();
  if (shape.ndim() == 0 || shape.back() != w.k)
    throw ValueError(
        cat("quantized_linear: x must be (..., ", w.k, ") as weight is (", w.n, ", ", w.k, "), got ", shape.str()));
  check("x", x.array(), w, shape);
  shape[shape.ndim() - 1] = w.n;
  check("bias", bias.array(), w, Shape{w.n});
  check("residual", residual.array(), w, shape);
  const bool recorded = needs_recording({x, bias, residual});
  const Array before = recorded && activation != Activation::none ? x.array().like(shape) : Array();
  const Epilogue epilogue = {bias.array().raw(), activation, before.raw(), nullptr, residual.array().raw()};
  return record("quantized_linear", {x, bias, residual}, forward(x.array(), w, epilogue, shape),
                [w, before, activation](const Array& dout, const Needs& need) -> Gradients {
                  Shape x_shape = dout.shape();
                  x_shape[x_shape.ndim() - 1] = w.k;
                  const Array weight = need[0] ? dequantized(w) : dout.like({w.n, w.k});
                  const LinearGradient g = linear_backward(dout, dout.like(x_shape), weight, before, activation,
                                                           need[0], false, need[1], DType::float32);
                  return {g.dx, g.dbias, need[2] ? dout : Array()};
                });
}

}  // namespace pyformer
