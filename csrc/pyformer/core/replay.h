// Replay: what a function of Tensors computes, recorded once and made again with other numbers in the same shapes.
//
//   Replay replay(inputs, weights);         inputs: Tensors of the CPU that nothing else writes to
//   replay.begin(); out = f(inputs); replay.end(out);
//   if (replay.serves()) out = replay(others);
//
// The bits are those of f(others), as the same kernels do the same work. Nothing is recorded for gradients.
#pragma once
#include "pyformer/base/recording.h"
#include "pyformer/core/tensor.h"

namespace pyformer {

class Replay {
 public:
  // `weights` is what f reads besides, and what else it reads lives as long: calls know addresses only. `serves` says
  // whether the weights were written to, or got other memory, since.
  Replay(std::vector<Tensor> inputs, std::vector<Tensor> weights);
  ~Replay();
  Replay(const Replay&) = delete;

  // The calling thread records from now on. std::runtime_error if it does already.
  void begin();
  // ... until here; `out` is what was computed.
  void end(const Tensor& out);
  // Ends what an exception broke off.
  void cancel();

  // Why it can't be made again; "" if it can.
  const std::string& refused() const { return recording_.refused(); }
  // Whether it can, and the weights are as they were.
  bool serves() const;
  // Makes it again with the numbers of before; each call's op and how many ns it took.
  std::vector<std::pair<const char*, int64_t>> times() const { return recording_.timed_replay(); }

  // The result in memory of its own. ValueError or TypeError unless `inputs` are as those recorded.
  Tensor operator()(const std::vector<Tensor>& inputs) const;

 private:
  struct Seen {
    Tensor tensor;
    std::shared_ptr<Storage> storage;
    int64_t version;
  };
  std::vector<Array> inputs_;
  std::vector<Seen> weights_;
  Recording recording_;
  Array out_;
  bool is_open_ = false;
};

}  // namespace pyformer
