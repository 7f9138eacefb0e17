#include "pyformer/cuda/emulated_count.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <tuple>
#include <unordered_set>

namespace pyformer::emulated {

namespace {

constexpr uint64_t kBankBytes = 4, kBanks = 32, kWavefrontBytes = kBankBytes * kBanks, kSectorBytes = 32;

// One access of a warp.
struct Access {
  unsigned bytes = 0, lanes = 0;  // of a lane; that came
  uint64_t address[kWarp] = {};
  bool present[kWarp] = {};
};
using AtPlace = std::tuple<unsigned, bool, const char*, unsigned>;  // thread or warp, of shared memory, file, line

// Of the block that runs.
struct Accesses {
  std::map<AtPlace, unsigned> times;                    // that a thread was at a place
  std::map<std::pair<AtPlace, unsigned>, Access> open;  // of a warp, for one of these times
};
Accesses& accesses() {
  static thread_local Accesses a;
  return a;
}

// Sectors of global memory that this launch has accessed.
std::unordered_set<uint64_t>& touched() {
  static thread_local std::unordered_set<uint64_t> sectors;
  return sectors;
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
  touched().insert(sectors.begin(), sectors.end());
  counters.global_bytes += uint64_t(std::count(a.present, a.present + kWarp, true)) * a.bytes;
}

void count_one(const AtPlace& place, const Access& a) {
  ++counters.accesses;
  if (std::get<bool>(place))
    count_shared(a);
  else
    count_global(a);
}

}  // namespace

void count_access(const void* data, unsigned bytes, const Place& place) {
  if (!settings.count) return;
  Accesses& all = accesses();
  const uint64_t address = reinterpret_cast<uint64_t>(data);
  const bool shared = is_shared(address);
  const unsigned time = all.times[{self->id, shared, place.file, place.line}]++;
  const std::pair<AtPlace, unsigned> key = {{self->warp, shared, place.file, place.line}, time};
  Access& a = all.open[key];
  a.bytes = std::max(a.bytes, bytes);
  a.address[self->lane] = address;
  a.present[self->lane] = bytes > 0;
  if (++a.lanes < kWarp) return;
  count_one(key.first, a);
  all.open.erase(key);
}

void copy_uncounted(void* to, const void* from, unsigned bytes) { std::memcpy(to, from, bytes); }

void count_run(const void* data, uint64_t bytes) {
  const uint64_t first = reinterpret_cast<uint64_t>(data);
  const uint64_t last = (first + bytes - 1) / kSectorBytes;
  counters.sectors += last - first / kSectorBytes + 1;
  for (uint64_t sector = first / kSectorBytes; sector <= last; ++sector) touched().insert(sector);
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
  for (const auto& [key, access] : accesses().open) count_one(key.first, access);
  forget_accesses();
}

void forget_accesses() { accesses() = {}; }

std::vector<KernelCounters>& kernel_counters() {
  static thread_local std::vector<KernelCounters> all;
  return all;
}

void count_launch(const Launch& launch, const Counters& before) {
  counters.different_sectors += touched().size();
  touched().clear();
  const uint64_t address = reinterpret_cast<uint64_t>(launch.address);
  std::vector<KernelCounters>& all = kernel_counters();
  auto found = std::find_if(all.begin(), all.end(), [&](const auto& k) { return k.address == address; });
  if (found == all.end()) found = all.insert(all.end(), {address, 0, 0, 0, 0, {}});
  ++found->launches;
  found->blocks += uint64_t(launch.grid.x) * launch.grid.y * launch.grid.z;
  found->threads = launch.dim.x * launch.dim.y * launch.dim.z;
  found->shared_bytes = std::max(found->shared_bytes, uint64_t(launch.shared_bytes));
  const uint64_t *now = reinterpret_cast<const uint64_t*>(&counters),
                 *then = reinterpret_cast<const uint64_t*>(&before);
  uint64_t* sums = reinterpret_cast<uint64_t*>(&found->counters);
  for (size_t i = 0; i < sizeof(Counters) / sizeof(uint64_t); ++i) sums[i] += now[i] - then[i];
}

}  // namespace pyformer::emulated
