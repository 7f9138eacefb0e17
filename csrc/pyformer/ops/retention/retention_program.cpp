// How the CPU shares retention out to threads: a task owns a (batch, head) and walks its chunks.
#include <algorithm>

#include "pyformer/base/run.h"
#include "pyformer/core/shape.h"
#include "pyformer/ops/matmul/gemm.h"
#include "pyformer/ops/retention/retention_kernels.h"

namespace pyformer {

namespace {
constexpr int64_t L = kRetentionChunk;

// A row-major matrix within a larger one.
template <class T>
struct Matrix {
  T* data;
  int64_t stride;
};

template <class T>
Operand plain(const Matrix<T>& a) {
  return {a.data, a.stride, false};
}
template <class T>
Operand transposed(const Matrix<T>& a) {
  return {a.data, a.stride, true};
}

// c (m, n) = a b, or c += a b
template <Isa isa, class T>
void multiply(int64_t m, int64_t n, int64_t k, const Operand& a, const Operand& b, const Matrix<T>& c,
              bool add = false) {
  Gemm g;
  g.dtype = DTypeOf<T>::value;
  g.m = m;
  g.n = n;
  g.k = k;
  g.a = a;
  g.b = b;
  g.c = c.data;
  g.c_stride = c.stride;
  g.epilogue.residual = add ? c.data : nullptr;
  gemm(isa, g);
}

const RetentionPartsTable& parts() { return KernelsOf<RetentionPartsTable, Isa::ref>::table(); }

// out_i = factor_i x_i, factor_i `step` elements apart (0: one for all)
template <class T>
void scale_rows(int64_t rows, int64_t cols, const Matrix<T>& x, const T* factor, int64_t step, const Matrix<T>& out) {
  parts().scale_rows[DTypeOf<T>::value]({rows, cols, x.data, x.stride, factor, step, out.data, out.stride}, 0, rows);
}

// a * M
template <class T>
void decay_scores(int64_t l, const Matrix<T>& a, const T* powers) {
  parts().decay_scores[DTypeOf<T>::value]({l, a.data, a.stride, powers}, 0, l);
}

template <class T>
struct Head {  // one (batch, head)
  const RetentionShape& s;
  int64_t b, h;
  Matrix<T> rows(const void* a, int64_t n, int64_t start) const {  // tokens from start on of (B, T, H, n)
    return {static_cast<T*>(const_cast<void*>(a)) + ((b * s.tokens + start) * s.heads + h) * n, s.heads * n};
  }
  Matrix<T> queries(const void* a, int64_t start) const { return rows(a, s.head_dim, start); }
  Matrix<T> values(const void* a, int64_t start) const { return rows(a, s.value_dim, start); }
  Matrix<T> state(const void* states, int64_t chunk) const {
    return {static_cast<T*>(const_cast<void*>(states)) +
                ((b * s.heads + h) * (s.chunks + 1) + chunk) * s.head_dim * s.value_dim,
            s.value_dim};
  }
  Matrix<T> only_state(const void* state) const {  // null stays null
    T* const data = static_cast<T*>(const_cast<void*>(state));
    return {data ? data + (b * s.heads + h) * s.head_dim * s.value_dim : nullptr, s.value_dim};
  }
  const T* powers(const void* all) const { return static_cast<const T*>(all) + h * (L + 1); }
  void copy_state(const Matrix<T>& from, const Matrix<T>& to) const {  // zeros where there is none
    scale_rows<T>(s.head_dim, s.value_dim, from, nullptr, 0, to);
  }
};

template <class T>
class Scratch {
 public:
  Scratch(int64_t rows, int64_t cols)
      : memory_(checked_multiply(checked_multiply(rows, cols), sizeof(T))), cols_(cols) {}
  Matrix<T> matrix() const { return {static_cast<T*>(memory_.data()), cols_}; }

 private:
  const Workspace memory_;
  const int64_t cols_;
};

template <class T, class Body>
void for_each_head(const RetentionShape& s, const Body& body) {
  parallel_for(checked_multiply(s.batch, s.heads), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(Head<T>{s, i / s.heads, i % s.heads});
  });
}

template <Isa isa, class T>
void forward(const RetentionForward& a) {
  const RetentionShape& s = a.shape;
  const int64_t D = s.head_dim, Dv = s.value_dim;
  if (s.batch * s.heads * Dv * (s.tokens + D) == 0) return;
  for_each_head<T>(s, [&](const Head<T>& head) {
    const Scratch<T> memory[] = {{L, L}, {L, D}};
    const Matrix<T> scores = memory[0].matrix(), scaled = memory[1].matrix();
    const T* powers = head.powers(a.powers);
    head.copy_state(head.only_state(a.state), head.state(a.states, 0));
    for (int64_t chunk = 0; chunk < s.chunks; ++chunk) {
      const int64_t start = chunk * L, l = std::min(L, s.tokens - start);
      const Matrix<T> qs = head.queries(a.q, start), ks = head.queries(a.k, start), vs = head.values(a.v, start);
      const Matrix<T> out = head.values(a.out, start);
      const Matrix<T> before = head.state(a.states, chunk), after = head.state(a.states, chunk + 1);
      multiply<isa>(l, l, D, plain(qs), transposed(ks), scores);
      decay_scores(l, scores, powers);
      multiply<isa>(l, Dv, l, plain(scores), plain(vs), out);
      scale_rows(l, D, qs, powers + 1, 1, scaled);
      multiply<isa>(l, Dv, D, plain(scaled), plain(before), out, true);
      scale_rows(l, D, ks, powers + l - 1, -1, scaled);
      scale_rows(D, Dv, before, powers + l, 0, after);
      multiply<isa>(D, Dv, l, transposed(scaled), plain(vs), after, true);
    }
    head.copy_state(head.state(a.states, s.chunks), head.only_state(a.last));
  });
}

// For each chunk from the last, with A = (q k^T) * M, dA = (dout v^T) * M, dS' the gradient of the state after it,
// and rows q+ = diag(g^(i + 1)) q, dout+ likewise, k- = diag(g^(l - 1 - j)) k, v- likewise
//   (1) dq = dA k + dout+ S^T       (3) dv = A^T dout + k- dS'
//   (2) dk = dA^T q + v- dS'^T      (4) dS = g^l dS' + q+^T dout
template <Isa isa, class T>
void backward(const RetentionBackward& args) {
  const RetentionShape& s = args.shape;
  const int64_t D = s.head_dim, Dv = s.value_dim;
  if (s.batch * s.heads * (s.tokens * (D + Dv) + D * Dv) == 0) return;
  for_each_head<T>(s, [&](const Head<T>& head) {
    const Scratch<T> memory[] = {{L, L}, {L, L}, {L, D}, {L, Dv}};
    const Matrix<T> a = memory[0].matrix(), da = memory[1].matrix();
    const Matrix<T> keys = memory[2].matrix(), values = memory[3].matrix();
    const T* powers = head.powers(args.powers);
    const Matrix<T> ds = head.only_state(args.dstate);
    head.copy_state(head.only_state(args.dlast), ds);
    for (int64_t chunk = s.chunks - 1; chunk >= 0; --chunk) {
      const int64_t start = chunk * L, l = std::min(L, s.tokens - start);
      const Matrix<T> qs = head.queries(args.q, start), ks = head.queries(args.k, start);
      const Matrix<T> vs = head.values(args.v, start), d = head.values(args.dout, start);
      const Matrix<T> state = head.state(args.states, chunk);
      const Matrix<T> dq = head.queries(args.dq, start), dk = head.queries(args.dk, start);
      const Matrix<T> dv = head.values(args.dv, start);
      multiply<isa>(l, l, D, plain(qs), transposed(ks), a);
      decay_scores(l, a, powers);
      multiply<isa>(l, l, Dv, plain(d), transposed(vs), da);
      decay_scores(l, da, powers);
      multiply<isa>(l, D, l, plain(da), plain(ks), dq);  // (1)
      scale_rows(l, Dv, d, powers + 1, 1, values);
      multiply<isa>(l, D, Dv, plain(values), transposed(state), dq, true);
      multiply<isa>(l, D, l, transposed(da), plain(qs), dk);  // (2)
      scale_rows(l, Dv, vs, powers + l - 1, -1, values);
      multiply<isa>(l, D, Dv, plain(values), transposed(ds), dk, true);
      multiply<isa>(l, Dv, l, transposed(a), plain(d), dv);  // (3)
      scale_rows(l, D, ks, powers + l - 1, -1, keys);
      multiply<isa>(l, Dv, D, plain(keys), plain(ds), dv, true);
      scale_rows(l, D, qs, powers + 1, 1, keys);  // (4)
      scale_rows(D, Dv, ds, powers + l, 0, ds);
      multiply<isa>(D, Dv, l, transposed(keys), plain(d), ds, true);
    }
  });
}
}  // namespace

template <Isa isa>
const RetentionTable& KernelsOf<RetentionTable, isa>::table() {
  static constexpr RetentionTable table = {{{forward<isa, float>, forward<isa, double>}},
                                           {{backward<isa, float>, backward<isa, double>}}};
  return table;
}
template struct KernelsOf<RetentionTable, Isa::ref>;
template struct KernelsOf<RetentionTable, Isa::portable>;
#if defined(PF_BUILT_X86)
template struct KernelsOf<RetentionTable, Isa::avx2>;
template struct KernelsOf<RetentionTable, Isa::avx512>;
#endif

}  // namespace pyformer
