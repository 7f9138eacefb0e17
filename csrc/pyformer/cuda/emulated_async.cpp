#include <utility>

#include "pyformer/cuda/emulated.h"
#include "pyformer/cuda/emulated_races.h"

namespace pyformer::emulated {

void Groups::add(std::function<void()> work) {
  const Unwatched unwatched;
  if (settings.async == Async::early) return work();
  open_.push_back(std::move(work));
}

void Groups::commit() {
  const Unwatched unwatched;
  closed_.push_back(std::move(open_));
  open_.clear();
}

void Groups::wait(unsigned pending) {
  const Unwatched unwatched;
  for (; closed_.size() > pending; closed_.pop_front())
    for (const auto& work : closed_.front()) work();
}

bool Groups::idle() const {
  for (const auto& group : closed_)
    if (!group.empty()) return false;
  return open_.empty();
}

void Groups::clear() {
  closed_.clear();
  open_.clear();
}

void arrives_later(std::function<void()> work) {
  const Unwatched unwatched;
  if (settings.async == Async::early) return work();
  block->arriving.push_back(std::move(work));
}

}  // namespace pyformer::emulated
