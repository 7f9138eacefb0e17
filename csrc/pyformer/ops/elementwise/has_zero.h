// Whether integers hold a 0: read on the host, which waits for their device.
#pragma once
#include "pyformer/core/array.h"

namespace pyformer {

bool has_zero(const char* op, const Array& integers);

}  // namespace pyformer
