// The one piece of arithmetic the tape does itself: adding gradients.
#pragma once
#include "pyformer/core/array.h"

namespace pyformer {

// into = into + gradient (same shape and dtype), in place if nobody else holds into's storage.
void accumulate(Array& into, Array gradient);

Array ones_like(const Array& array);

}  // namespace pyformer
