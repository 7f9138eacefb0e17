// TEMPORARY: moved to core/arithmetic/arithmetic.h.
#pragma once
#include "pyformer/base/dispatch.h"
#include "pyformer/core/arithmetic/arithmetic.h"
