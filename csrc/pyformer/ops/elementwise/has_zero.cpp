#include "pyformer/ops/elementwise/has_zero.h"

#include "pyformer/base/run.h"
#include "pyformer/ops/elementwise/elementwise_kernels.h"

namespace pyformer {

bool has_zero(const char* op, const Array& integers) {
  const Array found = integers.like({1}, DType::int64);
  run(op, &ElementwiseTable::find_zero, integers,
      FindZero{integers.size(), integers.raw(), static_cast<int64_t*>(found.raw())});
  wait_for(found.device());
  refuse_to_record("numbers of an array are read");
  return *found.to(kCpu).data<int64_t>() != 0;
}

}  // namespace pyformer
