#include "pyformer/ops/in_place/in_place.h"

#include <algorithm>

#include "pyformer/base/run.h"
#include "pyformer/ops/in_place/in_place_kernels.h"

namespace pyformer {

// Only for messages: it is called where an error is raised.
static std::string element(const TensorList& list, size_t i) { return cat(list.name, "[", i, "]"); }

static void check_tensor(const char* op, const TensorList& first, const TensorList& list, size_t i) {
  const Tensor &t = list.tensors[i], &like = first.tensors[i];
  const bool is_absent = list.dtype == ListDType::masters && accumulator(like.dtype()) == like.dtype();
  if (is_absent && t.defined())
    throw ValueError(cat(op, ": ", element(list, i), " must be absent, as ", element(first, i), " is ",
                         name(like.dtype()), ", got a tensor"));
  if (is_absent) return;
  if (!t.defined()) throw TypeError(cat(op, ": ", element(list, i), " must be a tensor"));
  if (!(t.shape() == like.shape()))
    throw ValueError(cat(op, ": ", element(list, i), " must be ", like.shape().str(), " as ", element(first, i),
                         " is, got ", t.shape().str()));
  const DType wanted = list.dtype == ListDType::same ? like.dtype() : accumulator(like.dtype());
  if (t.dtype() != wanted)
    throw TypeError(cat(op, ": ", element(list, i), " must be ", name(wanted), " as ", element(first, i), " is",
                        wanted == like.dtype() ? "" : cat(" ", name(like.dtype())), ", got ", name(t.dtype())));
  const Device device = first.tensors[0].device();
  if (t.device() != device)
    throw TypeError(
        cat(op, ": ", element(list, i), " is on ", name(t.device()), ", ", element(first, 0), " on ", name(device)));
  if (list.is_written) check_writable(op, t);
}

static void check_match(const char* op, const TensorList& first, const TensorList& list) {
  if (list.tensors.size() != first.tensors.size())
    throw ValueError(cat(op, ": ", list.name, " must hold ", first.tensors.size(), " tensors as ", first.name,
                         " does, got ", list.tensors.size()));
  for (size_t i = 0; i < list.tensors.size(); ++i) {
    if (!first.tensors[i].defined()) throw TypeError(cat(op, ": ", element(first, i), " must be a tensor"));
    check_tensor(op, first, list, i);
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
      if (!a.defined()) continue;
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
      for (const Tensor& t : list.tensors)
        if (t.defined()) t.array().storage().written();
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

void* piece_at(const Tensor& tensor, const Piece& piece) {
  if (!tensor.defined()) return nullptr;
  return static_cast<char*>(tensor.array().raw()) + piece.begin * item_bytes(tensor.dtype());
}

// use(dtype, pieces, count) for the pieces of the tensors, to the end.
template <class Use>
static void write_pieces(const std::vector<Tensor>& tensors, const std::vector<Tensor>& sources, const Use& use) {
  if (tensors.empty()) return;
  PiecesByDType<WrittenPiece> pieces;
  for (const Piece& p : pieces_of(tensors))
    pieces.add(tensors[p.tensor].dtype(),
               {piece_at(tensors[p.tensor], p), sources.empty() ? nullptr : piece_at(sources[p.tensor], p), p.count});
  const DeferInterrupts to_the_end;
  pieces.for_each(tensors[0].device(), use);
}

static void scale_by(const std::vector<Tensor>& tensors, const double* factor, double number) {
  for (const Tensor& t : tensors)
    if (!is_float(t.dtype())) throw TypeError(cat("scale_: expected tensors of float dtypes, got ", name(t.dtype())));
  begin_writing("scale_", {{"tensors", tensors, true}});
  write_pieces(tensors, {}, [&](DType dtype, const WrittenPiece* pieces, int64_t count) {
    run("scale_", &InPlaceTable::scale, tensors[0].device(), dtype, ScalePieces{pieces, count, factor, number});
  });
}

void scale_(const std::vector<Tensor>& tensors, double factor) { scale_by(tensors, nullptr, factor); }

void scale_(const std::vector<Tensor>& tensors, const Array& factor) {
  scale_by(tensors, static_cast<const double*>(factor.raw()), 0);
}

void zero_(const std::vector<Tensor>& tensors) {
  begin_writing("zero_", {{"tensors", tensors, true}});
  write_pieces(tensors, {}, [&](DType dtype, const WrittenPiece* pieces, int64_t count) {
    run("zero_", &InPlaceTable::zero, tensors[0].device(), dtype, WritePieces{pieces, count});
  });
}

void copy_(const std::vector<Tensor>& tensors, const std::vector<Tensor>& sources) {
  begin_writing("copy_", {{"tensors", tensors, true}, {"sources", sources, false}});
  write_pieces(tensors, sources, [&](DType dtype, const WrittenPiece* pieces, int64_t count) {
    run("copy_", &InPlaceTable::copy, tensors[0].device(), dtype, WritePieces{pieces, count});
  });
}

}  // namespace pyformer
