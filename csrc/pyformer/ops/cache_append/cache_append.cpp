#include "pyformer/ops/cache_append/cache_append.h"

#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/ops/cache_append/cache_append_kernels.h"

namespace pyformer {

void cache_append_(const Tensor& cache, const Tensor& fresh, const Tensor& positions) {
  check_writable("cache_append", cache);
  const Shape &to = cache.shape(), &from = fresh.shape();
  if (to.ndim() != 4 || from.ndim() != 4 || to[0] != from[0] || to[2] != from[2] || to[3] != from[3])
    throw ValueError(cat("cache_append: expected cache (B, Tmax, H, D) and fresh (B, T, H, D), got ", to.str(), " and ",
                         from.str()));
  const bool rounds = cache.dtype() == DType::bfloat16 && fresh.dtype() == DType::float32;
  const Array tokens = rounds ? cast(fresh.array(), DType::bfloat16) : fresh.array();
  check_alike("cache_append", "fresh", tokens, "cache", cache.array());
  check_device("cache_append", "positions", positions.array(), "cache", cache.array());
  if (positions.ndim() != 1 || positions.dim(0) != to[0])
    throw ValueError(cat("cache_append: positions must be (B,) = (", to[0], ",), got ", positions.shape().str()));
  if (from[1] > to[1]) throw ValueError(cat("cache_append: ", from[1], " tokens do not fit in ", to[1]));
  if (grad_enabled() && fresh.requires_grad())
    throw std::runtime_error("cache_append: fresh requires a gradient, which a cache does not carry; use no_grad()");
  const Array starts = checked_ids("cache_append", "positions", positions.array(), to[1] - from[1] + 1);
  if (tokens.size() == 0) return;
  const char* target = static_cast<const char*>(cache.array().raw());
  const char* source = static_cast<const char*>(tokens.raw());
  if (source < target + cache.array().bytes() && target < source + tokens.bytes())
    throw ValueError("cache_append: fresh shares memory with cache");
  const DeferInterrupts to_the_end;
  run("cache_append", &CacheAppendTable::append, cache.array(),
      CacheAppend{to[0], from[1], to[1], to[2] * to[3], static_cast<const int64_t*>(starts.raw()), tokens.raw(),
                  cache.array().raw()});
  cache.array().storage().written();
}

}  // namespace pyformer
