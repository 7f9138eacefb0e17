// pool, plain loops; vector code is the same loops compiled for each instruction set.
#include "pyformer/ops/pool/pool_planes.h"
