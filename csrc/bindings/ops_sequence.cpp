// Ops of models other than transformers: recurrent networks (lstm, gru, cfc), retention, and the B-splines of KAN.
#include "bindings.h"
#include "pyformer/ops/bspline/bspline.h"
#include "pyformer/ops/cfc/cfc.h"
#include "pyformer/ops/gru/gru.h"
#include "pyformer/ops/lstm/lstm.h"
#include "pyformer/ops/retention/retention.h"

namespace pyformer::bindings {

using OptionalTensor = std::optional<Tensor>;

static void bind_recurrent(py::module_& ops) {
  ops.def(
      "lstm",
      [](const Tensor& x, const Tensor& w_ih, const Tensor& w_hh, const OptionalTensor& b_ih,
         const OptionalTensor& b_hh, const OptionalTensor& h0, const OptionalTensor& c0, bool reverse,
         const std::optional<Lengths>& lengths) {
        auto r = lstm(x, w_ih, w_hh, or_absent(b_ih), or_absent(b_hh), or_absent(h0), or_absent(c0), reverse,
                      lengths.value_or(Lengths()));
        return std::make_tuple(r[0], r[1], r[2]);
      },
      py::arg("x"), py::arg("w_ih"), py::arg("w_hh"), py::arg("b_ih") = py::none(), py::arg("b_hh") = py::none(),
      py::arg("h0") = py::none(), py::arg("c0") = py::none(), py::arg("reverse") = false,
      py::arg("lengths") = py::none(), NoGil(),
      R"(A long short-term memory over whole sequences, its weights laid out as torch's (gates i, f, g, o).

i, f, g, o = x_t w_ih^T + b_ih + h w_hh^T + b_hh; c = sigmoid(f) c + sigmoid(i) tanh(g); h = sigmoid(o) tanh(c).

Args:
    x: (B, T, C), float, T at least 1.
    w_ih: (4 H, C), x's dtype.
    w_hh: (4 H, H), x's dtype.
    b_ih, b_hh: (4 H,), x's dtype, or None.
    h0, c0: (B, H), x's dtype or, of 16-bit x, float32, the state before the first token; None for zeros.
    reverse: reads from the last token to the first.
    lengths: B integers from 1 to T, not with reverse: hT and cT are each row's state after so many tokens. out goes
        on to T, so that an infinity or NaN beyond a length makes gradients NaN. `pf.nn.LSTM` reads zeros there, and
        takes lengths in both directions.

Returns:
    (out, hT, cT): Tensors (B, T, H) of x's dtype, (B, H) and (B, H); the last two are the state after the last token
        read. They are float32 of 16-bit x, as are all sums on the way, so that a sequence taken in parts, each from
        the state before it, has the bits of the whole.

Raises:
    ValueError: a shape does not fit.
    TypeError: a dtype is not float, or differs from x's.

Source: Hochreiter, Schmidhuber 1997, "Long short-term memory"; Gers, Schmidhuber, Cummins 2000.

Example:
    >>> out, h, c = pf.ops.lstm(pf.ones(1, 3, 2), pf.ones(4, 2), pf.zeros(4, 1))
    >>> out.reshape(3), h.item() == out[0, 2, 0].item()
    (tensor([0.6082834 , 0.81140524, 0.8616615 ], dtype=float32), True))");
  ops.def(
      "gru",
      [](const Tensor& x, const Tensor& w_ih, const Tensor& w_hh, const OptionalTensor& b_ih,
         const OptionalTensor& b_hh, const OptionalTensor& h0, bool reverse) {
        auto r = gru(x, w_ih, w_hh, or_absent(b_ih), or_absent(b_hh), or_absent(h0), reverse);
        return std::make_tuple(r[0], r[1]);
      },
      py::arg("x"), py::arg("w_ih"), py::arg("w_hh"), py::arg("b_ih") = py::none(), py::arg("b_hh") = py::none(),
      py::arg("h0") = py::none(), py::arg("reverse") = false, NoGil(),
      R"(A gated recurrent unit over whole sequences, its weights laid out as torch's (gates r, z, n).

With a = x_t w_ih^T + b_ih and u = h w_hh^T + b_hh: r = sigmoid(a_r + u_r); z = sigmoid(a_z + u_z);
n = tanh(a_n + r u_n); h = (1 - z) n + z h.

Args:
    x: (B, T, C), float, T at least 1.
    w_ih: (3 H, C), x's dtype.
    w_hh: (3 H, H), x's dtype.
    b_ih, b_hh: (3 H,), x's dtype, or None.
    h0: (B, H), x's dtype or, of 16-bit x, float32, the state before the first token; None for zeros.
    reverse: reads from the last token to the first.

Returns:
    (out, hT): Tensors (B, T, H) of x's dtype and (B, H), the state after the last token read. That is float32 of
        16-bit x, as are all sums on the way, so that a sequence taken in parts, each from the state before it, has the
        bits of the whole.

Raises:
    ValueError: a shape does not fit.
    TypeError: a dtype is not float, or differs from x's.

Source: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder".

Example:
    >>> out, h = pf.ops.gru(pf.ones(1, 3, 2), pf.ones(3, 2), pf.zeros(3, 1))
    >>> out.reshape(3)
    tensor([0.11491495, 0.2161317 , 0.3052831 ], dtype=float32))");
  ops.def(
      "cfc",
      [](const Tensor& x, const Tensor& w_ih, const Tensor& w_hh, const OptionalTensor& b_ih,
         const OptionalTensor& b_hh, const OptionalTensor& elapsed, const OptionalTensor& h0, bool reverse) {
        auto r = cfc(x, w_ih, w_hh, or_absent(b_ih), or_absent(b_hh), or_absent(elapsed), or_absent(h0), reverse);
        return std::make_tuple(r[0], r[1]);
      },
      py::arg("x"), py::arg("w_ih"), py::arg("w_hh"), py::arg("b_ih") = py::none(), py::arg("b_hh") = py::none(),
      py::arg("elapsed") = py::none(), py::arg("h0") = py::none(), py::arg("reverse") = false, NoGil(),
      R"(A closed-form continuous-time (liquid) cell over whole sequences.

f, g, k = x_t w_ih^T + b_ih + h w_hh^T + b_hh; s = sigmoid(-f elapsed_t); h = s tanh(g) + (1 - s) tanh(k).

Args:
    x: (B, T, C), float, T at least 1.
    w_ih: (3 H, C), x's dtype.
    w_hh: (3 H, H), x's dtype.
    b_ih, b_hh: (3 H,), x's dtype, or None.
    elapsed: (B, T), x's dtype, at each observation the time since the one read before it (with reverse: until the next
        in time, which `pf.nn.CfC` works out); None for ones. It gets no gradient.
    h0: (B, H), x's dtype or, of 16-bit x, float32, the state before the first token; None for zeros.
    reverse: reads from the last token to the first.

Returns:
    (out, hT): Tensors (B, T, H) of x's dtype and (B, H), the state after the last token read. That is float32 of
        16-bit x, as are all sums on the way, so that a sequence taken in parts, each from the state before it, has the
        bits of the whole.

Raises:
    ValueError: a shape does not fit, or elapsed requires a gradient.
    TypeError: a dtype is not float, or differs from x's.

Source: Hasani et al. 2022, "Closed-form continuous-time neural networks".

Example:
    >>> out, h = pf.ops.cfc(pf.ones(1, 2, 2), pf.ones(3, 2), pf.zeros(3, 1), elapsed=pf.tensor([[1.0, 5.0]]))
    >>> out.reshape(2)
    tensor([0.9640276, 0.9640276], dtype=float32))");
}

void bind_sequence(py::module_& ops) {
  bind_recurrent(ops);
  ops.def(
      "retention",
      [](const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& decay, const OptionalTensor& state) {
        auto r = retention(q, k, v, decay, or_absent(state));
        return std::make_tuple(r[0], r[1]);
      },
      py::arg("q"), py::arg("k"), py::arg("v"), py::arg("decay"), py::arg("state") = py::none(), NoGil(),
      R"(out_t = q_t S_t with S_t = decay S_{t-1} + k_t^T v_t for each head: attention without a softmax, from a state.

It goes from token to token and never holds a (T, T) matrix. What it returns as the state is all that the past leaves:
a sequence taken in parts of any lengths, each from the state before it, has the bits of the whole. No token sees a
later one, not even its NaN.

Args:
    q, k: (B, T, H, D), float, of one dtype.
    v: (B, T, H, Dv), q's dtype.
    decay: (H,) in (0, 1], q's dtype. It gets no gradient.
    state: (B, H, D, Dv), float64 as an earlier call returned it, or of q's dtype; None for zeros.

Returns:
    (out, state): Tensors (B, T, H, Dv) of q's dtype and (B, H, D, Dv), the state after the last token. The state is
        float64 for any q, as are all sums on the way: rounded it would not continue as the whole does, and with a
        decay near 1 it is a long running sum.

Raises:
    ValueError: a shape does not fit, or a decay is not in (0, 1].
    TypeError: a dtype is not float, or differs from q's.

Source: Sun et al. 2023, "Retentive Network", eq. 6 and 7.

Example:
    >>> q = k = v = pf.ones(1, 3, 1, 1)
    >>> out, state = pf.ops.retention(q, k, v, pf.tensor([0.5]))
    >>> out.reshape(3), state.reshape(1)
    (tensor([1.  , 1.5 , 1.75], dtype=float32), tensor([1.75], dtype=float64)))");
  ops.def(
      "bspline",
      [](const Tensor& x, double low, double high, int64_t intervals, int64_t order) {
        return bspline(x, {low, high, intervals, order});
      },
      py::arg("x"), py::arg("low") = -1.0, py::arg("high") = 1.0, py::arg("intervals") = 5, py::arg("order") = 3,
      NoGil(),
      R"(The values at x of the B-splines of degree `order` on a uniform grid over [low, high].

Args:
    x: (..., n), float.
    low, high: the ends of the grid. The knots go on for `order` cells on both sides.
    intervals: cells of the grid, at least 1.
    order: the degree, 1 to 8.

Returns:
    Tensor (..., n, intervals + order) of x's dtype; the last axis adds up to 1 within [low, high).

Raises:
    ValueError: low is not below high, or intervals or order is out of range.
    TypeError: x is not a float tensor.

Source: de Boor 1972, "On calculating with B-splines"; Liu et al. 2024, "KAN", section 2.2.

Example:
    >>> pf.ops.bspline(pf.tensor([0.0, 0.5]), low=0.0, high=1.0, intervals=2, order=1)
    tensor([[1., 0., 0.],
            [0., 1., 0.]], dtype=float32))");
}

}  // namespace pyformer::bindings
