#include "pyformer/base/dispatch.h"
#include "pyformer/ops/in_place/in_place.h"

#include <cmath>
#include <cstring>

#include "pyformer/base/thread_pool.h"

namespace pyformer {

// Only for messages: it is called where an error is raised.
static std::string element(const TensorList& list, size_t i) { return cat(list.name, "[", i, "]"); }

static void check_match(const char* op, const TensorList& first, const TensorList& list) {
  if (list.tensors.size() != first.tensors.size())
    throw ValueError(cat(op, ": ", list.name, " must hold ", first.tensors.size(), " tensors as ", first.name,
                         " does, got ", list.tensors.size()));
  for (size_t i = 0; i < list.tensors.size(); ++i) {
    const Tensor &t = list.tensors[i], &like = first.tensors[i];
    if (!t.defined() || !like.defined()) throw TypeError(cat(op, ": ", element(list, i), " must be a tensor"));
    if (!(t.shape() == like.shape()))
      throw ValueError(cat(op, ": ", element(list, i), " must be ", like.shape().str(), " as ", element(first, i),
                           " is, got ", t.shape().str()));
    if (t.dtype() != like.dtype())
      throw TypeError(cat(op, ": ", element(list, i), " must be ", name(like.dtype()), " as ", element(first, i),
                          " is, got ", name(t.dtype())));
    if (list.is_written) check_writable(op, t);
  }
}

struct Extent {
  const char* begin;
  const char* end;
  bool is_written;
  const TensorList* list;
  size_t index;
};

static void check_overlaps(const char* op, const std::vector<TensorList>& lists) {
  std::vector<Extent> extents;
  for (const TensorList& list : lists)
    for (size_t i = 0; i < list.tensors.size(); ++i) {
      const Array& a = list.tensors[i].array();
      const char* begin = static_cast<const char*>(a.raw());
      if (a.bytes() > 0) extents.push_back({begin, begin + a.bytes(), list.is_written, &list, i});
    }
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
  const Extent *last = nullptr, *last_written = nullptr;  // those that reach furthest so far
  for (const Extent& e : extents) {
    const Extent* other = e.is_written ? last : last_written;
    if (other && e.begin < other->end)
      throw ValueError(cat(op, ": ", element(*e.list, e.index), " shares memory with ",
                           element(*other->list, other->index), ", and one of them is written"));
    if (!last || e.end > last->end) last = &e;
    if (e.is_written && (!last_written || e.end > last_written->end)) last_written = &e;
  }
}

void begin_writing(const char* op, const std::vector<TensorList>& lists) {
  const GradMode no_grad(false);
  for (const TensorList& list : lists) check_match(op, lists[0], list);
  check_overlaps(op, lists);
  check_interrupt();
  for (const TensorList& list : lists)
    if (list.is_written)
      for (const Tensor& t : list.tensors) t.array().storage().written();
}

std::vector<Piece> pieces_of(const std::vector<Tensor>& tensors, int64_t piece_size) {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const int64_t size = tensors[i].array().size();
    for (int64_t begin = 0; begin < size; begin += piece_size)
      pieces.push_back({i, begin, std::min(piece_size, size - begin)});
  }
  return pieces;
}

// body(piece) for every piece, to the end.
template <class Body>
static void for_each_piece(const std::vector<Tensor>& tensors, const Body& body) {
  const std::vector<Piece> pieces = pieces_of(tensors);
  const DeferInterrupts to_the_end;
  parallel_for(int64_t(pieces.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(pieces[size_t(i)]);
  });
}

template <class T>
static void scale_piece(T* x, int64_t count, T factor) {
  for (int64_t i = 0; i < count; ++i) x[i] = x[i] * factor;
}

void scale_(const std::vector<Tensor>& tensors, double factor) {
  for (const Tensor& t : tensors)
    if (!is_compute_float(t.dtype()))
      throw TypeError(cat("scale_: expected float32 or float64, got ", name(t.dtype())));
  begin_writing("scale_", {{"tensors", tensors, true}});
  float factor32;
  in_default_float_mode([&] { factor32 = float(factor); });
  for_each_piece(tensors, [&](const Piece& p) {
    const Array& a = tensors[p.tensor].array();
    if (a.dtype() == DType::float64)
      scale_piece(a.data<double>() + p.begin, p.count, factor);
    else
      scale_piece(a.data<float>() + p.begin, p.count, factor32);
  });
}

static char* bytes_at(const Tensor& t, int64_t element) {
  return static_cast<char*>(t.array().raw()) + element * item_bytes(t.dtype());
}

void zero_(const std::vector<Tensor>& tensors) {
  begin_writing("zero_", {{"tensors", tensors, true}});
  for_each_piece(tensors, [&](const Piece& p) {
    const Tensor& t = tensors[p.tensor];
    std::memset(bytes_at(t, p.begin), 0, size_t(p.count * item_bytes(t.dtype())));
  });
}

void copy_(const std::vector<Tensor>& tensors, const std::vector<Tensor>& sources) {
  begin_writing("copy_", {{"tensors", tensors, true}, {"sources", sources, false}});
  for_each_piece(tensors, [&](const Piece& p) {
    const Tensor& t = tensors[p.tensor];
    std::memcpy(bytes_at(t, p.begin), bytes_at(sources[p.tensor], p.begin), size_t(p.count * item_bytes(t.dtype())));
  });
}

}  // namespace pyformer
