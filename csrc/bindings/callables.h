// Compiled functions that bind as methods and know their types.
#pragma once
#include "bindings.h"

namespace pyformer::bindings {

// `compiled` with __annotations__, a method where it is a class's attribute; owner is its class, "ops" or "".
py::object with_types(py::handle compiled, const char* owner);

}  // namespace pyformer::bindings
