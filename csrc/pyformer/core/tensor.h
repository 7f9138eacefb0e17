// Tensor: an Array that remembers how it was made, and the tape that takes gradients through it.
//
// An op on Tensors computes its Array result and hands it to record() with the op's backward, a closure
//   (const Array& dout, const Needs& need) -> Gradients        one Array per input, undefined where !need[i]
// that captures saved Arrays (save(x)), never Tensors: no reference cycles. A node's dout has its output's dtype; the
// closure gives an input's gradient in the input's dtype or in its accumulator (parameters' gradients: float32 for
// 16-bit parameters), and the tape converts: for a node to its output's dtype, for a leaf to gradient_dtype. backward()
// visits nodes by descending sequence number, without recursion, and frees each as it goes unless asked to keep them; a
// second backward through a node that was freed raises.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "pyformer/core/array.h"

namespace pyformer {

class Node;

using Gradients = std::vector<Array>;

// Which inputs of a node want a gradient.
struct Needs {
  std::vector<bool> flags;
  bool operator[](int i) const { return flags[size_t(i)]; }
};
using MultiBackward = std::function<Gradients(const std::vector<Array>& douts, const Needs& need)>;

class Tensor {
 public:
  Tensor() = default;  // undefined: an absent operand
  explicit Tensor(Array value, bool requires_grad = false);

  bool defined() const { return bool(state_); }
  const Array& array() const;  // undefined Array for an undefined Tensor
  const Shape& shape() const { return array().shape(); }
  int ndim() const { return array().ndim(); }
  int64_t dim(int axis) const { return array().dim(axis); }
  DType dtype() const { return array().dtype(); }
  Device device() const { return array().device(); }

  bool is_leaf() const { return !node(); }
  // Whether this is a leaf that wants its gradient, or the result of an op on a tensor that requires one.
  bool requires_grad() const;
  void set_requires_grad(bool on);  // leaves of a float dtype only
  Array grad() const;               // undefined if there is none
  void set_grad(Array grad);        // ValueError or TypeError unless it fits
  // Gives a leaf without a gradient another array of its shape: other memory, dtype or device. Not while another thread
  // computes with it. What was recorded before keeps the array that it saw.
  void set_array(Array value);
  // Equal for all handles of one tensor, and only for them, while one of them lives.
  const void* identity() const { return state_.get(); }
  Tensor detach() const { return Tensor(array()); }
  const std::shared_ptr<Node>& node() const;

 private:
  friend class Node;
  friend std::vector<Tensor> record_node(const char*, const Tensor*, int, std::vector<Array>, MultiBackward);
  friend class BackwardPass;
  friend class IntoLeaves;
  friend class IntoTensors;
  struct State;
  std::shared_ptr<State> state_;
};

// An Array kept for backward, with the version it had: reading it after a write in place raises.
class Saved {
 public:
  Saved() = default;
  explicit Saved(Array array) : array_(std::move(array)), version_(array_.defined() ? array_.storage().version() : 0) {}
  const Array& operator()() const {
    if (array_.defined() && array_.storage().version() != version_)
      throw std::runtime_error("a value needed for its gradient was changed in place after the forward pass");
    return array_;
  }

 private:
  Array array_;
  int64_t version_ = 0;
};
inline Saved save(const Array& array) { return Saved(array); }
inline Saved save(const Tensor& tensor) { return Saved(tensor.array()); }

// Has this process had a leaf of bfloat16 that wants its gradient, or that was given an array of it?
bool had_bfloat16_parameters();

bool grad_enabled();  // thread-local
void set_grad_enabled(bool enabled);
class GradMode {  // sets it for a scope
 public:
  explicit GradMode(bool enabled);
  ~GradMode();
  GradMode(const GradMode&) = delete;

 private:
  bool previous_;
};

// True if an op on these inputs must be recorded. It runs in every op, so it takes references: copies of Tensors would
// change their reference counts.
using TensorReferences = std::initializer_list<std::reference_wrapper<const Tensor>>;
bool needs_recording(TensorReferences inputs);

std::vector<Tensor> record_node(const char* op, const Tensor* inputs, int count, std::vector<Array> outs,
                                MultiBackward backward);

// The result of a differentiable op. `op` must be a string literal.
template <class Backward>
Tensor record(const char* op, const std::vector<Tensor>& inputs, Array out, Backward backward) {
  return record_node(op, inputs.data(), int(inputs.size()), {std::move(out)},
                     [backward = std::move(backward)](const std::vector<Array>& douts, const Needs& need) -> Gradients {
                       return backward(douts[0], need);
                     })[0];
}
template <class Backward>
Tensor record(const char* op, TensorReferences inputs, Array out, Backward backward) {
  if (!needs_recording(inputs)) return Tensor(std::move(out));
  return record(op, std::vector<Tensor>(inputs.begin(), inputs.end()), std::move(out), std::move(backward));
}
// An op with several outputs; the gradient of an output that was not used arrives as zeros.
inline std::vector<Tensor> record_outputs(const char* op, const std::vector<Tensor>& inputs, std::vector<Array> outs,
                                          MultiBackward backward) {
  return record_node(op, inputs.data(), int(inputs.size()), std::move(outs), std::move(backward));
}
// The result of an op that has no gradient (comparison, argmax, ...).
inline Tensor no_gradient(Array out) { return Tensor(std::move(out)); }

// Adds sum_i d(root_i)/d(leaf) * seed_i to the grad of every leaf under the roots. An undefined seed means 1 and needs
// a root of one element. With `keep` the nodes stay, with what they saved, for another pass.
void backward(const std::vector<Tensor>& roots, std::vector<Array> seeds, bool keep = false);
inline void backward(const Tensor& root, Array seed, bool keep = false) {
  backward(std::vector<Tensor>{root}, {std::move(seed)}, keep);
}
// The same sums for the wanted tensors, leaves or not, in their order; undefined where no root depends on one. No grad
// is touched. Only nodes between the roots and them are run.
std::vector<Array> gradients(const std::vector<Tensor>& roots, std::vector<Array> seeds,
                             const std::vector<Tensor>& wanted, bool keep = false);

// Raises unless writing to this tensor in place is allowed: not where a gradient is being recorded for it.
void check_writable(const char* op, const Tensor& tensor);

}  // namespace pyformer
