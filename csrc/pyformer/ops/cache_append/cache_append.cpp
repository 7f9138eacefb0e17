#include "pyformer/ops/cache_append/cache_append.h"

#include <cstring>

#include "pyformer/core/ids.h"

namespace pyformer {

void cache_append_(const Tensor& cache, const Tensor& fresh, const Tensor& positions) {
  check_writable("cache_append", cache);
  const Shape &to = cache.shape(), &from = fresh.shape();
  if (to.ndim() != 4 || from.ndim() != 4 || to[0] != from[0] || to[2] != from[2] || to[3] != from[3])
    throw ValueError(cat("cache_append: expected cache (B, Tmax, H, D) and fresh (B, T, H, D), got ", to.str(), " and ",
                         from.str()));
  if (cache.dtype() != fresh.dtype())
    throw TypeError(cat("cache_append: expected ", name(cache.dtype()), ", got ", name(fresh.dtype())));
  if (positions.ndim() != 1 || positions.dim(0) != to[0])
    throw ValueError(cat("cache_append: positions must be (B,) = (", to[0], ",), got ", positions.shape().str()));
  if (from[1] > to[1]) throw ValueError(cat("cache_append: ", from[1], " tokens do not fit in ", to[1]));
  if (grad_enabled() && fresh.requires_grad())
    throw std::runtime_error("cache_append: fresh requires a gradient, which a cache does not carry; use no_grad()");
  const Array starts = checked_ids("cache_append", "positions", positions.array(), to[1] - from[1] + 1);
  const int64_t token_bytes = to[2] * to[3] * item_bytes(cache.dtype()), row_bytes = from[1] * token_bytes;
  char* target = static_cast<char*>(cache.array().raw());
  const char* source = static_cast<const char*>(fresh.array().raw());
  if (fresh.array().size() == 0) return;
  if (source < target + cache.array().bytes() && target < source + fresh.array().bytes())
    throw ValueError("cache_append: fresh shares memory with cache");
  for (int64_t b = 0; b < to[0]; ++b)
    std::memcpy(target + (b * to[1] + starts.data<int64_t>()[b]) * token_bytes, source + b * row_bytes,
                size_t(row_bytes));
  cache.array().storage().written();
}

}  // namespace pyformer
