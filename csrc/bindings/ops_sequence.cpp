// Ops of the sequence models that are not transformers: recurrences, retention, and the B-splines of KAN.
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
         const OptionalTensor& b_hh, const OptionalTensor& h0, const OptionalTensor& c0, bool reverse) {
        auto r = lstm(x, w_ih, w_hh, or_absent(b_ih), or_absent(b_hh), or_absent(h0), or_absent(c0), reverse);
        return std::make_tuple(r[0], r[1], r[2]);
      },
      py::arg("x"), py::arg("w_ih"), py::arg("w_hh"), py::arg("b_ih") = py::none(), py::arg("b_hh") = py::none(),
      py::arg("h0") = py::none(), py::arg("c0") = py::none(), py::arg("reverse") = false, NoGil(),
      R"(A long short-term memory over whole sequences, its weights laid out as torch's (gates i, f, g, o).

x: (B, T, C), T at least 1; w_ih: (4 H, C); w_hh: (4 H, H); b_ih, b_hh: (4 H,) or None; h0, c0: (B, H) or None for
zeros; float32 or float64 alike. reverse: reads from the last token to the first.
Returns (out (B, T, H), hT (B, H), cT (B, H)), the last two being the state after the last token read.
Raises ValueError for wrong shapes, TypeError for wrong dtypes.
Source: Hochreiter, Schmidhuber 1997; Gers, Schmidhuber, Cummins 2000.)");
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

x: (B, T, C), T at least 1; w_ih: (3 H, C); w_hh: (3 H, H); b_ih, b_hh: (3 H,) or None; h0: (B, H) or None for
zeros; float32 or float64 alike. reverse: reads from the last token to the first.
Returns (out (B, T, H), hT (B, H)), hT being the state after the last token read.
Raises ValueError for wrong shapes, TypeError for wrong dtypes. Source: Cho et al. 2014.)");
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

f, g, k = x_t w_ih.T + b_ih + h w_hh.T + b_hh; s = sigmoid(-f elapsed_t); h = s tanh(g) + (1 - s) tanh(k).
x: (B, T, C), T at least 1; w_ih: (3 H, C); w_hh: (3 H, H); b_ih, b_hh: (3 H,) or None; elapsed: (B, T) time since
the observation before, or None for ones, without gradient; h0: (B, H) or None for zeros; float32 or float64 alike.
Returns (out (B, T, H), hT (B, H)), hT being the state after the last token read.
Raises ValueError for wrong shapes or an elapsed that requires a gradient, TypeError for wrong dtypes.
Source: Hasani et al. 2022, "Closed-form continuous-time neural networks".)");
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
      R"(out_t = q_t S_t with S_t = decay S_{t-1} + k_t^T v_t for each head, in chunks and never holding (T, T).

q, k: (B, T, H, D); v: (B, T, H, Dv); decay: (H,) in (0, 1], without gradient; state: (B, H, D, Dv), what an earlier
call returned, or None for zeros; float32 or float64 alike.
Returns (out (B, T, H, Dv), state after the last token (B, H, D, Dv)).
Raises ValueError for wrong shapes or decays, TypeError for wrong dtypes.
Source: Sun et al. 2023, "Retentive Network", eq. 6 and 7.)");
  ops.def(
      "bspline",
      [](const Tensor& x, double low, double high, int64_t intervals, int64_t order) {
        return bspline(x, {low, high, intervals, order});
      },
      py::arg("x"), py::arg("low") = -1.0, py::arg("high") = 1.0, py::arg("intervals") = 5, py::arg("order") = 3,
      NoGil(),
      R"(The values at x of the B-splines of degree `order` on a uniform grid over [low, high].

x: (..., n), float32 or float64; intervals: cells of the grid; order: 1 to 8. The knots go on for `order` cells on
both sides. Returns (..., n, intervals + order), which adds up to 1 within [low, high).
Raises ValueError for a grid that is none, TypeError for a wrong dtype.
Source: de Boor 1972; Liu et al. 2024, "KAN: Kolmogorov-Arnold Networks", section 2.2.)");
}

}  // namespace pyformer::bindings
