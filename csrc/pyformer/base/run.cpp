#include "pyformer/base/run.h"

namespace pyformer {

static std::string listed(const bool (&there)[kDTypeCount]) {
  std::string names;
  for (int d = 0; d < kDTypeCount; ++d)
    if (there[d]) names += (names.empty() ? "" : ", ") + std::string(name(DType(d)));
  return names;
}

void no_kernel(const char* op, DType dtype, Device device, const bool (&on_host)[kDTypeCount],
               const bool (&on_device)[kDTypeCount]) {
  const std::string here = listed(on_device), host = listed(on_host), where = name(device);
  throw TypeError(cat(op, ": no kernel for ", name(dtype), " on ", where,
                      " (there are: ", here.empty() ? "" : cat(here, " on ", where, "; "), host, " on cpu)"));
}

}  // namespace pyformer
