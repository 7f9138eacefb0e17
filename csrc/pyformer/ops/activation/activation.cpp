#include "pyformer/ops/activation/activation.h"

#include "pyformer/base/run.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/activation/activation_kernels.h"

namespace pyformer {

const char* name(Activation activation) { return listed_names()[int(activation)]; }

std::string activation_names() {
  std::string names;
  for (int i = 0; i < kActivationCount; ++i)
    names += cat(i == 0 ? "" : i + 1 < kActivationCount ? ", " : " or ", name(Activation(i)));
  return names;
}

Activation activation_from_name(const std::string& wanted) {
  for (int i = 0; i < kActivationCount; ++i)
    if (wanted == name(Activation(i))) return Activation(i);
  throw ValueError(cat("activation: expected ", activation_names(), ", got '", wanted, "'"));
}

Activation gelu_from_name(const std::string& approximate) {
  if (approximate == "none") return Activation::gelu;
  if (approximate == "tanh") return Activation::gelu_tanh;
  throw ValueError(cat("gelu: expected approximate to be 'none' or 'tanh', got '", approximate, "'"));
}

Array activation_forward(const char* op, const Array& x, Activation activation) {
  Array out = x.like(x.shape());
  run(op, &ActivationTable::forward, x,
      ActivationForward{activation, x.size(), x.raw(), out.raw(), out.bytes() >= kNontemporalToProducts});
  return out;
}

Array activation_backward(const char* op, const Array& dout, const Array& x, Activation activation) {
  Array dx = x.like(x.shape());
  run(op, &ActivationTable::backward, x,
      ActivationBackward{activation, x.size(), dout.raw(), x.raw(), dx.raw(), dx.bytes() >= kNontemporalToProducts});
  return dx;
}

Array activation_forward_(const char* op, const Array& x, Activation activation) {
  Array out = x.like(x.shape());
  run(op, &ActivationTable::both, x,
      ActivationBoth{activation, x.size(), x.raw(), out.raw(), out.bytes() >= kNontemporalToProducts});
  return out;
}

Tensor gelu(const Tensor& x, Activation form) {
  if (has_narrow({x})) return gelu(widened(x), form);
  return record("gelu", {x}, activation_forward("gelu", x.array(), form),
                [x = save(x), form](const Array& dout, const Needs&) -> Gradients {
                  return {activation_backward("gelu", dout, x(), form)};
                });
}

}  // namespace pyformer
