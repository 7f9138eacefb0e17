// quantized_linear: out = activation(x w^T + bias) + residual for a weight of 8 or fewer bits a number, computed in
// integers.
//
// x (..., k) float32, w (n, k) in blocks, bias (n,) or absent, residual as out (..., n) or absent, out float32.
// A weight is scale * (q - zero) + minimum, q an unsigned integer, scale and minimum those of its group of 16, 32 or 64
// consecutive k (quantized_linear_kernels.h lists the formats); the last group is filled up with zeros.
//
// The rule "int8", of which every format and every instruction set gives the same bits, for one row or many:
//   x in groups of 32 consecutive k: scale_x = amax / 127, qx = rint(x * (127 / amax)), ties to even. Groups whose amax
//     is above twice the mean of those of the row (their sum in order, by their number) have 32258 = 127 * 254 in the
//     place of 127, 16 bits: else one large number leaves few steps for the 31 beside it. amax below 2^-100 counts as
//     0: scale_x = 0, qx = 0. With an inf or NaN in it: scale_x = NaN, qx = 0.
//   sum = +0; for each run of 32 (of w's groups of 16: of 16) consecutive k, ascending:
//     sum = fma(sum_k qx (q - zero), scale * scale_x, sum), the inner sum exact, in int32
//     where the format has minima: sum = fma(sum_k qx, minimum * scale_x, sum)
// Then bias, activation, residual as linear's.
//
// Gradients: of x as if it had not been rounded, dx = dout w in float32 with w's numbers; of bias and residual. w has
// none. Saved for backward: w, and with an activation the value before it.
#pragma once
#include <string>

#include "pyformer/core/tensor.h"
#include "pyformer/ops/activation/activation.h"
#include "pyformer/ops/quantized_linear/quantized_linear_kernels.h"

namespace pyformer {

QuantFormat quant_format_from_name(const std::string& name);  // ValueError unless it is one

// The matrix (n, k): panels where the format has them, else blocks as files have them (uint8).
struct QuantizedWeight {
  QuantFormat format = QuantFormat::q8;
  int64_t n = 0, k = 0;
  Array data;
};

// Of blocks as files have them, uint8 (n, bytes of a row); the last block of a row may have more numbers than k asks.
QuantizedWeight quantized_weight(QuantFormat format, int64_t k, const Array& blocks);
// The numbers of a float matrix (n, k) in q8 or q8_0, scales amax / 127, or q4_1, scales and minima that err little.
QuantizedWeight quantize_weight(QuantFormat format, const Array& weight);
Array quantized_blocks(const QuantizedWeight& w);                  // as files have them
Array quantized_rows(const QuantizedWeight& w, const Array& ids);  // float32 (ids..., k)
Array dequantized(const QuantizedWeight& w);                       // float32 (n, k)

Tensor quantized_linear(const Tensor& x, const QuantizedWeight& w, const Tensor& bias,
                        Activation activation = Activation::none, const Tensor& residual = {});

}  // namespace pyformer
