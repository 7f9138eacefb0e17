// One layer in a C++ program: y = relu(x weight^T + bias), and the gradient of sum(y^2) with respect to weight.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <vector>

#include "pyformer/ops/ops.h"

using namespace pyformer;

static Tensor tensor(const Shape& shape, const std::vector<float>& values, bool requires_grad) {
  const Array array = Array::empty(shape, DType::float32, kCpu);
  std::copy(values.begin(), values.end(), array.data<float>());
  return Tensor(array, requires_grad);
}

static void print(const char* name, const Array& array) {
  std::printf("%s:", name);
  for (int64_t i = 0; i < array.size(); ++i) std::printf(" %g", array.data<float>()[i]);
  std::printf("\n");
}

int main() {
  try {
    const Tensor x = tensor({2, 3}, {1, 2, 3, -1, 0, 2}, false);
    const Tensor weight = tensor({2, 3}, {1, 0, 0.5f, -2, 1, 1}, true);
    const Tensor bias = tensor({2}, {0.5f, -3}, true);

    const Tensor y = linear(x, weight, bias, Activation::relu);  // forward
    const Tensor loss = sum(square(y), {}, false);
    backward(loss, Array());  // an undefined seed is 1

    print("y", y.array());
    print("loss", loss.array());
    print("dweight", weight.grad());
    print("dbias", bias.grad());
  } catch (const std::exception& error) {  // ValueError, TypeError, OutOfMemory: wrong arguments never crash
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
