// pool, vector code for one instruction set.
#include "pyformer/ops/pool/pool_planes.h"
