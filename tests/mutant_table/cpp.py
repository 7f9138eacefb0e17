"""Mistakes in C++."""

from __future__ import annotations

import re

from mutant_table.mutant import Mutant, mutant

SAVED = "test_saved_inputs.py::test_a_write_after_forward_is_noticed_or_changes_nothing"
ORACLE = "test_oracle.py::test_against_torch"
BFLOAT16 = "test_bfloat16_product.py::test_each_set_uses_its_own_kernels"
EVERY_ROW = "test_kernel_tables.py::test_every_set_has_every_row"


def unsaved(op: str, captured: str, variable: str, case: str) -> Mutant:
    """An op whose backward would not notice that what it keeps was written to: the tensor of that name, or an array."""
    saved = re.search(rf"\b{variable} = save\((\w+)\)", captured)
    assert saved, captured
    array = f"{variable}.array()" if saved[1] == variable else saved[1]
    unguarded = f"{variable} = [kept = Array({array})]() -> const Array& {{ return kept; }}"
    return mutant(
        f"{op}: {variable} not guarded", captured, captured.replace(saved[0], unguarded), f"{SAVED}[{op}-{case}]"
    )


CPP = [
    mutant(
        "checkpoint: what it leads to is not looked for once it has been recorded",
        "      find_nodes_below(outputs);\n",
        "",
        "test_tape.py::test_gradients_through_a_checkpoint_touch_no_grad",
    ),
    mutant(
        "a closed ReLU multiplies",
        "return select(mask_or(gradient == zero, slope == zero), zero, gradient * slope);",
        "(void)zero; return gradient * slope;",
        "test_activations.py::test_a_closed_relu_keeps_back_what_is_not_finite",
    ),
    mutant(
        "a gradient of 0 is multiplied",
        "return select(d == splat<V>(0), splat<V>(0), gradient);",
        "(void)d; return gradient;",
        "test_elementwise.py::test_a_branch_that_where_leaves_out_contributes_nothing",
    ),
    mutant(
        "a sum down columns in an order of its own",
        "add_rows<1>(lane + row % kLanes * count,",
        "add_rows<1>(lane + (row + 1) % kLanes * count,",
        "test_sums.py::test_any_number_of_columns",
    ),
    mutant(
        "retention returns its state rounded",
        "return {cast(w.out, q.dtype()), w.end};",
        "return {cast(w.out, q.dtype()), cast(cast(w.end, accumulator(q.dtype())), DType::float64)};",
        "test_sequence_ops.py::test_retention_in_parts_has_the_bits_of_the_whole",
    ),
    unsaved("gelu", "[x = save(x), form]", "x", "tanh-257"),
    unsaved(
        "layer_norm",
        'record("layer_norm", {x, weight, bias}, r.out,\n                '
        "[norm, x = save(x), weight = save(weight), statistics",
        "x",
        "5x17",
    ),
    unsaved(
        "linear",
        "[x = save(a), weight = save(b), preactivation = r.preactivation",
        "weight",
        "9x20x16-gelu-no-bias",
    ),
    unsaved("matmul", "[a = save(x), b = save(y), transpose_a, transpose_b, operands]", "b", "2x33@33x15-nn"),
    unsaved("bspline", "[x = save(x), grid]", "x", "order-2"),
    unsaved("attention", "[q = save(x), k = save(y), v = save(z), kept", "k", "cross"),
    mutant(
        "softmax: its output not guarded",
        'record("softmax", {x}, out,\n                [saved = save(kept(x.array(), out)), axis]',
        'record("softmax", {x}, out,\n                '
        "[saved = [array = Array(kept(x.array(), out))]() -> const Array& { return array; }, axis]",
        f"{SAVED}[softmax-3x33x35-axis0]",
    ),
    mutant("nothing saved is guarded", "array_.storage().version() != version_", "false", f"{SAVED}[matmul-dot]"),
    # One template for plain and vector loops: equality of the two says nothing.
    mutant(
        "lstm: forget gate's slope",
        "(dcell * previous) * (f * (one - f))",
        "(dcell * previous) * f",
        f"{ORACLE}[lstm-hidden-17]",
    ),
    mutant(
        "lstm: tanh'(g) without its square",
        "(dcell * i) * fma(-g, g, one)",
        "(dcell * i) * fma(-g, one, one)",
        f"{ORACLE}[lstm-hidden-17]",
    ),
    mutant(
        "lstm: the cell's gradient not carried on",
        "store_strip(dcell * f, dc + j, n);",
        "store_strip(dcell, dc + j, n);",
        f"{ORACLE}[lstm-hidden-17]",
    ),
    mutant(
        "gru: update gate upside down",
        "fma(z, load_strip<V>(h_previous + j, n) - fresh, fresh)",
        "fma(splat<V>(1) - z, load_strip<V>(h_previous + j, n) - fresh, fresh)",
        f"{ORACLE}[gru-hidden-17]",
    ),
    mutant("gru: reset gate's slope", "(r * (one - r));         // (3)", "r;  // (3)", f"{ORACLE}[gru-hidden-17]"),
    mutant(
        "cfc: gradient without the time",
        "(s * (one - s))) * rate",
        "(s * (one - s))) * (rate * rate)",
        f"{ORACLE}[cfc-elapsed]",
    ),
    mutant(
        "bspline: slope not divided right",
        "(r > 0 ? bases[r - 1] : zero) - (r < a.order ? bases[r] : zero)",
        "(r > 0 ? bases[r - 1] : zero)",
        f"{ORACLE}[bspline-order-4]",
    ),
    mutant(
        "avg_pool2d: mean over one too many",
        "out[j] = out[j] / count",
        "out[j] = out[j] / (count + A(1))",
        f"{ORACLE}[avg_pool2d-2x3x8x8-kernel2-strideNone-padding0]",
    ),
    mutant(
        "max_pool2d: gradients overwrite each other",
        "dx[y * w.width + x] = dx[y * w.width + x] + dout[i * w.cols + j]",
        "dx[y * w.width + x] = dout[i * w.cols + j]",
        f"{ORACLE}[max_pool2d-2x2x9x35-kernel3-stride1-padding1]",
    ),
    mutant("gelu: a constant in bfloat16", "T(0.39894228040143267794)", "T(0.3984375)", f"{ORACLE}[gelu-257]"),
    mutant(
        "gelu_tanh: a constant to four digits",
        "T(0.044715 * 1.5957691216057307117)",
        "T(0.04472 * 1.5957691216057307117)",
        f"{ORACLE}[gelu-tanh-257]",
    ),
    mutant(
        "attention weights: a finite minus infinity",
        "reached = where(seen, scores, number(scores, -std::numeric_limits<double>::infinity()))",
        "reached = where(seen, scores, number(scores, -1e30))",
        "test_attention_weights.py::test_a_mask_lower_than_any_number_of_ours",
    ),
    mutant(
        "attention: capped scores are not scaled back",
        "multiply(tanh(divide(scores, cap)), cap)",
        "tanh(divide(scores, cap))",
        f"{ORACLE}[attention-softcap]",
    ),
    mutant(
        "attention: the sink is taken for a key",
        "{1, 1, scores.dim(3)}",
        "{0, 1, scores.dim(3)}",
        f"{ORACLE}[attention-sinks]",
    ),
    mutant(
        "attention: causal is off by one",
        "range.end = clamp(p + 1, 0, length)",
        "range.end = clamp(p + 2, 0, length)",
        f"{ORACLE}[attention-causal-17x17]",
    ),
    mutant(
        "attention: a window of one more",
        "in.window : kFar) + 1, 0, range.end)",
        "in.window : kFar), 0, range.end)",
        f"{ORACLE}[attention-window]",
    ),
    mutant(
        "SGD: a master goes stale",
        "value(i, stepped_from(master[i], param[i]))",
        "value(i, master[i])",
        "test_sharing.py::test_a_master_follows_weights_that_are_loaded",
    ),
    mutant(
        "dropout: kept values not scaled up",
        "1 / (1 - p), x.raw()",
        "1.0, x.raw()",
        "test_dropout.py::test_share_and_scale",
    ),
    mutant(
        "losses: the mean divides by one target more",
        "\n  const int64_t count = !a.counted ? a.count : *a.counted < 1 ? 1 : *a.counted",
        "\n  const int64_t count = !a.counted ? a.count : *a.counted + 1",
        f"{ORACLE}[cross_entropy-some-ignored]",
    ),
    mutant(
        "elementwise: an operand stays where its row begins",
        "if constexpr (steps) return load_vec(p + i, n);",
        "if constexpr (steps) return load_vec(p + 0 * i, n);",
        f"{ORACLE}[multiply-5x33-with-33]",
    ),
    mutant(
        "divide: the divisor's gradient lacks a division",
        "return -(d * (a / b) / b);",
        "return -(d * (a / b));",
        f"{ORACLE}[divide-3x17-with-3x17]",
    ),
    mutant(
        "every set lacks a row of a kernel table",
        "{{backward<float, NormForm::rms>, backward<double, NormForm::rms>}}",
        "{{backward<float, NormForm::rms>}}",
        f"{EVERY_ROW}[norm]",
    ),
    mutant(
        "one set lacks a row of a kernel table",
        "{{forward<float, NormForm::centred>, forward<double, NormForm::centred>}}",
        "{{kIsa == Isa::avx2 ? nullptr : forward<float, NormForm::centred>, forward<double, NormForm::centred>}}",
        f"{EVERY_ROW}[norm]",
    ),
    mutant(
        "float64 becomes 16 bits by way of float32",
        "return is_exact || is_odd ? nearest",
        "return is_exact || is_odd || true ? nearest",
        "test_one_rounding.py::test_float64_is_rounded_once[to-bfloat16]",
    ),
    mutant(
        "int64 becomes 16 bits by way of float64",
        "double(x > -kExact && x < kExact ? x : x - low + (low ? 0x400 : 0))",
        "double(x > -kExact && x < kExact ? x : x - low + low)",
        "test_one_rounding.py::test_integers_are_rounded_once[to-bfloat16-8]",
    ),
    mutant(
        "bfloat16 by FMA: even k twice, where one chain is added up at a time",
        "if constexpr (kChains == 1) add_chains<rows>(a + 1, b + kCols, odd);",
        "if constexpr (kChains == 1) add_chains<rows>(a, b, odd);",
        f"{BFLOAT16}[avx2]",
    ),
    mutant(
        "bfloat16 by FMA: denormals stay",
        "_mm_setcsr(saved_ | 0x8040)",
        "_mm_setcsr(saved_)",
        f"{BFLOAT16}[avx2]",
    ),
    mutant(
        "bfloat16 attention: values that a row does not attend to take part",
        "if (!(bad & ~allow[i])) continue;",
        "if (true) continue;",
        "test_attention_bfloat16.py::test_what_is_not_attended_takes_no_part[avx512]",
    ),
    mutant(
        "bfloat16 attention: keys that a row does not attend to take part",
        "if (!(task.k_bad & ~pair.allow[j])) continue;",
        "if (true) continue;",
        "test_attention_bfloat16.py::test_what_is_not_attended_takes_no_part[avx512]",
    ),
    mutant(
        "bfloat16 attention: queries that a row does not attend to take part",
        "if (!(bad & ~attending[j])) continue;",
        "if (true) continue;",
        "test_attention_bfloat16.py::test_what_is_not_attended_takes_no_part[avx512]",
    ),
]
