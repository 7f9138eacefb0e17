// The one piece of arithmetic the tape does itself: adding gradients.
#pragma once
#include "pyformer/core/array.h"

namespace pyformer {

// a + b (same shape and dtype), in the memory of whichever of them nobody else holds, else in new memory.
Array added(const Array& a, const Array& b);

// Ones of array's shape, in the dtype of its gradient.
Array ones_like(const Array& array);

}  // namespace pyformer
