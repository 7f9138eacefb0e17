#include "pyformer/ops/cast/cast.h"

#include <cmath>
#include <limits>
#include <type_traits>

#include "pyformer/base/thread_pool.h"

namespace pyformer {

// Storage types are read and written as float.
template <class T>
static T readable(T x) {
  return x;
}
static float readable(BFloat16 x) { return to_float(x); }
static float readable(Float16 x) { return to_float(x); }

template <class To, class From>
static To converted(From x) {
  if constexpr (std::is_same_v<To, BFloat16>) {
    return to_bfloat16(float(x));
  } else if constexpr (std::is_same_v<To, Float16>) {
    return to_float16(float(x));
  } else if constexpr (std::is_same_v<To, bool>) {
    return x != From(0);
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    constexpr From limit = -From(std::numeric_limits<To>::min());
    if (x >= limit) return std::numeric_limits<To>::max();
    if (x < -limit) return std::numeric_limits<To>::min();
    return std::isnan(x) ? To(0) : To(x);
  } else {
    return To(x);
  }
}

template <class To, class From>
static void convert(const Array& x, Array& out) {
  const From* in = x.data<From>();
  To* to = out.data<To>();
  constexpr int64_t grain = int64_t(1) << 15;
  parallel_for(x.size(), grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] = converted<To>(readable(in[i]));
  });
}

template <class To>
static void convert_to(const Array& x, Array& out) {
  switch (x.dtype()) {
    case DType::float32:
      return convert<To, float>(x, out);
    case DType::float64:
      return convert<To, double>(x, out);
    case DType::bfloat16:
      return convert<To, BFloat16>(x, out);
    case DType::float16:
      return convert<To, Float16>(x, out);
    case DType::int64:
      return convert<To, int64_t>(x, out);
    case DType::int32:
      return convert<To, int32_t>(x, out);
    case DType::boolean:
      return convert<To, bool>(x, out);
  }
}

Array cast(const Array& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  Array out = Array::empty(x.shape(), dtype);
  if (x.size() == 0) return out;
  switch (dtype) {
    case DType::float32:
      convert_to<float>(x, out);
      break;
    case DType::float64:
      convert_to<double>(x, out);
      break;
    case DType::bfloat16:
      convert_to<BFloat16>(x, out);
      break;
    case DType::float16:
      convert_to<Float16>(x, out);
      break;
    case DType::int64:
      convert_to<int64_t>(x, out);
      break;
    case DType::int32:
      convert_to<int32_t>(x, out);
      break;
    case DType::boolean:
      convert_to<bool>(x, out);
      break;
  }
  return out;
}

Tensor cast(const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  Array out = cast(x.array(), dtype);
  if (!is_float(dtype)) return no_gradient(std::move(out));
  const DType gradient = is_compute_float(x.dtype()) ? x.dtype() : DType::float32;
  return record("cast", {x}, std::move(out),
                [gradient](const Array& dout, const Needs&) -> Gradients { return {cast(dout, gradient)}; });
}

}  // namespace pyformer
