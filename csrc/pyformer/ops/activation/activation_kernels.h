// What the activations' kernels see. Work item of all: one element.
#pragma once
#include "pyformer/base/kernel.h"
#include "pyformer/ops/activation/activation_kind.h"

namespace pyformer {

const char* const* listed_names();  // of all activations; in activation_ref.cpp, which sees the list

struct ActivationForward {
  Activation activation;
  int64_t size;
  const void* x;
  void* out;
  bool nontemporal;  // out goes past the caches
  int64_t items() const { return size; }
  int64_t grain() const { return int64_t(1) << 14; }
};

struct ActivationBackward {
  Activation activation;
  int64_t size;
  const void* dout;
  const void* x;
  void* dx;
  bool nontemporal;  // dx goes past the caches
  int64_t items() const { return size; }
  int64_t grain() const { return int64_t(1) << 14; }
};

// out = activation(x), and x becomes activation'(x).
struct ActivationBoth {
  Activation activation;
  int64_t size;
  void* x;
  void* out;
  bool nontemporal;  // out goes past the caches
  int64_t items() const { return size; }
  int64_t grain() const { return int64_t(1) << 14; }
};

struct ActivationTable {
  static constexpr const char* name = "activation";
  PerDtype<Kernel<ActivationForward>> forward;
  PerDtype<Kernel<ActivationBackward>> backward;
  PerDtype<Kernel<ActivationBoth>> both;
};

}  // namespace pyformer
