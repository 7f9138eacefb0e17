#include "pyformer/core/tensor.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <queue>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "pyformer/base/thread_pool.h"
#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/checkpoint.h"

namespace pyformer {

struct Tensor::State {
  Array value;
  bool requires_grad = false;
  Array grad;
  std::shared_ptr<Node> node;
  int output = 0;
};

// One recorded op.
class Node {
 public:
  struct Input {
    std::shared_ptr<Node> node;           // the op that made this input ...
    int output = 0;                       // ... and which of its outputs it was,
    std::shared_ptr<Tensor::State> leaf;  // or the leaf it is; neither where no gradient is wanted
  };
  struct Output {
    Shape shape;
    DType dtype;
    Device device;
  };

  Node(const char* op, int64_t sequence) : op(op), sequence(sequence) {}
  ~Node();
  void let_go() {
    again = nullptr;
    values.clear();
    inputs.clear();
  }

  const char* const op;
  const int64_t sequence;
  std::vector<Input> inputs;
  std::vector<Output> outputs;
  MultiBackward backward;
  RecordAgain again;          // of a checkpoint, in place of backward ...
  std::vector<Saved> values;  // ... and what its inputs were
  std::atomic<bool> consumed{false};
};

// Destroys a chain of nodes without recursion, which would overflow the stack: each node hands its inputs to a list.
Node::~Node() {
  std::vector<std::shared_ptr<Node>> pending;
  const auto take_inputs = [&pending](Node& node) {
    for (Input& input : node.inputs)
      if (input.node) pending.push_back(std::move(input.node));
    node.inputs.clear();
  };
  take_inputs(*this);
  while (!pending.empty()) {
    std::shared_ptr<Node> node = std::move(pending.back());
    pending.pop_back();
    if (node.use_count() == 1) take_inputs(*node);
  }
}

static std::atomic<bool> bfloat16_parameters{false};
bool had_bfloat16_parameters() { return bfloat16_parameters.load(std::memory_order_relaxed); }
static void note_parameter(bool is_bfloat16) {
  if (is_bfloat16) bfloat16_parameters.store(true, std::memory_order_relaxed);
}

Tensor::Tensor(Array value, bool requires_grad) : state_(std::make_shared<State>()) {
  state_->value = std::move(value);
  if (requires_grad) set_requires_grad(true);
}

const Array& Tensor::array() const {
  static const Array undefined;
  return state_ ? state_->value : undefined;
}

const std::shared_ptr<Node>& Tensor::node() const {
  static const std::shared_ptr<Node> none;
  return state_ ? state_->node : none;
}

bool Tensor::requires_grad() const { return state_ && (state_->requires_grad || state_->node); }

void Tensor::set_requires_grad(bool on) {
  if (!is_leaf()) throw std::runtime_error("requires_grad: can only be set on a leaf; use detach() first");
  if (on && !is_float(dtype())) throw TypeError(cat("requires_grad: expected a float dtype, got ", name(dtype())));
  state_->requires_grad = on;
  note_parameter(on && dtype() == DType::bfloat16);
}

// Two threads' backward passes into one leaf are serialised. While it is held nothing may need Python's lock, which a
// thread that waits here may hold: loops don't poll for Ctrl-C, and no array is let go of.
static std::mutex grad_mutex;
[[maybe_unused]] static const int grad_mutex_survives_fork =
    pthread_atfork([] { grad_mutex.lock(); }, [] { grad_mutex.unlock(); }, [] { grad_mutex.unlock(); });

Array Tensor::grad() const {
  if (!state_) return {};
  std::lock_guard lock(grad_mutex);
  return state_->grad;
}

void Tensor::set_grad(Array grad) {
  if (grad.defined() && !(grad.shape() == shape()))
    throw ValueError(cat("grad: expected shape ", shape().str(), ", got ", grad.shape().str()));
  if (grad.defined() && grad.dtype() != gradient_dtype(dtype()))
    throw TypeError(cat("grad: expected ", name(gradient_dtype(dtype())), ", got ", name(grad.dtype())));
  check_device("grad", "the gradient", grad, "the tensor", array());
  std::lock_guard lock(grad_mutex);
  std::swap(state_->grad, grad);
}

void Tensor::set_array(Array value) {
  if (!is_leaf()) throw std::runtime_error("set_array: expected a leaf, got the result of a recorded operation");
  if (!(value.shape() == shape()))
    throw ValueError(cat("set_array: expected shape ", shape().str(), ", got ", value.shape().str()));
  if (grad().defined()) throw std::runtime_error("set_array: expected a tensor without a gradient, got one with it");
  if (state_->requires_grad && !is_float(value.dtype()))
    throw TypeError(cat("set_array: expected a float dtype, got ", name(value.dtype())));
  std::swap(state_->value, value);
  note_parameter(dtype() == DType::bfloat16);
}

static thread_local bool grad_mode = true;
bool grad_enabled() { return grad_mode; }
void set_grad_enabled(bool enabled) { grad_mode = enabled; }
GradMode::GradMode(bool enabled) : previous_(grad_mode) { grad_mode = enabled; }
GradMode::~GradMode() { grad_mode = previous_; }

bool needs_recording(TensorReferences inputs) {
  if (!grad_mode) return false;
  for (const Tensor& t : inputs)
    if (t.requires_grad()) return true;
  return false;
}

static std::atomic<int64_t> next_sequence{0};

std::vector<Tensor> record_node(const char* op, const Tensor* inputs, int count, std::vector<Array> outs,
                                MultiBackward backward) {
  std::vector<Tensor> results;
  results.reserve(outs.size());
  for (Array& out : outs) results.emplace_back(std::move(out));
  bool wanted = false;
  for (int i = 0; i < count; ++i) wanted = wanted || inputs[i].requires_grad();
  if (!grad_mode || !wanted) return results;

  auto node = std::make_shared<Node>(op, next_sequence.fetch_add(1, std::memory_order_relaxed));
  node->inputs.resize(size_t(count));
  for (int i = 0; i < count; ++i) {
    if (!inputs[i].requires_grad()) continue;
    Node::Input& input = node->inputs[size_t(i)];
    input.node = inputs[i].node();
    input.output = inputs[i].state_->output;
    if (!input.node) input.leaf = inputs[i].state_;
  }
  node->backward = std::move(backward);
  for (size_t i = 0; i < results.size(); ++i) {
    node->outputs.push_back({results[i].shape(), results[i].dtype(), results[i].array().device()});
    if (!is_float(results[i].dtype())) continue;
    results[i].state_->node = node;
    results[i].state_->output = int(i);
  }
  return results;
}

// Adds to a leaf's grad, which must not share memory with any other array: optimisers write to it.
static void accumulate_into_leaf(Array* slot, const Array& leaf, Array gradient) {
  const DeferInterrupts deferred;
  Array previous;  // lives until the mutex is free
  // The leaf may have moved since it was recorded.
  gradient = cast(gradient, gradient_dtype(leaf.dtype())).to(leaf.device());
  if (!gradient.owns_alone()) gradient = gradient.copy();
  std::lock_guard lock(grad_mutex);
  if (slot->defined()) {
    Array sum = added(*slot, gradient);
    previous = std::exchange(*slot, std::move(sum));
  } else {
    *slot = gradient;
  }
}

// One backward pass: where gradients go, and which nodes are run for them.
class BackwardPass {
 public:
  virtual ~BackwardPass() = default;
  void run(const std::vector<Tensor>& roots, std::vector<Array> seeds, bool keep);
  virtual bool wants(const Node::Input& input) const = 0;
  // Sees what a checkpoint stands for, as soon as it has been recorded.
  virtual void find_nodes_below(const std::vector<Tensor>&) {}
  // Sees a node before it is run. True if nothing below it is wanted.
  virtual bool ends_at(const Node&, const std::vector<Array>&) { return false; }
  virtual void at_leaf(const std::shared_ptr<Tensor::State>& leaf, Array gradient) = 0;

  static Node::Input input_of(const Tensor& tensor);
  static Tensor tensor_of(const Node::Input& input, const Array& value);
  static void keep_inputs(Node& node, const std::vector<Tensor>& inputs, RecordAgain again);
};

Node::Input BackwardPass::input_of(const Tensor& tensor) {
  if (!tensor.requires_grad()) return {};
  return {tensor.node(), tensor.state_->output, tensor.node() ? nullptr : tensor.state_};
}

Tensor BackwardPass::tensor_of(const Node::Input& input, const Array& value) {
  Tensor tensor(value);
  if (input.leaf) {
    tensor.state_ = input.leaf;
    return tensor;
  }
  tensor.state_->node = input.node;
  tensor.state_->output = input.output;
  return tensor;
}

void BackwardPass::keep_inputs(Node& node, const std::vector<Tensor>& inputs, RecordAgain again) {
  for (const Tensor& input : inputs) node.values.push_back(save(input));
  node.again = std::move(again);
}

std::vector<Tensor> record_checkpoint(const std::vector<Tensor>& inputs, std::vector<Array> outs, RecordAgain again) {
  std::vector<Tensor> results = record_node("checkpoint", inputs.data(), int(inputs.size()), std::move(outs), nullptr);
  for (const Tensor& result : results) {
    if (!result.node()) continue;
    BackwardPass::keep_inputs(*result.node(), inputs, std::move(again));
    break;
  }
  return results;
}

static void use_up(Node& node, bool keep) {
  if (keep ? node.consumed.load() : node.consumed.exchange(true))
    throw std::runtime_error(cat("backward: the graph below ", node.op, " was already used by an earlier backward"));
}

static std::vector<Tensor> recorded_again(const Node& node) {
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < node.inputs.size(); ++i)
    inputs.push_back(BackwardPass::tensor_of(node.inputs[i], node.values[i]()));
  std::vector<Tensor> outputs = node.again(inputs);
  if (outputs.size() != node.outputs.size())
    throw ValueError(cat("checkpoint: the function gave ", node.outputs.size(), " results, and then ", outputs.size()));
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Shape& first = node.outputs[i].shape;
    if (!(outputs[i].shape() == first))
      throw ValueError(
          cat("checkpoint: result ", i, " had shape ", first.str(), ", and then ", outputs[i].shape().str()));
  }
  return outputs;
}

static Gradients run_backward(Node& node, std::vector<Array> douts, const BackwardPass& pass, bool keep) {
  use_up(node, keep);
  Needs need;
  for (const Node::Input& input : node.inputs) need.flags.push_back(pass.wants(input));
  for (size_t i = 0; i < douts.size(); ++i)
    if (!douts[i].defined())
      douts[i] = Array::zeros(node.outputs[i].shape, node.outputs[i].dtype, node.outputs[i].device);
  Gradients gradients;
  try {
    gradients = node.backward(douts, need);
  } catch (const Interrupted&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const ValueError&) {
    throw;
  } catch (const TypeError&) {
    throw;
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(cat(node.op, ": ", error.what()));
  }
  if (!keep) node.backward = nullptr;
  if (gradients.size() != node.inputs.size())
    throw std::logic_error(
        cat(node.op, ": backward gave ", gradients.size(), " gradients for ", node.inputs.size(), " inputs"));
  for (size_t i = 0; i < gradients.size(); ++i)
    if (need[int(i)] && !gradients[i].defined())
      throw std::logic_error(cat(node.op, ": backward gave no gradient for input ", i));
  return gradients;
}

static Array checked_seed(const Tensor& root, Array seed) {
  if (!root.requires_grad())
    throw std::runtime_error("backward: this tensor does not depend on anything that requires grad");
  if (!seed.defined()) {
    if (root.array().size() != 1)
      throw ValueError(cat("backward: a gradient must be given for a tensor of shape ", root.shape().str()));
    return ones_like(root.array());
  }
  if (!(seed.shape() == root.shape()))
    throw ValueError(cat("backward: expected a gradient of shape ", root.shape().str(), ", got ", seed.shape().str()));
  if (seed.dtype() != root.dtype() && seed.dtype() != gradient_dtype(root.dtype()))
    throw TypeError(cat("backward: expected a gradient of ", name(root.dtype()), ", got ", name(seed.dtype())));
  check_device("backward", "the gradient", seed, "the tensor", root.array());
  return seed;
}

// The gradients that have arrived at nodes not yet visited; the latest node comes out first.
class Frontier {
 public:
  void deliver(const std::shared_ptr<Node>& node, int output, Array gradient) {
    gradient = cast(gradient, node->outputs[size_t(output)].dtype);
    auto [entry, is_new] = douts_.try_emplace(node.get());
    if (is_new) {
      entry->second.resize(node->outputs.size());
      ready_.push(node);
    }
    Array& slot = entry->second[size_t(output)];
    slot = slot.defined() ? added(slot, gradient) : std::move(gradient);
  }
  bool empty() const { return ready_.empty(); }
  std::pair<std::shared_ptr<Node>, std::vector<Array>> take() {
    std::shared_ptr<Node> node = ready_.top();
    ready_.pop();
    auto entry = douts_.extract(node.get());
    return {std::move(node), std::move(entry.mapped())};
  }

 private:
  struct Earlier {
    bool operator()(const std::shared_ptr<Node>& a, const std::shared_ptr<Node>& b) const {
      return a->sequence < b->sequence;
    }
  };
  std::priority_queue<std::shared_ptr<Node>, std::vector<std::shared_ptr<Node>>, Earlier> ready_;
  std::unordered_map<Node*, std::vector<Array>> douts_;
};

class IntoLeaves : public BackwardPass {
  bool wants(const Node::Input& input) const override { return input.node || input.leaf; }
  void at_leaf(const std::shared_ptr<Tensor::State>& leaf, Array gradient) override {
    accumulate_into_leaf(&leaf->grad, leaf->value, std::move(gradient));
  }
};

// To some tensors only. Nodes that lead to none of them are not run, and stay for another pass.
class IntoTensors : public BackwardPass {
 public:
  IntoTensors(const std::vector<Tensor>& roots, const std::vector<Tensor>& wanted)
      : wanted_(wanted), gradients_(wanted.size()) {
    for (const Tensor& t : wanted) {
      if (t.is_leaf())
        leaves_.try_emplace(t.state_.get());
      else
        nodes_.insert(t.node()->sequence);
    }
    find_nodes_below(roots);
  }

  bool wants(const Node::Input& input) const override {
    return input.node ? nodes_.count(input.node->sequence) > 0 : leaves_.count(input.leaf.get()) > 0;
  }
  bool ends_at(const Node& node, const std::vector<Array>& douts) override {
    for (size_t i = 0; i < wanted_.size(); ++i)
      if (wanted_[i].node().get() == &node) gradients_[i] = douts[size_t(wanted_[i].state_->output)];
    return ends_.count(node.sequence) > 0;
  }
  void at_leaf(const std::shared_ptr<Tensor::State>& leaf, Array gradient) override {
    gradient = cast(gradient, gradient_dtype(leaf->value.dtype())).to(leaf->value.device());
    Array& slot = leaves_.at(leaf.get());
    slot = slot.defined() ? added(slot, gradient) : std::move(gradient);
  }

  // Of the wanted tensors, in their order; each with memory of its own, as users may write into it.
  std::vector<Array> take_gradients() {
    for (size_t i = 0; i < wanted_.size(); ++i)
      if (wanted_[i].is_leaf()) gradients_[i] = leaves_.at(wanted_[i].state_.get());
    leaves_.clear();
    for (Array& gradient : gradients_)
      if (gradient.defined() && !gradient.owns_alone()) gradient = gradient.copy();
    return std::move(gradients_);
  }

 private:
  // Inputs are older than what is made of them, so that one pass from old to new finds all that lead to a wanted one.
  // A node that an earlier pass used up may lead anywhere: it is kept, so that running it raises. A checkpoint may,
  // too: where to is seen when it has been recorded again.
  void find_nodes_below(const std::vector<Tensor>& roots) override {
    std::vector<Node*> all;
    const auto see = [&](Node* node) {
      if (node && seen_.insert(node->sequence).second) all.push_back(node);
    };
    for (const Tensor& root : roots) see(root.node().get());
    for (size_t i = 0; i < all.size(); ++i)
      for (const Node::Input& input : all[i]->inputs) see(input.node.get());
    std::sort(all.begin(), all.end(), [](const Node* a, const Node* b) { return a->sequence < b->sequence; });
    for (Node* node : all) {
      const auto& inputs = node->inputs;
      const bool leads = (node->again && !node->consumed) ||
                         std::any_of(inputs.begin(), inputs.end(), [&](const auto& input) { return wants(input); });
      if (!leads && nodes_.count(node->sequence)) ends_.insert(node->sequence);
      if (leads || node->consumed) nodes_.insert(node->sequence);
    }
  }

  const std::vector<Tensor>& wanted_;
  std::vector<Array> gradients_;
  std::unordered_map<Tensor::State*, Array> leaves_;
  // Of nodes, their numbers: a checkpoint makes new ones meanwhile.
  std::unordered_set<int64_t> seen_;
  std::unordered_set<int64_t> nodes_;  // the wanted ones and all between them and the roots
  std::unordered_set<int64_t> ends_;   // wanted ones with nothing wanted below
};

void BackwardPass::run(const std::vector<Tensor>& roots, std::vector<Array> seeds, bool keep) {
  if (roots.size() != seeds.size())
    throw ValueError(cat("backward: ", roots.size(), " tensors against ", seeds.size(), " gradients"));
  for (size_t i = 0; i < roots.size(); ++i) seeds[i] = checked_seed(roots[i], std::move(seeds[i]));
  Frontier frontier;
  const auto deliver = [&](const Node::Input& input, Array gradient) {
    if (!wants(input)) return;
    if (input.node)
      frontier.deliver(input.node, input.output, std::move(gradient));
    else
      at_leaf(input.leaf, std::move(gradient));
  };
  for (size_t i = 0; i < roots.size(); ++i) deliver(input_of(roots[i]), std::move(seeds[i]));
  while (!frontier.empty()) {
    auto [node, douts] = frontier.take();
    if (ends_at(*node, douts)) continue;
    if (node->again) {
      use_up(*node, keep);
      const std::vector<Tensor> outputs = recorded_again(*node);
      find_nodes_below(outputs);
      bool is_needed = false;
      for (size_t i = 0; i < outputs.size(); ++i) {
        const Node::Input place = input_of(outputs[i]);
        if (!douts[i].defined() || !wants(place)) continue;
        is_needed = true;
        deliver(place, std::move(douts[i]));
      }
      if (!keep) is_needed ? node->let_go() : node->consumed.store(false);
      continue;
    }
    Gradients gradients = run_backward(*node, std::move(douts), *this, keep);
    std::vector<Node::Input> inputs;
    if (keep)
      inputs = node->inputs;
    else
      inputs.swap(node->inputs);
    for (size_t i = 0; i < inputs.size(); ++i) deliver(inputs[i], std::move(gradients[i]));
  }
}

void backward(const std::vector<Tensor>& roots, std::vector<Array> seeds, bool keep) {
  IntoLeaves().run(roots, std::move(seeds), keep);
}

std::vector<Array> gradients(const std::vector<Tensor>& roots, std::vector<Array> seeds,
                             const std::vector<Tensor>& wanted, bool keep) {
  IntoTensors pass(roots, wanted);
  pass.run(roots, std::move(seeds), keep);
  return pass.take_gradients();
}

void check_writable(const char* op, const Tensor& tensor) {
  if (!tensor.is_leaf() || (tensor.requires_grad() && grad_mode))
    throw std::runtime_error(
        cat(op, ": cannot write in place to a tensor whose gradient is recorded; use no_grad() or detach()"));
}

}  // namespace pyformer
