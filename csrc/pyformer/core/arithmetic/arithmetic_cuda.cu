// The library's own arithmetic: arithmetic_ref.cpp with a thread for each element.
#include "pyformer/core/arithmetic/arithmetic_kernels.h"
#include "pyformer/core/arithmetic/convert.h"
#include "pyformer/cuda/kernel.h"

namespace pyformer::cuda {

template <class T>
struct FillElement {
  using Args = Fill;
  static DEVICE void at(const Args& a, int64_t i) {
    T value;
    memcpy(&value, &a.bits, sizeof(T));
    static_cast<T*>(a.out)[i] = value;
  }
};

template <class T>
struct AddElement {
  using Args = AddGradients;
  static DEVICE void at(const Args& a, int64_t i) { to<T>(a.out)[i] = in<T>(a.a)[i] + in<T>(a.b)[i]; }
};

template <class From>
struct CastElement {
  using Args = Cast;
  static DEVICE void at(const Args& a, int64_t i) {
    const auto x = widened(static_cast<const From*>(a.x)[i]);
    with_dtype(a.wanted, [&]<class To>() { static_cast<To*>(a.out)[i] = Convert<To, decltype(+x)>::of(x); });
  }
};

template <class T>
struct SumColumn {
  using Args = SumPartials;
  static DEVICE void at(const Args& a, int64_t c) {
    const T* partials = static_cast<const T*>(a.partials);
    T sum = a.chunks ? partials[c] : T(0);
    for (int64_t p = 1; p < a.chunks; ++p) sum = sum + partials[p * a.cols + c];
    static_cast<T*>(a.out)[c] = sum;
  }
};

// ---- checks -------------------------------------------------------------------------------------------------------

struct FoundIds {
  int64_t position[kThreads], value[kThreads], counted[kThreads];
};

// One block: each thread looks through its ids, the first thread through what they found.
static __global__ void __launch_bounds__(kThreads) check_ids(const CheckIds a) {
  FoundIds& found = shared_memory<FoundIds>();
  int64_t position = -1, value = 0, counted = 0;
  for (int64_t i = threadIdx.x; i < a.size; i += kThreads) {
    const int64_t id = a.ids[i];
    if (a.has_ignored && id == a.ignored) continue;
    ++counted;
    if (id >= 0 && id < a.limit) continue;
    if (position < 0) position = i, value = id;
    a.ids[i] = 0;
  }
  found.position[threadIdx.x] = position;
  found.value[threadIdx.x] = value;
  found.counted[threadIdx.x] = counted;
  __syncthreads();
  if (threadIdx.x) return;
  for (int t = 1; t < kThreads; ++t) {
    counted += found.counted[t];
    if (found.position[t] >= 0 && (position < 0 || found.position[t] < position))
      position = found.position[t], value = found.value[t];
  }
  a.offender[0] = position;
  if (position >= 0) a.offender[1] = value;
  if (a.counted) *a.counted = counted;
}

static void start_check_ids(const CheckIds& a, int64_t, int64_t) { start(check_ids, 1, kThreads, sizeof(FoundIds), a); }

// ---- strided copies -------------------------------------------------------------------------------------------------

template <class T>
struct CopyElement {
  using Args = StridedCopy;
  static DEVICE void at(const Args& a, int64_t i) {
    int64_t to = 0, from = 0;
    for (int axis = a.ndim - 1; axis >= 0; --axis) {
      const Divided d = divided(i, a.extents[axis]);
      i = d.quotient;
      to += d.rest * a.to_strides[axis];
      from += d.rest * a.from_strides[axis];
    }
    static_cast<T*>(a.to)[to] = static_cast<const T*>(a.from)[from];
  }
};
template <class T>
static void copy(const StridedCopy& a, int64_t, int64_t) {
  start_items<CopyElement<T>>(a, a.count(a.ndim));
}

template <>
const ArithmeticTable& cuda_table<ArithmeticTable>() {
  static constexpr ArithmeticTable table = {
      .fill = per_item_size<Kernel<Fill>>([]<class T>() -> Kernel<Fill> { return each_item<FillElement<T>>; }),
      .add = for_each_float<Kernel<AddGradients>>(
          []<class T>() -> Kernel<AddGradients> { return each_item<AddElement<T>>; }),
      .cast = {{each_item<CastElement<float>>, each_item<CastElement<double>>, each_item<CastElement<BFloat16>>,
                each_item<CastElement<Float16>>, each_item<CastElement<int64_t>>, each_item<CastElement<int32_t>>,
                each_item<CastElement<bool>>, each_item<CastElement<int8_t>>, each_item<CastElement<uint8_t>>}},
      .sum_partials = {{each_item<SumColumn<float>>, each_item<SumColumn<double>>}},
      .check_ids = {{nullptr, nullptr, nullptr, nullptr, start_check_ids}},
      .copy_rows = per_item_size<Kernel<StridedCopy>>([]<class T>() -> Kernel<StridedCopy> { return copy<T>; }),
      .copy_tiles = per_item_size<Kernel<StridedCopy>>([]<class T>() -> Kernel<StridedCopy> { return copy<T>; })};
  return table;
}

}  // namespace pyformer::cuda
