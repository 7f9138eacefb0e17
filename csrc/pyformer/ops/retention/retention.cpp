#include "pyformer/ops/retention/retention.h"

#include "pyformer/base/dispatch.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/ops/matmul/gemm.h"

namespace pyformer {

namespace {

constexpr int64_t L = kRetentionChunk;

struct Sizes {
  int64_t B, T, H, D, Dv, chunks;
};

void check_float(const char* which, const Array& array, const Array& q) {
  if (array.defined() && array.dtype() != q.dtype())
    throw TypeError(cat("retention: ", which, " must be ", name(q.dtype()), " as q is, got ", name(array.dtype())));
}
void check_shape(const char* which, const char* letters, const Array& array, const Shape& expected) {
  if (array.defined() && !(array.shape() == expected))
    throw ValueError(
        cat("retention: ", which, " must be ", letters, " = ", expected.str(), ", got ", array.shape().str()));
}

Sizes check(const Array& q, const Array& k, const Array& v, const Array& decay, const Array& state) {
  float_index("retention", q.dtype());
  check_float("k", k, q);
  check_float("v", v, q);
  check_float("decay", decay, q);
  check_float("state", state, q);
  if (q.ndim() != 4) throw ValueError(cat("retention: q must be (B, T, H, D), got ", q.shape().str()));
  if (v.ndim() != 4) throw ValueError(cat("retention: v must be (B, T, H, Dv), got ", v.shape().str()));
  const Sizes s = {q.dim(0), q.dim(1), q.dim(2), q.dim(3), v.dim(3), q.dim(1) / L + (q.dim(1) % L != 0)};
  check_shape("k", "(B, T, H, D)", k, q.shape());
  check_shape("v", "(B, T, H, Dv)", v, {s.B, s.T, s.H, s.Dv});
  check_shape("decay", "(H,)", decay, {s.H});
  check_shape("state", "(B, H, D, Dv)", state, {s.B, s.H, s.D, s.Dv});
  return s;
}

// (H, L + 1): decay^0 ... decay^L.
template <class T>
Array powers_of(const Array& decay) {
  const int64_t H = decay.size();
  const Array powers = Array::empty({H, L + 1}, decay.dtype());
  in_default_float_mode([&] {
    for (int64_t h = 0; h < H; ++h) {
      const double g = double(decay.data<T>()[h]);
      if (!(g > 0 && g <= 1)) throw ValueError(cat("retention: decay must be in (0, 1], got ", g, " for head ", h));
      double power = 1;
      for (int64_t i = 0; i <= L; ++i, power *= g) powers.data<T>()[h * (L + 1) + i] = T(power);
    }
  });
  return powers;
}

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
template <class T>
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
  gemm(current_isa(), g);
}

// out_i = factor_i x_i, factor_i `step` elements apart (0: one for all)
template <class T>
void scale_rows(int64_t rows, int64_t cols, const Matrix<T>& x, const T* factor, int64_t step, const Matrix<T>& out) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t c = 0; c < cols; ++c) out.data[i * out.stride + c] = x.data[i * x.stride + c] * factor[i * step];
}

// a * M
template <class T>
void decay_scores(int64_t l, const Matrix<T>& a, const T* powers) {
  for (int64_t i = 0; i < l; ++i) {
    T* row = a.data + i * a.stride;
    for (int64_t j = 0; j <= i; ++j) row[j] = row[j] * powers[i - j];
    for (int64_t j = i + 1; j < l; ++j) row[j] = T(0);
  }
}

template <class T>
struct Head {  // one (batch, head)
  const Sizes& s;
  int64_t b, h;
  Matrix<T> rows(const Array& a, int64_t start) const {  // tokens from start on of (B, T, H, n)
    const int64_t n = a.dim(3);
    return {a.data<T>() + ((b * s.T + start) * s.H + h) * n, s.H * n};
  }
  Matrix<T> state(const Array& states, int64_t chunk) const {
    return {states.data<T>() + ((b * s.H + h) * (s.chunks + 1) + chunk) * s.D * s.Dv, s.Dv};
  }
  Matrix<T> only_state(const Array& state) const { return {state.data<T>() + (b * s.H + h) * s.D * s.Dv, s.Dv}; }
};

template <class T>
Matrix<T> scratch(Array& memory, int64_t rows, int64_t cols) {
  memory = Array::empty({rows, cols}, DTypeOf<T>::value);
  return {memory.data<T>(), cols};
}

template <class T, class Body>
void for_each_head(const Sizes& s, const Body& body) {
  parallel_for(checked_multiply(s.B, s.H), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(Head<T>{s, i / s.H, i % s.H});
  });
}

template <class T>
void forward(const Sizes& s, const Array& q, const Array& k, const Array& v, const Array& powers_of_heads,
             const Array& state, const RetentionResult& r) {
  if (r.out.size() == 0 && r.state.size() == 0) return;
  for_each_head<T>(s, [&](const Head<T>& head) {
    Array memory[2];
    const Matrix<T> scores = scratch<T>(memory[0], L, L), scaled = scratch<T>(memory[1], L, s.D);
    const T* powers = powers_of_heads.data<T>() + head.h * (L + 1);
    const Matrix<T> first = head.state(r.states, 0);
    for (int64_t i = 0; i < s.D * s.Dv; ++i) first.data[i] = state.defined() ? head.only_state(state).data[i] : T(0);
    for (int64_t chunk = 0; chunk < s.chunks; ++chunk) {
      const int64_t start = chunk * L, l = std::min(L, s.T - start);
      const Matrix<T> qs = head.rows(q, start), ks = head.rows(k, start), vs = head.rows(v, start);
      const Matrix<T> out = head.rows(r.out, start);
      const Matrix<T> before = head.state(r.states, chunk), after = head.state(r.states, chunk + 1);
      multiply(l, l, s.D, plain(qs), transposed(ks), scores);
      decay_scores(l, scores, powers);
      multiply(l, s.Dv, l, plain(scores), plain(vs), out);
      scale_rows(l, s.D, qs, powers + 1, 1, scaled);
      multiply(l, s.Dv, s.D, plain(scaled), plain(before), out, true);
      scale_rows(l, s.D, ks, powers + l - 1, -1, scaled);
      scale_rows(s.D, s.Dv, before, powers + l, 0, after);
      multiply(s.D, s.Dv, l, transposed(scaled), plain(vs), after, true);
    }
    const Matrix<T> last = head.state(r.states, s.chunks);
    std::copy(last.data, last.data + s.D * s.Dv, head.only_state(r.state).data);
  });
}

// For each chunk from the last, with A = (q k^T) * M, dA = (dout v^T) * M, dS' the gradient of the state after it,
// and rows q+ = diag(g^(i + 1)) q, dout+ likewise, k- = diag(g^(l - 1 - j)) k, v- likewise
//   (1) dq = dA k + dout+ S^T       (3) dv = A^T dout + k- dS'
//   (2) dk = dA^T q + v- dS'^T      (4) dS = g^l dS' + q+^T dout
template <class T>
void backward(const Sizes& s, const Array& dout, const Array& dstate, const Array& q, const Array& k, const Array& v,
              const Array& powers_of_heads, const Array& states, const RetentionGradient& g) {
  if (g.dq.size() == 0 && g.dv.size() == 0 && g.dstate.size() == 0) return;
  for_each_head<T>(s, [&](const Head<T>& head) {
    Array memory[4];
    const Matrix<T> a = scratch<T>(memory[0], L, L), da = scratch<T>(memory[1], L, L);
    const Matrix<T> keys = scratch<T>(memory[2], L, s.D), values = scratch<T>(memory[3], L, s.Dv);
    const T* powers = powers_of_heads.data<T>() + head.h * (L + 1);
    const Matrix<T> ds = head.only_state(g.dstate), ds_last = head.only_state(dstate);
    std::copy(ds_last.data, ds_last.data + s.D * s.Dv, ds.data);
    for (int64_t chunk = s.chunks - 1; chunk >= 0; --chunk) {
      const int64_t start = chunk * L, l = std::min(L, s.T - start);
      const Matrix<T> qs = head.rows(q, start), ks = head.rows(k, start), vs = head.rows(v, start);
      const Matrix<T> d = head.rows(dout, start), state = head.state(states, chunk);
      const Matrix<T> dq = head.rows(g.dq, start), dk = head.rows(g.dk, start), dv = head.rows(g.dv, start);
      multiply(l, l, s.D, plain(qs), transposed(ks), a);
      decay_scores(l, a, powers);
      multiply(l, l, s.Dv, plain(d), transposed(vs), da);
      decay_scores(l, da, powers);
      multiply(l, s.D, l, plain(da), plain(ks), dq);  // (1)
      scale_rows(l, s.Dv, d, powers + 1, 1, values);
      multiply(l, s.D, s.Dv, plain(values), transposed(state), dq, true);
      multiply(l, s.D, l, transposed(da), plain(qs), dk);  // (2)
      scale_rows(l, s.Dv, vs, powers + l - 1, -1, values);
      multiply(l, s.D, s.Dv, plain(values), transposed(ds), dk, true);
      multiply(l, s.Dv, l, transposed(a), plain(d), dv);  // (3)
      scale_rows(l, s.D, ks, powers + l - 1, -1, keys);
      multiply(l, s.Dv, s.D, plain(keys), plain(ds), dv, true);
      scale_rows(l, s.D, qs, powers + 1, 1, keys);  // (4)
      scale_rows(s.D, s.Dv, ds, powers + l, 0, ds);
      multiply(s.D, s.Dv, l, transposed(keys), plain(d), ds, true);
    }
  });
}

}  // namespace

RetentionResult retention_forward(const Array& q, const Array& k, const Array& v, const Array& decay,
                                  const Array& state) {
  const Sizes s = check(q, k, v, decay, state);
  const DType dtype = q.dtype();
  const RetentionResult r = {Array::empty(v.shape(), dtype), Array::empty({s.B, s.H, s.D, s.Dv}, dtype),
                             Array::empty({s.B, s.H, s.chunks + 1, s.D, s.Dv}, dtype)};
  if (dtype == DType::float64)
    forward<double>(s, q, k, v, powers_of<double>(decay), state, r);
  else
    forward<float>(s, q, k, v, powers_of<float>(decay), state, r);
  return r;
}

RetentionGradient retention_backward(const Array& dout, const Array& dstate, const Array& q, const Array& k,
                                     const Array& v, const Array& decay, const Array& states) {
  const Sizes s = check(q, k, v, decay, {});
  const DType dtype = q.dtype();
  const RetentionGradient g = {Array::empty(q.shape(), dtype), Array::empty(k.shape(), dtype),
                               Array::empty(v.shape(), dtype), Array::empty({s.B, s.H, s.D, s.Dv}, dtype)};
  if (dtype == DType::float64)
    backward<double>(s, dout, dstate, q, k, v, powers_of<double>(decay), states, g);
  else
    backward<float>(s, dout, dstate, q, k, v, powers_of<float>(decay), states, g);
  return g;
}

std::vector<Tensor> retention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& decay,
                              const Tensor& state) {
  if (needs_recording({decay})) throw ValueError("retention: decay has no gradient; expected it detached");
  const RetentionResult r = retention_forward(q.array(), k.array(), v.array(), decay.array(), state.array());
  return record_outputs("retention", {q, k, v, state}, {r.out, r.state},
                        [q = save(q), k = save(k), v = save(v), decay = save(decay), states = r.states](
                            const std::vector<Array>& douts, const Needs& need) -> Gradients {
                          const RetentionGradient g =
                              retention_backward(douts[0], douts[1], q(), k(), v(), decay(), states);
                          return {g.dq, g.dk, g.dv, need[3] ? g.dstate : Array()};
                        });
}

}  // namespace pyformer
