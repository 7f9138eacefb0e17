#include <charconv>
#include <cstdlib>
#include <map>
#include <sstream>

#include "pyformer/cuda/emulated.h"

namespace pyformer::emulated {

namespace {

bool set(Settings& s, const std::string& word) {
  static const std::map<std::string, std::function<void(Settings&)>> words = {
      {"lowest", [](Settings& s) { s.order = Order::lowest; }},
      {"highest", [](Settings& s) { s.order = Order::highest; }},
      {"drawn", [](Settings& s) { s.order = Order::drawn; }},
      {"early", [](Settings& s) { s.async = Async::early; }},
      {"late", [](Settings& s) { s.async = Async::late; }},
      {"plain", [](Settings& s) { s.tensor_core = TensorCore::plain; }},
      {"ampere", [](Settings& s) { s.tensor_core = TensorCore::ampere; }},
      {"hopper", [](Settings& s) { s.tensor_core = TensorCore::hopper; }},
      {"sm80", [](Settings& s) { s.has_wgmma = false, s.shared_bytes = 163 << 10; }},
      {"sm86", [](Settings& s) { s.has_wgmma = false, s.shared_bytes = 99 << 10; }},
      {"sm90", [](Settings& s) { s.has_wgmma = true, s.shared_bytes = kMaxSharedBytes; }},
      {"count", [](Settings& s) { s.count = true; }},
  };
  if (word.starts_with("seed=")) {
    const char* const end = word.data() + word.size();
    return std::from_chars(word.data() + 5, end, s.seed).ptr == end && word.size() > 5;
  }
  const auto found = words.find(word);
  if (found != words.end()) found->second(s);
  return found != words.end();
}

Settings settings_at_start() {
  const char* words = std::getenv("PYFORMER_CUDA_EMULATED");
  try {
    return settings_of(words ? words : "");
  } catch (const std::invalid_argument& error) {
    settings_fault = error.what();
    return {};
  }
}

}  // namespace

std::string settings_fault;

Settings settings_of(const std::string& words) {
  Settings s;
  std::istringstream in(words);
  for (std::string word; std::getline(in, word, ',');)
    if (!set(s, word)) throw std::invalid_argument("PYFORMER_CUDA_EMULATED: \"" + word + "\" is no setting");
  return s;
}

Settings settings = settings_at_start();

}  // namespace pyformer::emulated
