// QuantizedWeight: a matrix of 8 or fewer bits a number, and its products.
#include "bindings.h"
#include "pyformer/ops/quantized_linear/quantized_linear.h"

namespace pyformer::bindings {

static const QuantFormatRow& format_row(const QuantizedWeight& w) { return kQuantFormats[int(w.format)]; }

static QuantizedWeight weight_of(const std::string& format, int64_t width, const Tensor& blocks) {
  return quantized_weight(quant_format_from_name(format), width, blocks.array());
}

static Tensor product(const QuantizedWeight& w, const Tensor& x, const std::optional<Tensor>& bias,
                      const std::optional<std::string>& activation, const std::optional<Tensor>& residual) {
  return quantized_linear(x, w, or_absent(bias), activation_from_name(activation.value_or("none")),
                          or_absent(residual));
}

void bind_quantized(py::module_& core) {
  py::class_<QuantizedWeight> cls(core, "QuantizedWeight",
                                  R"(A matrix (n, k) whose numbers take 8 bits or fewer, and the products with it.

The products follow the rule "int8": x is rounded to 8 bits in groups of 32 consecutive numbers, the sum within a group
is exact, and groups are added in order, so a row has the same bits on every machine and whatever is computed beside it. Gradients flow to x, as if it had not been rounded, to bias and to residual.

Args:
    format: "q8", our own, or GGUF's "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K", "MXFP4", "IQ4_NL".
    width: k; where it is no whole number of the format's blocks, the last of a row has numbers that are not used.
    blocks: uint8 (n, bytes of a row), blocks as files have them.

Raises:
    ValueError: the format is not known, or the sizes don't fit.
    TypeError: blocks is not uint8 (n, bytes).

Example:
    >>> w = pf.QuantizedWeight.quantize(pf.tensor([[1.0, -2.0], [127.0, 0.0]]), "q8")
    >>> w.format, w.shape, w(pf.tensor([[1.0, 0.0]])).shape
    ('q8', (2, 2), (1, 2)))");
  cls.def(py::init(&weight_of), py::arg("format"), py::arg("width"), py::arg("blocks"), NoGil())
      .def_static(
          "quantize",
          [](const Tensor& weight, const std::string& format) {
            return quantize_weight(quant_format_from_name(format), weight.array());
          },
          py::arg("weight"), py::arg("format"), NoGil(),
          R"(The numbers of a float matrix (n, k) as "q8" or "Q8_0", groups of 64 or 32 with a scale, or "Q4_1", groups of 32 with a scale and a
minimum.

Raises:
    ValueError: the format is none of these, or a number is above 65504, infinite or NaN: scales and minima are float16.
    TypeError: it is no float matrix.)")
      .def_property_readonly(
          "format", [](const QuantizedWeight& w) { return format_row(w).name; }, "Its name.")
      .def_property_readonly(
          "shape", [](const QuantizedWeight& w) { return py::make_tuple(w.n, w.k); }, "(n, k).")
      .def_property_readonly(
          "nbytes", [](const QuantizedWeight& w) { return w.data.bytes(); }, "The memory that it takes.")
      .def_property_readonly(
          "device", [](const QuantizedWeight& w) { return name(w.data.device()); }, "Where it lies.")
      .def(
          "blocks", [](const QuantizedWeight& w) { return no_gradient(quantized_blocks(w)); }, NoGil(),
          "uint8 (n, bytes of a row), as files have them.")
      .def(
          "dequantize", [](const QuantizedWeight& w) { return no_gradient(dequantized(w)); }, NoGil(),
          "The numbers as float32 (n, k).")
      .def(
          "rows",
          [](const QuantizedWeight& w, const Tensor& ids) { return no_gradient(quantized_rows(w, ids.array())); },
          py::arg("ids"), NoGil(), "The rows of integers ids (...) as float32 (..., k).")
      .def("__call__", &product, py::arg("x"), py::arg("bias") = py::none(), py::arg("activation") = py::none(),
           py::arg("residual") = py::none(), NoGil(),
           "activation(x w^T + bias) + residual, float32: (..., k) -> (..., n).")
      .def("__reduce__", [](const py::object& self) {
        const auto& w = self.cast<const QuantizedWeight&>();
        return py::make_tuple(py::type::of(self), py::make_tuple(format_row(w).name, w.k, self.attr("blocks")()));
      });
  reinterpret_cast<PyTypeObject*>(cls.ptr())->tp_new = &new_for_call;
  core.def(
      "check_quantizable",
      [](const Tensor& weight, const std::string& format) {
        check_quantizable(quant_format_from_name(format), weight.array());
      },
      py::arg("weight"), py::arg("format"), NoGil(), "Raises what QuantizedWeight.quantize would.");
  core.def(
      "quantized_formats",
      [] {
        py::dict formats;
        for (const QuantFormatRow& f : kQuantFormats) formats[f.name] = py::make_tuple(f.block, f.bytes);
        return formats;
      },
      "Formats of QuantizedWeight: by name, how many numbers a block has and how many bytes.");
}

}  // namespace pyformer::bindings
