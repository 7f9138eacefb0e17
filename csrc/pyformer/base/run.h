// Finds the kernel for a device and a dtype in an op's kernel tables and runs it: on the CPU in tasks that the thread
// pool shares out, on a device in one launch.
//
//   run("softmax", &SoftmaxTable::softmax_forward, x, args);      x: an Array, for its device and dtype
#pragma once
#include <array>

#include "pyformer/base/device.h"
#include "pyformer/base/error.h"
#include "pyformer/base/isa.h"
#include "pyformer/base/recording.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/base/workspace.h"

namespace pyformer {

// A table whose kernels exist once, as plain loops: `static constexpr bool plain = true`.
template <class Table>
concept PlainTable = requires { requires Table::plain; };

// A table of products of bfloat16, which sets such as amx have: `static constexpr bool products = true`.
template <class Table>
concept ProductTable = requires { requires Table::products; };

// Whether kernels of the op were compiled for a set.
template <class Table>
constexpr bool has_table(Isa isa) {
  if (PlainTable<Table>) return isa == Isa::ref;
  return is_built(isa) && (ProductTable<Table> || !is_product_set(isa));
}

template <class Table, Isa isa>
const Table* host_table() {
  if constexpr (has_table<Table>(isa)) return &KernelsOf<Table, isa>::table();
  return nullptr;
}

// The CPU's tables of an op, indexed by Isa; null where that set was not built or has none.
template <class Table>
const std::array<const Table*, kIsaCount>& host_tables() {
  static const std::array<const Table*, kIsaCount> tables = {
      host_table<Table, Isa::ref>(),    host_table<Table, Isa::portable>(),    host_table<Table, Isa::avx2>(),
      host_table<Table, Isa::avx512>(), host_table<Table, Isa::avx512_bf16>(), host_table<Table, Isa::amx>()};
  return tables;
}

// The entry of a set or, where it lacks it, of the set that it falls back to; null (0) where none has it.
template <class Table, class Entry>
Entry host_entry(PerDtype<Entry> Table::* row, Isa isa, DType dtype) {
  const auto& tables = host_tables<Table>();
  for (int i = int(isa); i >= 0; i = kIsas[i].falls_back_to)
    if (tables[size_t(i)])
      if (const Entry entry = (tables[size_t(i)]->*row)[dtype]) return entry;
  return {};
}

// The table of an op that a device's library brings; null: none.
template <class Table>
const Table* device_table(Device device) {
  return static_cast<const Table*>(device_api(device).table(Table::name, sizeof(Table)));
}

[[noreturn]] void no_kernel(const char* op, DType dtype, Device device, const bool (&on_host)[kDTypeCount],
                            const bool (&on_device)[kDTypeCount]);

// The entry for values of this dtype on this device. TypeError, with what there is, if there is none.
template <class Table, class Entry>
Entry find_entry(const char* op, PerDtype<Entry> Table::* row, Device device, DType dtype) {
  if (device.is_cpu()) {
    if (const Entry entry = host_entry(row, current_isa(), dtype)) return entry;
  } else if (const Table* table = device_table<Table>(device)) {
    if (const Entry entry = (table->*row)[dtype]) return entry;
  }
  bool on_host[kDTypeCount], on_device[kDTypeCount];
  const Table* table = device.is_cpu() ? nullptr : device_table<Table>(device);
  for (int d = 0; d < kDTypeCount; ++d) {
    on_host[d] = bool(host_entry(row, current_isa(), DType(d)));
    on_device[d] = table && (table->*row)[DType(d)];
  }
  no_kernel(op, dtype, device, on_host, on_device);
}

// Vector code that wants memory of its own for a task: `int64_t scratch_bytes(DType) const` and `void* scratch` in
// Args.
template <class Args>
concept WantsScratch = requires(const Args& args, DType dtype) { args.scratch_bytes(dtype); };

template <class Args>
void run_items(Kernel<Args> kernel, [[maybe_unused]] DType dtype, const Args& args, int64_t begin, int64_t end) {
  if constexpr (WantsScratch<Args>) {
    const Workspace scratch(args.scratch_bytes(dtype));
    Args own = args;
    own.scratch = scratch.data();
    kernel(own, begin, end);
  } else {
    kernel(args, begin, end);
  }
}

template <class Args>
void note_on_host(Recording& r, const char* op, Kernel<Args> kernel, DType dtype, const Args& args) {
  r.note(
      op,
      [](const Recording::Call& call, const void* noted, int64_t begin, int64_t end) {
        run_items(reinterpret_cast<Kernel<Args>>(call.kernel), call.dtype, *static_cast<const Args*>(noted), begin,
                  end);
      },
      reinterpret_cast<void (*)()>(kernel), dtype, args.items(), args.grain(), args);
}

template <class Args>
void run_on_host(const char* op, Kernel<Args> kernel, DType dtype, const Args& args) {
  if (Recording* const r = recording()) note_on_host(*r, op, kernel, dtype, args);
  parallel_for(args.items(), args.grain(),
               [&](int64_t begin, int64_t end) { run_items(kernel, dtype, args, begin, end); });
}

template <class Table, class Args>
void run(const char* op, PerDtype<Kernel<Args>> Table::* row, Device device, DType dtype, const Args& args) {
  const Kernel<Args> kernel = find_entry(op, row, device, dtype);
  const int64_t items = args.items();
  if (device.is_cpu()) {
    run_on_host(op, kernel, dtype, args);
  } else if (items > 0) {
    refuse_to_record("a kernel runs on another device");
    use(device);
    kernel(args, 0, items);
  }
}

template <class Table, class Args>
void run(const char* op, PerDtype<Program<Args>> Table::* row, Device device, DType dtype, const Args& args) {
  const Program<Args> program = find_entry(op, row, device, dtype);
  if (!device.is_cpu()) {
    refuse_to_record("a kernel runs on another device");
    use(device);
  } else if (Recording* const r = recording()) {
    r->note(
        op,
        [](const Recording::Call& call, const void* noted, int64_t, int64_t) {
          reinterpret_cast<Program<Args>>(call.kernel)(*static_cast<const Args*>(noted));
        },
        reinterpret_cast<void (*)()>(program), dtype, -1, 0, args);
  }
  const NotRecording pause;
  program(args);
}

// For x's device and dtype.
template <class Row, class Values, class Args>
void run(const char* op, Row row, const Values& x, const Args& args) {
  run(op, row, x.device(), x.dtype(), args);
}

}  // namespace pyformer
