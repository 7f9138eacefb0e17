#include "pyformer/cuda/emulated_count.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

namespace pyformer::emulated {

namespace {

constexpr uint64_t kBankBytes = 4, kBanks = 32, kWavefrontBytes = kBankBytes * kBanks, kSectorBytes = 32;

// One access of a warp.
struct Access {
  unsigned bytes = 0, lanes = 0;
  uint64_t address[kWarp] = {};
  bool present[kWarp] = {};
};
using AtPlace = std::tuple<unsigned, const char*, unsigned>;  // thread or warp, file, line

// Of the block that runs.
struct Accesses {
  std::map<AtPlace, unsigned> times;                    // that a thread was at a place
  std::map<std::pair<AtPlace, unsigned>, Access> open;  // of a warp, for one of these times
};
Accesses& accesses() {
  static thread_local Accesses a;
  return a;
}

bool is_shared(uint64_t address) {
  const uint64_t start = reinterpret_cast<uint64_t>(block->shared);
  return address >= start && address < start + block->shared_bytes;
}

// How often the banks are read for words that are wanted at once: as often as the busiest bank has different words.
uint64_t wavefronts_of(const std::set<uint64_t>& words) {
  unsigned in_bank[kBanks] = {}, most = 0;
  for (const uint64_t word : words) most = std::max(most, ++in_bank[word % kBanks]);
  return most;
}

// As many lanes go at once as 128 bytes hold.
void count_shared(const Access& a) {
  const unsigned at_once = unsigned(kWavefrontBytes / std::max<uint64_t>(a.bytes, kBankBytes));
  for (unsigned first = 0; first < kWarp; first += at_once) {
    std::set<uint64_t> words;
    for (unsigned lane = first; lane < first + at_once; ++lane)
      for (uint64_t b = 0; a.present[lane] && b < a.bytes; b += kBankBytes)
        words.insert((a.address[lane] + b) / kBankBytes);
    counters.wavefronts += wavefronts_of(words);
    counters.ideal_wavefronts += !words.empty();
  }
}

void count_global(const Access& a) {
  std::set<uint64_t> sectors;
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (!a.present[lane]) continue;
    sectors.insert(a.address[lane] / kSectorBytes);
    sectors.insert((a.address[lane] + a.bytes - 1) / kSectorBytes);
  }
  counters.sectors += sectors.size();
  counters.global_bytes += a.lanes * a.bytes;
}

void count_one(const Access& a) {
  const auto lane = std::find(a.present, a.present + kWarp, true) - a.present;
  if (is_shared(a.address[lane]))
    count_shared(a);
  else
    count_global(a);
}

}  // namespace

void count_access(const void* data, unsigned bytes, const Place& place) {
  if (!settings.count || !bytes) return;
  Accesses& all = accesses();
  const unsigned time = all.times[{self->id, place.file, place.line}]++;
  const std::pair<AtPlace, unsigned> key = {{self->warp, place.file, place.line}, time};
  Access& a = all.open[key];
  a.bytes = bytes;
  a.address[self->lane] = reinterpret_cast<uint64_t>(data);
  a.present[self->lane] = true;
  if (++a.lanes < kWarp) return;
  count_one(a);
  all.open.erase(key);
}

void count_run(const void* data, uint64_t bytes) {
  const uint64_t first = reinterpret_cast<uint64_t>(data);
  counters.sectors += (first + bytes - 1) / kSectorBytes - first / kSectorBytes + 1;
  counters.global_bytes += bytes;
}

void count_rows(const void* const (&rows)[8]) {
  std::set<uint64_t> words;
  for (const void* row : rows)
    for (uint64_t b = 0; b < 16; b += kBankBytes) words.insert((reinterpret_cast<uint64_t>(row) + b) / kBankBytes);
  counters.wavefronts += wavefronts_of(words);
  ++counters.ideal_wavefronts;
}

void count_rest() {
  for (const auto& [key, access] : accesses().open) count_one(access);
  forget_accesses();
}

void forget_accesses() { accesses() = {}; }

}  // namespace pyformer::emulated
